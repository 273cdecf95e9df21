// The promises of routes/matcher.ts: which route takes a request, what it captures, what is refused.

import t, { type Test } from 'tap'
import { type MatchRefusal, matcherOf } from '../../gateway/routes/matcher.ts'
import type { Match, Route } from '../../gateway/routes/route.ts'
import { buildGitRoute, buildRoute, buildTarget } from './build-route.ts'

const hex38 = '0'.repeat(38)

t.test('paths', (t) => {
  const routes = [
    '/',
    '/a',
    '/a/{x}',
    '/a/{x}/c',
    '/a/b',
    '/a/b/{y}/d',
    '/{p}/b/c',
    '/{p}/{q}/c/d/{r...}',
    '/files/{rest...}',
    '/files/{name}/raw',
    '/caf%C3%A9',
    '/acme%2Fapp',
  ].map((path) => buildRoute({ path }))
  const rows: [string, string | undefined, Record<string, string>, string][] = [
    ['/', '/', {}, 'the root'],
    ['/a', '/a', {}, 'a literal'],
    ['/a/', '/a', {}, 'a trailing slash makes no difference'],
    ['/a/b', '/a/b', {}, 'a literal before a capture'],
    ['/a/z', '/a/{x}', { x: 'z' }, 'a capture'],
    ['/a/z/', '/a/{x}', { x: 'z' }, 'a capture with a trailing slash'],
    ['/a/b/c', '/a/{x}/c', { x: 'b' }, 'back from a literal that leads nowhere'],
    ['/z/b/c', '/{p}/b/c', { p: 'z' }, 'a capture, then a literal'],
    ['/a/b/c/d', '/a/b/{y}/d', { y: 'c' }, 'from the left, the first literal counts most'],
    ['/a/b/c/d/e/f', '/{p}/{q}/c/d/{r...}', { p: 'a', q: 'b', r: 'e/f' }, 'back twice'],
    ['/files', '/files/{rest...}', { rest: '' }, 'a rest of no segments'],
    ['/files/', '/files/{rest...}', { rest: '' }, 'and with a trailing slash'],
    ['/files/x', '/files/{rest...}', { rest: 'x' }, 'a rest of one segment'],
    ['/files/x/y/', '/files/{rest...}', { rest: 'x/y' }, 'a rest without the trailing slash'],
    ['/files/x/raw', '/files/{name}/raw', { name: 'x' }, 'a capture before a rest'],
    ['/files/a%20b/raw', '/files/{name}/raw', { name: 'a b' }, 'captures are decoded'],
    ['/caf%C3%A9', '/caf%C3%A9', {}, 'literals are compared decoded'],
    ['/acme%2Fapp', '/acme%2Fapp', {}, 'an escaped slash stays in its segment'],
    ['/acme/app', undefined, {}, 'and is none'],
    ['/A', undefined, {}, 'case matters'],
    ['/b', undefined, {}, 'no route'],
    ['/a/b/c/e', undefined, {}, 'no route, far down'],
    ['/__proto__', undefined, {}, 'a name of JavaScript’s own'],
  ]
  for (const [path, name, captures, sentence] of rows) {
    const match = matchOf(routes, path)
    t.equal(match?.route.name, name, `${path}: ${sentence}`)
    t.strictSame(Object.fromEntries(match?.captures ?? []), captures, `${path}: its captures`)
  }
  t.end()
})

t.test('any number of literals beside each other', (t) => {
  for (const count of [7, 8, 9, 30]) {
    const names = Array.from({ length: count }, (_, i) => `/a/n${i}`)
    const routes = [...names, ...names.map((name) => `${name}/x`)].map((path) =>
      buildRoute({ path }),
    )
    for (const name of names) {
      t.equal(matchOf(routes, name)?.route.name, name)
      t.equal(matchOf(routes, `${name}/x`)?.route.name, `${name}/x`)
    }
    t.equal(matchOf(routes, `/a/n${count}`), undefined)
  }
  t.end()
})

