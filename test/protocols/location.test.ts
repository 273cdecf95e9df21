// Location and Link values on their way to the client.

import fc from 'fast-check'
import t from 'tap'
import {
  hostlessLocation,
  pathBelow,
  relativeLocation,
  rewriteLinks,
} from '../../gateway/protocols/location.ts'
import { search } from '../search.ts'

const upstream = 'http://127.0.0.1:5000'

const locations: readonly (readonly [why: string, given: string, expected: string])[] = [
  ['an absolute URL of the upstream becomes its path', 'http://127.0.0.1:5000/a/b', '/a/b'],
  ['the query and fragment stay', 'http://127.0.0.1:5000/a?x=%2F&y=1#z', '/a?x=%2F&y=1#z'],
  ['the bytes of the path stay', 'http://127.0.0.1:5000/a/%7e/../b', '/a/%7e/../b'],
  ['a URL without a path is the root', 'http://127.0.0.1:5000', '/'],
  ['a URL with a query only is the root with it', 'http://127.0.0.1:5000?x', '/?x'],
  ['the scheme counts without case', 'HTTP://127.0.0.1:5000/a', '/a'],
  ['https of the same host and port is the same upstream', 'https://127.0.0.1:5000/a', '/a'],
  ['a network-path reference to the upstream becomes its path', '//127.0.0.1:5000/a', '/a'],
  ['user information goes', 'http://user:secret@127.0.0.1:5000/a', '/a'],
  ['a path stays', '/a/b?c', '/a/b?c'],
  ['a relative path stays', 'b/c', 'b/c'],
  ['a query alone stays', '?page=2', '?page=2'],
  ['another host stays', 'https://storage.example/a?sig=1', 'https://storage.example/a?sig=1'],
  ['another port is another host', 'http://127.0.0.1:5001/a', 'http://127.0.0.1:5001/a'],
  ['a network-path reference elsewhere stays', '//storage.example/a', '//storage.example/a'],
  [
    'the upstream as user information is another host',
    'http://127.0.0.1:5000@evil.example/a',
    'http://127.0.0.1:5000@evil.example/a',
  ],
  [
    'a path that begins with // never becomes a host',
    'http://127.0.0.1:5000//evil.example/a',
    '/.//evil.example/a',
  ],
  [
    'a path that begins with /\\ never becomes a host',
    'http://127.0.0.1:5000/\\evil.example',
    '/./\\evil.example',
  ],
  [
    'nor does one that begins with a backslash',
    'http://127.0.0.1:5000\\evil.example',
    '/./\\evil.example',
  ],
  ['a host that cannot be read stays', 'http://[::1/a', 'http://[::1/a'],
  ['another scheme stays', 'mailto:a@example.com', 'mailto:a@example.com'],
  ['an empty value stays', '', ''],
]

t.test('a reference that names the upstream becomes path and query, no other does', async (t) => {
  for (const [why, given, expected] of locations) {
    t.equal(relativeLocation(given, upstream), expected, why)
  }
})

t.test('a default port may be written or not', async (t) => {
  t.equal(relativeLocation('http://api.internal:80/a', 'http://api.internal'), '/a')
  t.equal(relativeLocation('http://API.internal/a', 'http://api.internal:80'), '/a')
  t.equal(relativeLocation('https://api.internal:443/a', 'https://api.internal'), '/a')
})

t.test('the path that stands before every forwarded path is taken away', async (t) => {
  const rows: readonly (readonly [why: string, given: string, expected: string])[] = [
    ['from an absolute URL', 'http://127.0.0.1:5000/base/a?b', '/a?b'],
    ['from a path', '/base/a', '/a'],
    ['from the base itself', '/base', '/'],
    ['from the base with a query', '/base?x', '/?x'],
    ['not from a longer word', '/basement/a', '/basement/a'],
    ['not from a path outside of it', 'http://127.0.0.1:5000/b', 'http://127.0.0.1:5000/b'],
    ['and never makes a host', '/base//evil.example', '/.//evil.example'],
  ]
  for (const [why, given, expected] of rows) {
    t.equal(relativeLocation(given, upstream, '/base'), expected, why)
  }
})

t.test('a path below a prefix is found whatever the host', async (t) => {
  t.equal(pathBelow('https://anything.example:99/v2/a?b', '/v2/'), '/v2/a?b')
  t.equal(pathBelow('//anything.example/v2/a', '/v2/'), '/v2/a')
  t.equal(pathBelow('/v2/a', '/v2/'), '/v2/a')
  t.equal(pathBelow('https://anything.example/v1/a', '/v2/'), undefined)
  t.equal(pathBelow('https://anything.example/v2', '/v2/'), undefined)
})

t.test(
  'without its host any reference leads to the gateway, for every reader of URLs',
  async (t) => {
    const rows: readonly (readonly [given: string, expected: string])[] = [
      ['https://registry.internal/uploads/x?y=1', '/uploads/x?y=1'],
      ['//registry.internal/up', '/up'],
      ['https://registry.internal', '/'],
      ['https://registry.internal?x=1', '/?x=1'],
      ['https://registry.internal//evil.example/v2/', '/.//evil.example/v2/'],
      ['ftp://registry.internal/v2/x', '/v2/x'],
      ['///registry.internal/v2/x', '/v2/x'],
      ['https:/registry.internal/v2/x', '/v2/x'],
      ['https:/\\registry.internal/v2/x', '/v2/x'],
      ['\\\\registry.internal\\v2', '/./\\v2'],
      ['mailto:a@registry.internal', '/'],
      ['/up?x=https://a.example/', '/up?x=https://a.example/'],
      ['u1?_state=s', 'u1?_state=s'],
      ['?_state=s', '?_state=s'],
    ]
    for (const [given, expected] of rows) {
      t.equal(hostlessLocation(given), expected, given)
      const { origin } = new URL(hostlessLocation(given), 'https://gateway.example/v2/a/')
      t.equal(origin, 'https://gateway.example', given)
    }
    const part = fc.oneof(
      fc.string({ maxLength: 3 }),
      fc.constantFrom(
        '/',
        '//',
        '\\',
        ':',
        'http',
        'https:',
        'ftp:',
        'evil.example',
        '@',
        '?',
        '#',
      ),
      fc.constantFrom('.', '..', '\t', ' ', 'u1'),
    )
    const values = fc.array(part, { maxLength: 8 }).map((parts) => parts.join('').trim())
    await search(
      5_000,
      fc.property(values, fc.constantFrom('http', 'https'), (value, scheme) => {
        const own = `${scheme}://gateway.example`
        const url = URL.parse(hostlessLocation(value), `${own}/v2/a/`)
        return url === null || url.origin === own
      }),
    )
    t.equal(hostlessLocation('https://registry.internal/base/up', '/base'), '/up')
    t.equal(hostlessLocation('https://registry.internal/up', '/base'), '/up')
  },
)

t.test('every target of a Link is rewritten, and nothing else of it', async (t) => {
  t.equal(
    rewriteLinks('<a>; rel="next", <b>;rel=prev; title="<c"', (target) => `/${target}`),
    '</a>; rel="next", </b>;rel=prev; title="<c"',
  )
})
