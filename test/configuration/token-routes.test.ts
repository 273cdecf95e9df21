// Which token service a registry gets, what the routes of both come out as, and what is said of them.

import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Configuration } from '../../gateway/configuration/configuration.ts'
import { loadConfiguration } from '../../gateway/configuration/load.ts'
import { judge } from '../../gateway/judge.ts'
import { lintFiles, renderLint } from '../../gateway/lint.ts'

type Written = Readonly<Record<string, unknown>>

const registry = { protocol: 'registry', upstream: 'hub', allow: { pull: 'read' } }
const service = { path: '/token', service: 'registry-token', allow: 'public' }

function write(t: Test, routes: readonly Written[], more: Written = {}): string {
  const configuration = {
    version: 1,
    upstreams: { hub: { url: 'http://127.0.0.1:1' } },
    scopes: { read: 'Pull' },
    routes,
    ...more,
  }
  return join(t.testdir({ 'gateway.yaml': JSON.stringify(configuration) }), 'gateway.yaml')
}

async function load(
  t: Test,
  routes: readonly Written[],
  more: Written = {},
): Promise<Configuration> {
  const { configuration, complaints } = await loadConfiguration(write(t, routes, more), {})
  if (configuration === undefined) throw new Error(JSON.stringify(complaints))
  return configuration
}

const rows: readonly (readonly [
  sentence: string,
  routes: readonly Written[],
  found: string | undefined,
])[] = [
  ['the one beside it', [registry, { ...service, name: 'one' }], 'one'],
  [
    'the one of its own host, of several',
    [
      { ...registry, host: 'a.test' },
      { ...service, name: 'a', host: 'a.test' },
      { ...service, name: 'b' },
    ],
    'a',
  ],
  [
    'the only one, on another host, with an address of its own',
    [
      { ...registry, host: 'a.test' },
      { ...service, name: 'far', host: 'b.test', publicUrl: 'https://b.test' },
    ],
    'far',
  ],
  ['none, where it asks for Basic', [registry], undefined],
  [
    'none where it asks for Basic and the one there is cannot be reached on its host',
    [{ ...registry, host: 'a.test' }, service],
    undefined,
  ],
  [
    'none where it asks for Basic and there are two',
    [registry, { ...service, path: '/a' }, { ...service, path: '/b' }],
    undefined,
  ],
]

for (const [sentence, routes, found] of rows) {
  t.test(`a registry has ${sentence}`, async (t) => {
    const [first, ...others] = (await load(t, routes)).routes
    t.equal(first?.tokenRoute?.name, found)
    if (found !== undefined) t.ok(others.includes(first?.tokenRoute as (typeof others)[0]))
  })
}

t.test('a registry that asks for grants and has no service is an error', async (t) => {
  const bearer = { ...registry, challenge: 'bearer' }
  for (const [routes, message] of [
    [[bearer], /`challenge: bearer` needs a token service; add a route such as/],
    [
      [{ ...bearer, host: 'a.test' }, service],
      /token \(.*\) is on another host; give that route a/,
    ],
    [
      [bearer, service, { ...service, path: '/b' }],
      /several: \/token \(.*\), \/b \(.*\); leave one/,
    ],
  ] as const) {
    const { configuration, complaints } = await loadConfiguration(write(t, routes), {})
    t.equal(configuration, undefined)
    t.match(complaints[0]?.message, message)
  }
})

t.test('a service is public as a whole, and reads no method in disguise', async (t) => {
  const route = (await load(t, [registry, service])).routes[1]
  t.strictSame(
    [...(route?.allow ?? [])],
    [
      ['GET', { kind: 'public' }],
      ['POST', { kind: 'public' }],
    ],
  )
  t.match(route, { protocol: 'rest', upstream: '', methodOverride: 'ignored' })
})

t.test(
  'a registry and its service read Basic, and it reads grants, whatever else is read',
  async (t) => {
    const field = { header: 'X-Token' }
    const header = { kind: 'header', name: 'x-token' }
    const scheme = (scheme: string) => ({ kind: 'authorization', scheme })
    const narrow = { ...registry, host: 'a.test', credentials: [field] }
    const routes = [registry, service, narrow, { path: '/x', upstream: 'hub', allow: 'read' }]
    const configuration = await load(t, routes, { credentials: [field] })
    t.strictSame(
      configuration.routes.map(({ credentials }) => credentials),
      [
        [header, scheme('basic'), scheme('grant')],
        [header, scheme('basic')],
        [header, scheme('grant')],
        [header],
      ],
    )
    const usual = await load(t, [registry, { path: '/x', upstream: 'hub', allow: 'read' }])
    t.strictSame(usual.routes[0]?.credentials, usual.routes[1]?.credentials)
  },
)

t.test('an empty publicUrl, as an unset variable leaves it, is none', async (t) => {
  for (const publicUrl of ['', null]) {
    const { routes } = await load(t, [registry, { ...service, publicUrl }])
    t.equal(routes[1]?.publicUrl, undefined)
  }
})

t.test('a key for grants may stand in a file; it is not shown', async (t) => {
  const folder = t.testdir({
    'gateway.yaml': 'version: 1\ntokens: { grantKey: { file: key } }\n',
    key: `${'k'.repeat(32)}\n`,
    'short.yaml': 'version: 1\ntokens: { grantKey: { file: short } }\n',
    short: 'hunter2',
  })
  const good = await loadConfiguration(join(folder, 'gateway.yaml'), {})
  t.equal(good.configuration?.tokens.grantKey?.toString(), 'k'.repeat(32))
  const { complaints } = await loadConfiguration(join(folder, 'short.yaml'), {})
  t.match(complaints[0]?.message, /at least 32 characters/)
  t.notMatch(JSON.stringify(complaints), 'hunter2')
})

t.test('lint shows who may ask, and explain that the service looks by itself', async (t) => {
  const open = { ...registry, challenge: 'bearer', allow: { pull: 'public' } }
  const file = write(t, [open, service])
  const text = renderLint(await lintFiles([file], {}))
  t.match(text, /^\/token +\/token +GET +public\n +POST +public$/m)
  t.match(text, /^\/v2\/ .* pull +public$/m)
  const { configuration } = await loadConfiguration(file, {})
  if (configuration === undefined) throw new Error('it is good')
  const asked = (method: string, url: string) =>
    judge(configuration, { method, url, rights: undefined })
  t.match(asked('GET', '/token?service=x'), {
    status: 200,
    detail: /reaches registry-token, which/,
  })
  t.match(asked('PUT', '/token'), { status: 405 })
  t.match(asked('GET', '/v2/a/tags/list'), { status: 200 })
  t.match(asked('GET', '/v2/'), { status: 401 })
  t.match(asked('PUT', '/v2/a/manifests/x'), { status: 401 })
})

t.test('no two registries have one name, by which their grants are told apart', async (t) => {
  const { routes } = await load(t, [
    { path: '/x', name: 'a.test/v2/', upstream: 'hub', allow: 'read' },
    { ...registry, host: 'b.test', name: 'a.test/v2/ (registry)' },
    { ...registry, host: 'a.test' },
  ])
  t.equal(new Set(routes.map(({ name }) => name)).size, routes.length)
  t.end()
})