t.test('a capture never takes an empty segment', (t) => {
  const target = { ...buildTarget('/x'), segments: ['', 'c'] }
  t.equal(matcherOf([buildRoute({ path: '/{x}/c' })]).match(target, 'GET'), undefined)
  t.end()
})

t.test('the order of the routes makes no difference', (t) => {
  const routes = ['/{rest...}', '/{x}', '/a'].map((path) => buildRoute({ path }))
  for (const order of [routes, routes.toReversed()]) t.equal(nameOf(order, '/a'), '/a')
  t.end()
})

t.test('strict trailing slashes', (t) => {
  const strict = { trailingSlash: 'strict' } as const
  const rows: [Route[], string, string | undefined, string][] = [
    [[buildRoute({ path: '/a', ...strict })], '/a', '/a', 'written and asked for without'],
    [[buildRoute({ path: '/a', ...strict })], '/a/', undefined, 'written without, asked for with'],
    [[buildRoute({ path: '/a/', ...strict })], '/a/', '/a/', 'written and asked for with'],
    [[buildRoute({ path: '/a/', ...strict })], '/a', undefined, 'written with, asked for without'],
    [[buildRoute({ path: '/', ...strict })], '/', '/', 'the root'],
    [
      [buildRoute({ path: '/a' }), buildRoute({ path: '/a/', ...strict })],
      '/a/',
      '/a/',
      'a strict route before one that takes both',
    ],
    [
      [buildRoute({ path: '/a' }), buildRoute({ path: '/a/', ...strict })],
      '/a',
      '/a',
      'which keeps the other form',
    ],
    [
      [buildRoute({ path: '/a', ...strict }), buildRoute({ path: '/{x}' })],
      '/a/',
      '/{x}',
      'the form that a strict route leaves goes to the next',
    ],
    [
      [buildRoute({ path: '/a/{rest...}', ...strict })],
      '/a/b/',
      undefined,
      'a rest is strict as well',
    ],
  ]
  for (const [routes, path, name, sentence] of rows) t.equal(nameOf(routes, path), name, sentence)
  t.end()
})

t.test('hosts', (t) => {
  const routes = [
    buildRoute({ path: '/{rest...}' }),
    buildRoute({ host: 'one.example.com', path: '/a' }),
    buildRoute({ host: '*.example.com', path: '/a' }),
    buildRoute({ host: '*.deep.example.com', path: '/a' }),
  ]
  const rows: [string, string, string | undefined, string][] = [
    ['other.org', '/a', '/{rest...}', 'a host without routes of its own'],
    ['example.com', '/a', '/{rest...}', 'a suffix needs a label before it'],
    ['one.example.com', '/a', 'one.example.com/a', 'the exact host'],
    ['one.example.com', '/b', undefined, 'a host with routes of its own is served by them alone'],
    ['two.example.com', '/a', '*.example.com/a', 'a suffix'],
    ['x.two.example.com', '/a', '*.example.com/a', 'a suffix with two labels before it'],
    ['two.example.com', '/b', undefined, 'a suffix too serves alone'],
    ['x.deep.example.com', '/a', '*.deep.example.com/a', 'the longest suffix'],
    ['deep.example.com', '/a', '*.example.com/a', 'the longest that has a label before it'],
    ['xexample.com', '/a', '/{rest...}', 'a suffix begins at a dot'],
    ['[::1]', '/a', '/{rest...}', 'an address'],
  ]
  for (const [host, path, name, sentence] of rows) {
    t.equal(nameOf(routes, path, 'GET', host), name, `${host}${path}: ${sentence}`)
  }
  t.equal(nameOf([routes[1]!], '/a', 'GET', 'other.org'), undefined, 'no routes for the host')
  t.end()
})

