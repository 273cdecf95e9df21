// The promises of routes/review.ts: what is said of routes that are tied, unreachable or slipped past.

import t from 'tap'
import type { Requirement } from '../../gateway/decision/access.ts'
import { buildScopeCatalog } from '../../gateway/decision/scope.ts'
import { reviewRoutes } from '../../gateway/routes/review.ts'
import type { Route } from '../../gateway/routes/route.ts'
import { buildGitRoute, buildRoute } from './build-route.ts'

const catalog = buildScopeCatalog([
  { name: 'read', description: 'Read', implies: [], privileged: false },
  { name: 'write', description: 'Write', implies: ['read'], privileged: false },
  { name: 'erase', description: 'Erase', implies: [], privileged: false },
])

t.test('tied routes are errors that name the other’s place', (t) => {
  const strict = { trailingSlash: 'strict' } as const
  const rows: [Route, Route, boolean, string][] = [
    [plain('/a'), plain('/a'), true, 'the same path'],
    [plain('/a'), plain('/a/'), true, 'a trailing slash that makes no difference'],
    [plain('/{x}'), plain('/{y}'), true, 'other names of captures'],
    [plain('/a%2Db'), plain('/a-b'), true, 'another spelling'],
    [plain('/{x}'), plain('/{x...}'), false, 'a capture and a rest'],
    [plain('/a'), plain('/{x}'), false, 'a literal and a capture'],
    [plain('/%7Bone%7D'), plain('/{one}'), false, 'a literal that looks like a capture'],
    [plain('/a', strict), plain('/a/', strict), false, 'two strict forms'],
    [plain('/a', strict), plain('/a'), false, 'a strict form and both'],
    [plain('/a', strict), plain('/a', strict), true, 'the same strict form'],
    [plain('/a', { host: 'x' }), plain('/a'), false, 'another host'],
    [plain('/a', { host: 'x' }), plain('/a', { host: 'x' }), true, 'the same host'],
    [git('/{x}'), plain('/{x}'), false, 'a git route and a plain one'],
    [git('/x'), git('/x.git'), true, 'a repository with and without .git'],
    [git('/x'), git('/x/', strict), true, 'git routes know no trailing slash'],
    [
      plain('/v2/{rest...}', { protocol: 'registry' }),
      plain('/v2/{x...}'),
      true,
      'a registry and a REST route',
    ],
  ]
  for (const [one, other, tied, sentence] of rows) {
    const second = { ...other, place: 'routes.yaml:9:1' }
    const remarks = reviewRoutes([one, second]).filter(({ severity }) => severity === 'error')
    t.equal(remarks.length, tied ? 1 : 0, sentence)
    if (!tied) continue
    t.equal(remarks[0]?.route, second, 'the later one is told')
    t.match(remarks[0]?.message, 'routes.yaml:1:1', 'with the place of the first')
  }
  t.end()
})

