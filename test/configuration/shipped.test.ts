// The configuration files that come with the gateway: they lint without a word, and the JSON Schema is the
// one that the gateway reads by.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { loadConfiguration } from '../../gateway/configuration/load.ts'
import { schemaFile, writeSchema } from '../../gateway/configuration/write-schema.ts'
import { judge } from '../../gateway/judge.ts'
import { lintFiles, renderLint } from '../../gateway/lint.ts'

const project = join(import.meta.dirname, '../..')
const gateway = join(project, 'config/gateway.yaml')
const foundries = join(project, 'config/routes/foundries.yaml')
const hosts = {
  SCOPEGATE_GIT_HOST: 'source.example.com',
  SCOPEGATE_HUB_HOST: 'hub.example.com',
  SCOPEGATE_API_HOST: 'api.example.com',
}

t.test('config/schema.json is generated: npm run schema', async (t) => {
  t.equal(readFileSync(schemaFile, 'utf8'), writeSchema())
})

t.test('the shipped files lint without a warning, on one host and on three', async (t) => {
  for (const environment of [{}, hosts]) {
    const linted = await lintFiles([gateway, foundries], environment)
    t.same(
      linted.flatMap((one) => one.complaints),
      [],
    )
    t.ok(linted.every((one) => one.configuration !== undefined))
  }
})

t.test(
  'the default configuration is for one machine, with its addresses from the environment',
  async (t) => {
    const { configuration } = await loadConfiguration(gateway, {
      SCOPEGATE_GIT_URL: 'http://git:1',
    })
    t.match(configuration?.listen, [{ host: '127.0.0.1', port: 8080 }])
    t.equal(configuration?.tokens.authority.file, join(project, 'var/tokens.db'))
    t.same(
      [...(configuration?.upstreams.values() ?? [])].map((one) => [one.name, one.origin]),
      [
        ['api', 'http://127.0.0.1:9001'],
        ['git', 'http://git:1'],
        ['hub', 'http://127.0.0.1:9003'],
      ],
    )
  },
)

t.test('every route has an example of a permit and one of a denial', async (t) => {
  const { configuration } = await loadConfiguration(gateway, {})
  for (const route of configuration?.routes ?? []) {
    // It is open to everyone, and looks at tokens by itself.
    if (route.service === 'registry-token') continue
    const statuses = configuration?.examples.filter(
      ({ method, target: url }) =>
        judge(configuration, { method, url, rights: undefined }).route === route.name,
    )
    t.ok(
      statuses?.some(({ status }) => status === 200),
      `${route.name} has a permit`,
    )
    t.ok(
      statuses?.some(({ status }) => status === 403),
      `${route.name} has a denial`,
    )
  }
})

t.test('the registry asks for grants, of a token service on its own host', async (t) => {
  const environments: Record<string, string>[] = [
    {},
    hosts,
    { SCOPEGATE_HUB_PUBLIC_URL: 'https://hub.example.com' },
  ]
  for (const environment of environments) {
    const { configuration } = await loadConfiguration(gateway, environment)
    const registry = configuration?.routes.find(({ protocol }) => protocol === 'registry')
    t.equal(registry?.challenge, 'bearer')
    t.match(registry?.tokenRoute, { name: 'containers-token', host: registry?.host })
    const publicUrl = environment.SCOPEGATE_HUB_PUBLIC_URL
    t.equal(registry?.tokenRoute?.publicUrl, publicUrl)
  }
})

t.test('read-update implies read of its resource; create and delete imply nothing', async (t) => {
  const { configuration } = await loadConfiguration(gateway, {})
  for (const { name, implies } of configuration?.scopes.declarations.values() ?? []) {
    const expected = name.endsWith(':read-update') ? [name.replace('-update', '')] : []
    t.same(implies, expected, name)
  }
})

t.test('the table shows every route and scope within 100 columns', async (t) => {
  const text = renderLint(await lintFiles([foundries], hosts))
  t.ok(text.split('\n').every((line) => line.length <= 100))
  for (const name of (
    await lintFiles([foundries], hosts)
  )[0]?.configuration?.scopes.declarations.keys() ?? []) {
    if (!name.startsWith('tokens:')) t.match(text, name)
  }
  t.match(text, /^containers +hub\.example\.com\/v2\/\{rest\.\.\.\} +pull +containers:read$/m)
  t.match(text, /^ +catalog +authenticated$/m)
})