t.test('git routes claim git’s services alone', (t) => {
  const two = buildGitRoute({ path: '/{factory}/{repository}', name: 'two' })
  const deep = buildGitRoute({ path: '/{factory}/{repository...}', name: 'deep' })
  const literal = buildGitRoute({ path: '/acme/hello.git', name: 'literal' })
  const plain = buildRoute({ path: '/{rest...}', name: 'plain' })
  const web = (path: string) => buildRoute({ path, name: 'web' })
  type Row = [Route[], string, string | undefined, Record<string, string> | undefined, string]
  const rows: Row[] = [
    [[two], '/acme/hello/info/refs', 'two', { factory: 'acme', repository: 'hello' }, 'a service'],
    [[two], '/acme/hello.git/HEAD', 'two', { factory: 'acme', repository: 'hello' }, 'with .git'],
    [
      [two],
      `/acme/hello.git/objects/00/${hex38}`,
      'two',
      { factory: 'acme', repository: 'hello' },
      'an object',
    ],
    [
      [two],
      '/acme/hello/git-receive-pack/',
      'two',
      { factory: 'acme', repository: 'hello' },
      'a trailing slash does not lead past the git route',
    ],
    [[two], '/acme/hello/.git/HEAD', 'two', undefined, 'the folder in a working tree'],
    [[two], '/acme/a/b/info/refs', undefined, undefined, 'a repository of another depth'],
    [[two], '/acme/info/refs', undefined, undefined, 'a repository of too few segments'],
    [[two], '/acme/hello', undefined, undefined, 'no service'],
    [[two], '/acme/hello/info/lfs/objects/batch', undefined, undefined, 'large files: no service'],
    [[two, plain], '/acme/hello', 'plain', { rest: 'acme/hello' }, 'no service: the plain route'],
    [[two, plain], '/acme/hello/git-upload-pack', 'two', undefined, 'a service: the git route'],
    [[deep], '/acme/a/b.git/info/refs', 'deep', { factory: 'acme', repository: 'a/b' }, 'a rest'],
    [[deep], '/acme/info/refs', 'deep', { factory: 'acme', repository: '' }, 'a rest of nothing'],
    [
      [buildGitRoute({ path: '/{all...}', name: 'every' })],
      '/info/refs',
      undefined,
      undefined,
      'no repository at all',
    ],
    [[two, deep], '/acme/a/info/refs', 'two', undefined, 'a capture before a rest'],
    [[literal, two], '/acme/hello/info/refs', 'literal', {}, 'a literal that has .git, without'],
    [[literal, two], '/acme/hello.git/info/refs', 'literal', {}, 'a literal that has .git, with'],
    [
      [literal],
      '/acme/hello.git.git/info/refs',
      undefined,
      undefined,
      'only one .git is taken off',
    ],
    [
      [deep, web('/{factory}/{rest...}')],
      '/acme/hello/info/refs',
      'deep',
      undefined,
      'the git route before a plain one of the same pattern',
    ],
    [
      [deep, web('/{a}/{b}/{rest...}')],
      '/acme/hello/info/refs',
      'web',
      undefined,
      'a plain route that is more specific',
    ],
    [
      [two, web('/{a}/{b}/{rest...}')],
      '/acme/hello/info/refs',
      'two',
      undefined,
      'a git pattern counts as followed by a rest',
    ],
    [
      [two, web('/{a}/{b}/info/{x}')],
      '/acme/hello/info/refs',
      'web',
      undefined,
      'a literal is more specific than that rest',
    ],
    [[two, web('/{a}/{b}/{c}')], '/acme/hello/HEAD', 'web', undefined, 'and so is a capture'],
    [
      [two, web('/acme/{rest...}')],
      '/acme/hello/info/refs',
      'web',
      undefined,
      'the first segment where they differ decides',
    ],
    [
      [buildGitRoute({ path: '/acme/{r}', name: 'acme' }), web('/{a}/hello/info/refs')],
      '/acme/hello/info/refs',
      'acme',
      undefined,
      'the same, the other way round',
    ],
    [
      [deep, buildRoute({ path: '/v2/{rest...}', protocol: 'registry', name: 'registry' })],
      '/v2/acme/HEAD',
      'registry',
      undefined,
      'a registry beside it',
    ],
  ]
  for (const [routes, path, name, captures, sentence] of rows) {
    for (const order of [routes, routes.toReversed()]) {
      const match = matchOf(order, path)
      t.equal(match?.route.name, name, `${path}: ${sentence}`)
      if (captures !== undefined) t.strictSame(Object.fromEntries(match!.captures), captures)
      t.equal(match?.git !== undefined, match?.route.protocol === 'git', 'its service')
    }
  }
  t.end()
})