t.test('unreachable routes are errors that name who takes their paths', (t) => {
  const strict = { trailingSlash: 'strict' } as const
  const rows: [Route, Route[], boolean, string][] = [
    [plain('/{x}'), [plain('/a'), plain('/b')], false, 'literals never take all of a capture'],
    [plain('/{x...}'), [plain('/'), plain('/{x}')], false, 'a rest goes further than captures'],
    [plain('/{x...}'), [plain('/{x}/{y...}')], false, 'a rest takes the root as well'],
    [plain('/{x...}'), [plain('/'), plain('/{x}/{y...}')], true, 'a rest that is taken in pieces'],
    [
      plain('/a/{x...}'),
      [plain('/a'), plain('/a/{x}'), plain('/a/{x}/{y}/{z...}')],
      true,
      'the same in three',
    ],
    [plain('/a'), [plain('/a', strict), plain('/a/', strict)], true, 'both strict forms'],
    [plain('/a'), [plain('/a/', strict)], false, 'one strict form'],
    [
      plain('/{x...}', { host: '*.a' }),
      [plain('/{x...}', { host: 'b.a' })],
      false,
      'other hosts are left for a wildcard',
    ],
    [git('/{x}'), [plain('/{x}/{y...}')], false, 'a plain rest behind a git route'],
    [git('/{x}'), [plain('/{x}/{y}/{z...}')], true, 'a plain route for all that git could ask'],
    [git('/{x}'), [plain('/{x}/{y}'), plain('/{x}/{y}/{z}')], false, 'all but some of git’s files'],
    [git('/{x...}'), [git('/{x}')], false, 'a rest goes further than git’s captures too'],
    [git('/{x...}'), [plain('/{x...}')], false, 'a plain route of the same pattern'],
    [git('/'), [], true, 'a git route without room for a repository'],
  ]
  for (const [route, others, unreachable, sentence] of rows) {
    const errors = reviewRoutes([...others, route]).filter(({ severity }) => severity === 'error')
    t.strictSame(
      errors.map((remark) => remark.route),
      unreachable ? [route] : [],
      sentence,
    )
    if (!unreachable) continue
    t.match(errors[0]?.message, /unreachable/)
    for (const other of others) t.match(errors[0]?.message, other.name)
  }
  t.end()
})

t.test('a specific route inside a weaker one of the same upstream is a warning', (t) => {
  const strong = { allow: { GET: 'write', DELETE: 'erase' } }
  const weak = { allow: { GET: 'read' } }
  const strict = { trailingSlash: 'strict' } as const
  const elsewhere = plain('/{rest...}', { ...weak, upstream: 'other' })
  const accepted = plain('/{rest...}', { ...weak, fallthrough: 'accepted' })
  const rows: [Route, Route[], boolean, string][] = [
    [plain('/admin/{x}', strong), [plain('/{rest...}', weak)], true, 'a literal within a rest'],
    [plain('/admin/{x}', strong), [plain('/{y}/{x}', weak)], true, 'a literal within a capture'],
    [plain('/a/{x}/purge', strong), [plain('/a/{x}/{y}', weak)], true, 'a literal at the end'],
    [plain('/a/b', strong), [plain('/a/{x...}', weak)], true, 'the second literal only'],
    [plain('/admin/{x}', strong), [elsewhere], false, 'another upstream'],
    [plain('/admin/{x}', strong), [accepted], false, 'where it is accepted'],
    [
      plain('/admin/{x}', weak),
      [plain('/{rest...}', strong)],
      true,
      'a method that is listed there',
    ],
    [plain('/admin/{x}', weak), [plain('/{rest...}', weak)], false, 'as strong'],
    [
      plain('/admin/{x}', { allow: { GET: 'read' } }),
      [plain('/{rest...}', { allow: { GET: 'write' } })],
      false,
      'stronger: write implies read',
    ],
    [plain('/x/{a}', strong), [plain('/x/{a...}', weak)], false, 'no literal to spell otherwise'],
    [
      plain('/admin/{x}', strong),
      [plain('/{y}/{x}', strong), plain('/{rest...}', weak)],
      false,
      'a strong route takes what slips past',
    ],
    [plain('/a/', { ...strong, ...strict }), [plain('/{x}', weak)], true, 'the other strict form'],
    [plain('/a', strong), [plain('/b', weak)], false, 'a route beside it'],
    [plain('/a', { ...strong, host: 'x' }), [plain('/{x}', weak)], false, 'another host'],
    [
      git('/git/{x}', { allow: { fetch: 'write' } }),
      [plain('/{rest...}', { ...weak, upstream: 'git' })],
      true,
      'a git route inside a plain one',
    ],
    [
      git('/{x}', { allow: { fetch: 'read', update: 'write' } }),
      [plain('/{rest...}', { allow: { POST: 'read' }, upstream: 'git' })],
      true,
      'a name of git’s own, spelled otherwise',
    ],
    [
      git('/git/{x}', { allow: { fetch: 'read', update: 'write' } }),
      [plain('/{rest...}', { allow: { '*': 'write' }, upstream: 'git' })],
      false,
      'a git route inside a plain one that is as strong as its strongest',
    ],
  ]
  for (const [route, others, warned, sentence] of rows) {
    const remarks = reviewRoutes([...others, route], catalog)
    const expected = warned ? [{ severity: 'warning', route }] : []
    t.match(remarks, expected, sentence)
    t.equal(remarks.length, expected.length, `${sentence}: and nothing else`)
    if (warned) t.match(remarks[0]?.message, others.at(-1)?.name, 'names the general route')
  }
  t.end()
})

