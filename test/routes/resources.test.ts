// The promises of routes/resources.ts: which values a request has for a token's resource limits.

import t from 'tap'
import { matcherOf } from '../../gateway/routes/matcher.ts'
import { readResources } from '../../gateway/routes/resources.ts'
import type { Match, ResourceSource, Route } from '../../gateway/routes/route.ts'
import { buildGitRoute, buildRoute, buildTarget } from './build-route.ts'

t.test('captures by their names', (t) => {
  const rows: [string, string, Record<string, string>, string][] = [
    ['/{factory}/{device}', '/acme/d1/', { factory: 'acme', device: 'd1' }, 'whole segments'],
    ['/{factory}', '/ac%20me', { factory: 'ac me' }, 'decoded'],
    ['/{project}', '/acme%2Fapp', { project: 'acme/app' }, 'with the slash of an escaped one'],
    ['/{factory}/{rest...}', '/acme/a/b', { factory: 'acme', rest: 'a/b' }, 'a rest'],
    ['/{factory}/{rest...}', '/acme', { factory: 'acme' }, 'an empty rest is absent'],
    ['/factories', '/factories', {}, 'none'],
  ]
  for (const [path, request, expected, sentence] of rows) {
    t.strictSame(resourcesOf(buildRoute({ path }), request), expected, sentence)
  }
  t.end()
})

t.test('a route’s own mapping stands in place of the captures', (t) => {
  const resources = mapping({ factory: { kind: 'capture', name: 'org' } })
  t.strictSame(resourcesOf(buildRoute({ path: '/{org}/{x}', resources }), '/acme/y'), {
    factory: 'acme',
  })
  t.end()
})

t.test('a parameter of the query', (t) => {
  const rows: [string, string | undefined, string][] = [
    ['factory=acme', 'acme', 'once, literally'],
    ['a=b&factory=acme&c', 'acme', 'among others'],
    ['factory=a.b_c~d-e/f:g@h', 'a.b_c~d-e/f:g@h', 'characters that need no escape'],
    ['', undefined, 'no parameter'],
    ['factor=acme', undefined, 'another one'],
    ['factory', undefined, 'no value'],
    ['factory=', undefined, 'an empty value'],
    ['factory=acme&factory=other', undefined, 'twice'],
    ['factory=acme&factory=acme', undefined, 'twice the same'],
    ['factory=acme&factory', undefined, 'twice, once without a value'],
    ['factory=ac%6De', undefined, 'an escaped value'],
    ['factory=ac+me', undefined, 'a value with a plus sign'],
    ['factory=acme,other', undefined, 'a value that may be a list'],
    ['factory=acme&%66actory=other', undefined, 'and another spelling with an escape'],
    ['%66actory=acme', undefined, 'only another spelling'],
    ['factory=acme&Factory=other', undefined, 'another case'],
    ['factory=acme&factory[]=other', undefined, 'a list'],
    ['factory=acme&factory%5B0%5D=other', undefined, 'an escaped list'],
    ['factory=acme&+factory=other', undefined, 'a space before it'],
    ['factory=acme&factory%00x=other', undefined, 'a NUL within'],
    ['factory=acme&x=1;factory=other', undefined, 'a semicolon, which some servers split at'],
    ['factory=acme&%ff=1', 'acme', 'an escape elsewhere that is no UTF-8'],
    ['factory=a=b', undefined, 'a second equals sign'],
  ]
  for (const [query, expected, sentence] of rows) {
    const resources = mapping({ factory: { kind: 'query', name: 'factory' } })
    const route = buildRoute({ path: '/x', resources })
    t.equal(resourcesOf(route, `/x?${query}`).factory, expected, `${query}: ${sentence}`)
  }
  t.end()
})

t.test('a name with _ is met by the spellings that PHP reads as it', (t) => {
  const resources = mapping({ factory: { kind: 'query', name: 'factory_id' } })
  const route = buildRoute({ path: '/x', resources })
  t.equal(resourcesOf(route, '/x?factory_id=a').factory, 'a')
  t.equal(resourcesOf(route, '/x?factory_id=a&factory.id=b').factory, undefined)
  t.end()
})

t.test('a parameter counts on GET and HEAD alone', (t) => {
  const resources = mapping({ factory: { kind: 'query', name: 'factory' } })
  const route = buildRoute({ path: '/x', resources })
  t.equal(resourcesOf(route, '/x?factory=a', 'HEAD').factory, 'a')
  t.equal(resourcesOf(route, '/x?factory=a', 'POST').factory, undefined)
  t.equal(resourcesOf(route, '/x').factory, undefined, 'nor without a query')
  t.end()
})

t.test('the repository of a git request is its whole name', (t) => {
  const rows: [string, string, Record<string, string>, string][] = [
    [
      '/{factory}/{repository}',
      '/acme/hello.git/info/refs',
      { factory: 'acme', repository: 'acme/hello' },
      'from the first capture on, whatever the pattern calls repository',
    ],
    [
      '/git/{factory}/{path...}',
      '/git/acme/a/b.git/git-upload-pack',
      { factory: 'acme', path: 'a/b', repository: 'acme/a/b' },
      'without the literals before it',
    ],
    [
      '/{factory}/{repository...}',
      '/acme/HEAD',
      { factory: 'acme', repository: 'acme' },
      'of one segment',
    ],
    ['/acme/hello.git', '/acme/hello/HEAD', { repository: 'acme/hello' }, 'without a capture: all'],
    [
      '/{factory}/hello.git',
      '/acme/hello.git/HEAD',
      { factory: 'acme', repository: 'acme/hello' },
      'with a literal at the end',
    ],
    [
      '/{a}/{b}',
      '/acme/hello/.git/objects/info/packs',
      { a: 'acme', b: 'hello', repository: 'acme/hello' },
      'of the folder in a working tree',
    ],
    [
      '/{a}/{b}',
      '/acme/hello/git-upload-pack/',
      { a: 'acme', b: 'hello', repository: 'acme/hello' },
      'with a trailing slash',
    ],
  ]
  for (const [path, request, expected, sentence] of rows) {
    t.strictSame(resourcesOf(buildGitRoute({ path }), request), expected, sentence)
  }
  const resources = mapping({ repository: { kind: 'capture', name: 'b' } })
  const route = buildGitRoute({ path: '/{a}/{b}', resources })
  t.equal(resourcesOf(route, '/x/y/HEAD').repository, 'x/y', 'a mapping does not change it')
  t.end()
})

function mapping(sources: Record<string, ResourceSource>): ReadonlyMap<string, ResourceSource> {
  return new Map(Object.entries(sources))
}

function resourcesOf(route: Route, request: string, method = 'GET'): Record<string, string> {
  const target = buildTarget(request)
  const match = matcherOf([route]).match(target, method) as Match
  return Object.fromEntries(readResources(match, target, method))
}
