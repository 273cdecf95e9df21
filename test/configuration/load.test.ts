// What a configuration comes out as: defaults, merging, variables, secrets, paths beside their files.

import { join } from 'node:path'
import t from 'tap'
import type { Configuration } from '../../gateway/configuration/configuration.ts'
import { loadConfiguration } from '../../gateway/configuration/load.ts'

const fixtures = join(import.meta.dirname, '../fixtures/configuration')

/** The configuration of a folder's gateway.yaml, which must be good. */
async function load(
  folder: string,
  environment: Record<string, string> = {},
): Promise<Configuration> {
  const { configuration, complaints } = await loadConfiguration(
    join(folder, 'gateway.yaml'),
    environment,
  )
  if (configuration === undefined) throw new Error(JSON.stringify(complaints))
  return configuration
}

t.test('everything but the version has a default', async (t) => {
  const folder = t.testdir({ 'gateway.yaml': 'version: 1\n' })
  const { scopes, ...configuration } = await load(folder)
  t.ok(scopes.declarations.has('tokens:read'), "the gateway's own scopes are declared")
  t.same(configuration, {
    files: [join(folder, 'gateway.yaml')],
    listen: [{ host: '127.0.0.1', port: 8080, trustedProxies: undefined }],
    server: {
      workers: 1,
      drain: { delayMs: 0, timeoutMs: 30_000 },
      limits: { headBytes: 16_384, connectionsPerAddress: 1000 },
    },
    management: { host: '127.0.0.1', port: 9090 },
    tokens: {
      authority: { kind: 'sqlite', file: join(folder, 'var/tokens.db') },
      redis: undefined,
      cache: { entries: 100_000, freshMs: 30_000, staleMs: 60_000, absentMs: 5000 },
      lifetime: { defaultMs: 90 * 86_400_000, maxMs: 400 * 86_400_000 },
    },
    credentials: [
      { kind: 'header', name: 'osf-token' },
      { kind: 'header', name: 'x-auth-token' },
      { kind: 'authorization', scheme: 'bearer' },
      { kind: 'authorization', scheme: 'oauth2' },
      { kind: 'authorization', scheme: 'basic' },
    ],
    upstreams: new Map(),
    routes: [],
    examples: [],
  })
})

t.test('a route has defaults that refuse', async (t) => {
  const folder = t.testdir({
    'gateway.yaml': `version: 1
upstreams: { api: { url: "http://127.0.0.1:1" } }
routes:
  - { host: Git.Example.com., path: "/a/{x}", upstream: api, allow: public }`,
  })
  const [route] = (await load(folder)).routes
  t.match(route, {
    name: 'git.example.com/a/{x}',
    host: 'git.example.com',
    protocol: 'rest',
    resources: undefined,
    trailingSlash: 'ignore',
    pathParameters: 'refuse',
    encodedSlash: 'refuse',
    getBody: 'refuse',
    methodOverride: 'refuse',
    fallthrough: 'warn',
    inject: false,
    cors: undefined,
    place: `${join(folder, 'gateway.yaml')}:4:5`,
  })
  t.same([...(route?.allow ?? [])], [['GET', { kind: 'public' }]], 'a bare word is for GET alone')
})

t.test('every key that is written reaches the configuration', async (t) => {
  const { configuration } = await loadConfiguration(join(fixtures, 'good.yaml'), {
    SECRET: 'c2VjcmV0',
  })
  const [listen] = configuration?.listen ?? []
  t.same(listen?.trustedProxies, { from: ['10.0.0.0/8', 'fd00::/8'], read: 'x-forwarded' })
  t.same(configuration?.upstreams.get('api'), {
    name: 'api',
    origin: 'https://api.internal:9001',
    basePath: '/base',
    host: 'client',
    headers: [
      ['Authorization', 'Basic c2VjcmV0'],
      ['X-File', 'from a file'],
    ],
    identity: { subject: 'X-Remote-User', token: 'X-Token-Id', scopes: 'X-Token-Scopes' },
    credentials: 'forward',
    timeouts: { connectMs: 5000, headersMs: 60_000, idleMs: 600_000 },
    tls: { ca: undefined, cert: undefined, key: undefined, serverName: 'api.internal' },
  })
  const [all, open, git, hub] = configuration?.routes ?? []
  t.match(all, {
    name: 'all',
    host: '*.example.com',
    credentials: [{ kind: 'header', name: 'osf-token' }],
    trailingSlash: 'strict',
    pathParameters: 'allow',
    encodedSlash: 'allow',
    getBody: 'allow',
    methodOverride: 'effective',
    fallthrough: 'accepted',
    inject: true,
    cors: { origins: ['https://app.example.com'], headers: ['X-Other'], maxAgeMs: 3_600_000 },
  })
  t.same(
    [...(all?.allow ?? [])],
    [
      ['GET', { kind: 'any', scopes: ['a:read'] }],
      ['PUT', { kind: 'any', scopes: ['a:read', 'a:write'] }],
      ['POST', { kind: 'all', scopes: ['a:read', 'a:write'] }],
      ['*', { kind: 'path-scope' }],
    ],
  )
  t.same(
    [...(all?.resources ?? [])],
    [
      ['factory', { kind: 'capture', name: 'factory' }],
      ['site', { kind: 'query', name: 'site' }],
    ],
  )
  t.same(open?.cors, {
    origins: ['*'],
    headers: ['authorization', 'content-type', 'osf-token'],
    maxAgeMs: 600_000,
  })
  t.match(git, { refs: ['refs/heads/**'], pushOptions: ['ci.skip'] })
  t.match(hub, { name: '/v2/', protocol: 'registry', pattern: { source: '/v2/{rest...}' } })
})