t.test('when a requirement is weaker than another', (t) => {
  const kind = (kind: 'authenticated' | 'path-scope' | 'public' | 'optional'): Requirement => ({
    kind,
  })
  const rows: [general: Requirement, specific: Requirement, weaker: boolean, sentence: string][] = [
    [any('read'), any('read'), false, 'the same scope'],
    [any('write'), any('read'), false, 'a scope that implies it'],
    [any('read'), any('write'), true, 'a scope that it implies'],
    [any('read', 'erase'), any('read'), true, 'one alternative too many'],
    [any('read'), any('read', 'erase'), false, 'one alternative fewer'],
    [all('read', 'erase'), any('erase'), false, 'every one, where one is enough'],
    [all('read', 'erase'), all('erase'), false, 'more of them'],
    [all('erase'), all('read', 'erase'), true, 'fewer of them'],
    [any('read'), kind('authenticated'), false, 'a scope, where any would do'],
    [kind('authenticated'), any('read'), true, 'any scope at all'],
    [kind('authenticated'), kind('authenticated'), false, 'authenticated twice'],
    [kind('public'), any('read'), true, 'public'],
    [kind('optional'), kind('authenticated'), true, 'optional'],
    [kind('optional'), kind('public'), false, 'optional inside public'],
    [any('read'), kind('public'), false, 'a public route is weaker than nothing'],
    [kind('path-scope'), kind('path-scope'), false, 'path scopes twice'],
    [kind('path-scope'), any('read'), true, 'path scopes are no named scopes'],
    [any('read'), kind('path-scope'), true, 'named scopes are no path scopes'],
  ]
  for (const [general, specific, weaker, sentence] of rows) {
    const remarks = reviewRoutes(
      [plain('/{x}', { allow: { GET: general } }), plain('/a', { allow: { GET: specific } })],
      catalog,
    )
    t.equal(remarks.length, weaker ? 1 : 0, sentence)
  }
  t.end()
})

t.test('which methods are compared', (t) => {
  const rows: [Record<string, string>, Record<string, string>, boolean, string][] = [
    [{ '*': 'read' }, { GET: 'read' }, true, 'every method there, one here'],
    [{ '*': 'read' }, { GET: 'read', '*': 'erase' }, true, 'every other method'],
    [{ '*': 'read' }, { '*': 'read', DELETE: 'erase' }, true, 'a method listed here alone'],
    [{ GET: 'read' }, { '*': 'read' }, false, 'fewer methods there'],
    [{ HEAD: 'read' }, { GET: 'read' }, false, 'HEAD follows GET'],
    [{ GET: 'read' }, { GET: 'read', HEAD: 'erase' }, true, 'unless it is listed'],
  ]
  for (const [general, specific, weaker, sentence] of rows) {
    const remarks = reviewRoutes([
      plain('/{x}', { allow: general }),
      plain('/a', { allow: specific }),
    ])
    t.equal(remarks.length, weaker ? 1 : 0, sentence)
  }
  t.end()
})

type Words = Omit<Parameters<typeof buildRoute>[0], 'path'>

function plain(path: string, words: Words = {}): Route {
  return buildRoute({ path, ...words })
}

function git(path: string, words: Words = {}): Route {
  return buildGitRoute({ path, name: `git ${path}`, ...words })
}

function any(...scopes: string[]): Requirement {
  return { kind: 'any', scopes }
}

function all(...scopes: string[]): Requirement {
  return { kind: 'all', scopes }
}