t.test('a git match tells the service and its segments', (t) => {
  const routes = [buildGitRoute({ path: '/{factory}/{repository...}' })]
  const match = matchOf(routes, '/acme/hello.git/objects/info/packs')
  t.strictSame(match?.git, { service: 'dumb', length: 3 })
  t.end()
})

/** Routes, a request, what becomes of it (`refused` or the route's name), and why. */
type Row = readonly [Route[], string, string | undefined, string]

function checkRows(t: Test, rows: readonly Row[]): void {
  for (const [routes, request, expected, sentence] of rows) {
    const [method = '', path = ''] = request.split(' ')
    const result = matcherOf(routes).match(buildTarget(path), method)
    const told = result && ('refused' in result ? 'refused' : result.route.name)
    t.equal(told, expected, `${request}: ${sentence}`)
  }
}

t.test('writes below a git repository are refused whatever else matches', (t) => {
  const git = buildGitRoute({ path: '/{factory}/{repository}', name: 'git' })
  const deep = buildGitRoute({ path: '/{factory}/{repository...}', name: 'deep' })
  const every = buildGitRoute({ path: '/{all...}', name: 'every' })
  const acme = buildGitRoute({ path: '/acme/{repository}', name: 'acme' })
  const literal = buildGitRoute({ path: '/acme/hello.git', name: 'literal' })
  const other = buildRoute({ path: '/{rest...}', name: 'plain', allow: { '*': 'x' } })
  const same = buildRoute({ path: '/{rest...}', name: 'plain', upstream: 'git' })
  const rows: Row[] = [
    [[git], 'PUT /acme/hello.git/info/refs', 'refused', 'a write to a .git repository'],
    [[git, other], 'PUT /acme/hello.git/x', 'refused', 'with another upstream behind as well'],
    [[git, other], 'MKCOL /acme/hello.git/', 'refused', 'the repository itself'],
    [[git, other], 'LOCK /acme/hello/.git/config', 'refused', 'the folder in a working tree'],
    [[git, other], 'PUT /acme/hello.GIT/x', 'refused', '.git in another case'],
    [[git, other], 'PUT /acme/x/hello.git', 'refused', '.git further down'],
    [[git, other], 'PUT /hello.git', 'plain', 'a path that is too short for the git route'],
    [[git], 'PUT /acme/hello/HEAD', 'refused', 'the head of a repository'],
    [[git], 'PUT /acme/hello/head', 'refused', 'in another case'],
    [[git, same], 'PUT /acme/hello/objects/00/x', 'refused', 'an object, upstream the same'],
    [[git, other], 'PUT /acme/hello/objects/00/x', 'plain', 'an object, upstream another'],
    [[git, same], 'DELETE /acme/hello/refs/heads/main', 'refused', 'a ref'],
    [[git, same], 'PATCH /acme/hello/packed-refs', 'refused', 'packed refs'],
    [[git, same], 'COPY /acme/hello/config', 'refused', 'the configuration'],
    [[git, same], 'PROPFIND /acme/hello/git-receive-pack', 'refused', 'a service'],
    [[git, same], 'MOVE /acme/hello/info/attributes', 'refused', 'below info'],
    [[git, same], 'REPORT /acme/hello/HEAD', 'refused', 'a method that nobody thought of'],
    [[git, same], 'PUT /acme/hello/readme', 'plain', 'no file of a repository'],
    [[git, same], 'PUT /acme/hello/x/config', 'plain', 'a file deeper than the repository'],
    [[deep, same], 'PUT /acme/hello/x/config', 'refused', 'any depth, where the git route has any'],
    [[git, same], 'PUT /acme/hello/config/x', 'plain', 'a name that is a file’s, not a folder’s'],
    [[deep, same], 'PUT /config', 'plain', 'not without a repository before it'],
    [[every, same], 'PUT /config', 'plain', 'nor where the pattern is a rest alone'],
    [[acme, same], 'PUT /acme/r/HEAD', 'refused', 'below a literal'],
    [[acme, same], 'PUT /acme.git/r/HEAD', 'plain', 'below another one: only the last has .git'],
    [[literal, same], 'PUT /acme/hello/HEAD', 'refused', 'a literal that has .git, without'],
    [[literal, same], 'PUT /acme/other/HEAD', 'plain', 'another repository'],
    [[git, same], 'GET /acme/hello/readme', 'plain', 'reading is left alone'],
    [[git, same], 'POST /acme/hello/config', 'plain', 'so is POST'],
    [[git, same], 'OPTIONS /acme/hello.git/x', 'plain', 'and OPTIONS'],
    [[same], 'PUT /acme/hello.git/x', 'plain', 'no git route, no repository'],
    [[git], 'PUT /acme/hello/readme', undefined, 'nothing that matches'],
  ]
  checkRows(t, rows)
  t.end()
})