t.test(
  'maps of several files merge, lists are appended, paths are beside their own file',
  async (t) => {
    const folder = t.testdir({
      'gateway.yaml': `version: 1
include: [sub/one.yaml, sub/two.yaml]
upstreams: { a: { url: "http://127.0.0.1:1" } }
routes: [{ name: first, path: /1, upstream: a, allow: public }]`,
      sub: {
        'one.yaml': `version: 1
include: two.yaml
upstreams: { a: { headers: { X-Key: { file: key.txt } } } }
tokens: { authority: sqlite:tokens.db }
routes: [{ name: second, path: /2, upstream: b, allow: public }]`,
        'two.yaml': `upstreams: { b: { url: "http://127.0.0.1:2" } }
routes: [{ name: third, path: /3, upstream: b, allow: public }]`,
        'key.txt': 'secret\n\n',
      },
    })
    const configuration = await loadConfiguration(join(folder, 'gateway.yaml'), {})
    t.match(configuration.complaints[0]?.message, /expected one line of printable characters/)
    t.equal(configuration.complaints.length, 1, 'only one line break at the end is dropped')
    t.equal(configuration.configuration, undefined)
  },
)

t.test('the routes of included files come after those that stand before them', async (t) => {
  const route = (name: string) => `routes: [{ path: /${name}, upstream: a, allow: public }]\n`
  const folder = t.testdir({
    'gateway.yaml': `version: 1
include: [sub/one.yaml, sub/two.yaml]
upstreams: { a: { url: "http://127.0.0.1:1" } }
${route('main')}`,
    sub: {
      'one.yaml': `include: two.yaml\ntokens: { authority: sqlite:tokens.db }\n${route('one')}`,
      'two.yaml': `upstreams: { a: { headers: { X-Key: { file: key.txt } } } }\n${route('two')}`,
      'key.txt': 'secret\n',
    },
  })
  const configuration = await load(folder)
  t.same(
    configuration.routes.map((one) => one.name),
    ['/main', '/one', '/two'],
    'a file that two include is read once',
  )
  t.same(configuration.upstreams.get('a')?.headers, [['X-Key', 'secret']])
  t.equal(configuration.tokens.authority.file, join(folder, 'sub/tokens.db'))
  t.same(
    configuration.files,
    ['gateway.yaml', 'sub/one.yaml', 'sub/two.yaml'].map((name) => join(folder, name)),
  )
})

t.test(
  'what a variable holds gets its YAML type where it is not quoted, and is never structure',
  async (t) => {
    const folder = t.testdir({
      'gateway.yaml': `version: 1
listen:
  port: \${PORT}
  host: \${HOST:-127.0.0.2}
upstreams:
  api:
    url: "http://127.0.0.1:\${PORT}"
    headers:
      X-Number: "\${PORT}"
      X-Structure: \${STRUCTURE}
      X-Dollar: $$5 $x $\${PORT}`,
    })
    const configuration = await load(folder, {
      PORT: '8081',
      HOST: '',
      STRUCTURE: '{ a: [b] }\tc: d',
    })
    t.match(configuration.listen, [{ port: 8081, host: '127.0.0.2' }])
    t.same(configuration.upstreams.get('api')?.headers, [
      ['X-Number', '8081'],
      ['X-Structure', '{ a: [b] }\tc: d'],
      ['X-Dollar', `$5 $x \${PORT}`],
    ])
  },
)

t.test('a variable of the prototype is not set', async (t) => {
  const folder = t.testdir({ 'gateway.yaml': `version: 1\nlisten:\n  host: \${constructor}\n` })
  const { complaints } = await loadConfiguration(join(folder, 'gateway.yaml'), {})
  t.match(complaints[0]?.message, /the variable constructor is not set/)
})

t.test('management can be off', async (t) => {
  const folder = t.testdir({ 'gateway.yaml': 'version: 1\nmanagement: off\n' })
  t.equal((await load(folder)).management, undefined)
})