t.test('a git service is reached through a git route alone', (t) => {
  const git = buildGitRoute({ path: '/{factory}/{repository}', name: 'git' })
  const same = buildRoute({ path: '/{rest...}', name: 'plain', upstream: 'git' })
  const special = buildRoute({ path: '/acme/pages/{rest...}', name: 'plain', upstream: 'git' })
  const other = buildRoute({ path: '/{rest...}', name: 'plain' })
  const rows: Row[] = [
    [[git, same], 'POST /acme/hello/git-receive-pack', 'git', 'the git route’s own'],
    [
      [git, special],
      'POST /acme/pages/git-receive-pack',
      'refused',
      'a plain route in the repository’s place',
    ],
    [
      [git, special],
      'POST /acme/pages/x/git-receive-pack',
      'refused',
      'a more specific plain route',
    ],
    [
      [git, same],
      'POST /acme/hello/Git-Receive-Pack',
      'refused',
      'a server that reads case its own way',
    ],
    [[git, same], 'POST /acme/hello/git-receive-pack/x', 'refused', 'or takes path info'],
    [[git, same], 'POST /a/b/c/git-upload-pack', 'refused', 'a repository that no git route takes'],
    [[git, same], 'POST /acme/hello.git/info/lfs/objects/batch', 'refused', 'LFS, not built yet'],
    [[git, same], 'POST /acme/hello/readme', 'plain', 'no service'],
    [[git, other], 'POST /a/b/c/git-upload-pack', 'plain', 'another upstream is no git server'],
    [[same], 'POST /a/b/git-upload-pack', 'plain', 'without a git route, a path as any'],
  ]
  checkRows(t, rows)
  t.end()
})

t.test('a refused write names the git route and what is allowed', (t) => {
  const git = buildGitRoute({ path: '/{factory}/{repository}' })
  const result = matcherOf([git]).match(buildTarget('/a/b.git/x'), 'PUT') as MatchRefusal
  t.equal(result.refused.route, git)
  t.equal(result.refused.allow, 'GET, HEAD, POST')
  t.match(result.refused.detail, /git push/)
  t.end()
})

function matchOf(
  routes: readonly Route[],
  path: string,
  method = 'GET',
  host?: string,
): Match | undefined {
  const result = matcherOf(routes).match(buildTarget(path, host), method)
  return result === undefined || 'refused' in result ? undefined : result
}

function nameOf(
  routes: readonly Route[],
  path: string,
  method = 'GET',
  host?: string,
): string | undefined {
  return matchOf(routes, path, method, host)?.route.name
}
