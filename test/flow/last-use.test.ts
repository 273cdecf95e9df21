// When, from where and for what a token was last used, as `token show` and `token list` tell it.

import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { request } from 'undici'
import { commandBusyMs, openSqliteStore } from '../../gateway/tokens/sqlite.ts'
import type { TokenRecord } from '../../gateway/tokens/token.ts'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import { until } from '../servers/ready.ts'
import { startRecorder } from '../servers/recorder.ts'
import { makeToken } from '../tokens/records.ts'

type Json = Readonly<Record<string, unknown>>

/** The gateway as a process, and the authority that it writes to. */
type Place = {
  readonly gateway: Gateway
  /** The secret and the id of a new token. */
  add(changes?: Partial<TokenRecord>): Promise<{ readonly secret: string; readonly id: string }>
  record(id: string): Promise<TokenRecord>
  /** The token's record once a use was written. */
  used(id: string): Promise<TokenRecord>
}

const nobody = '0'.repeat(40)

async function open(t: Test): Promise<Place> {
  const upstream = await startRecorder()
  const gateway = await startGateway({
    upstreams: { api: { url: upstream.url }, away: { url: 'http://127.0.0.1:9' } },
    scopes: { read: 'Read', write: 'Write' },
    routes: [
      { path: '/api/{rest...}', upstream: 'api', allow: { GET: 'read', PUT: 'write' } },
      { path: '/away', upstream: 'away', allow: 'read' },
      { path: '/open', upstream: 'api', allow: 'public' },
      {
        path: '/git/{repository...}',
        protocol: 'git',
        upstream: 'api',
        allow: { fetch: 'read', update: 'read', create: 'read', delete: 'write' },
      },
      {
        path: '/v2/',
        protocol: 'registry',
        upstream: 'api',
        allow: { pull: 'read', push: 'write' },
      },
    ],
  })
  const authority = join(gateway.folder, 'var', 'tokens.db')
  const store = openSqliteStore(authority, { busyMs: commandBusyMs })
  t.teardown(async () => {
    await store.close()
    await gateway.stop()
    await upstream.stop()
  })
  const record = async (id: string) => (await store.get(id)) as TokenRecord
  return {
    gateway,
    add: async (changes) => {
      const { secret, digest, record } = makeToken({ scopes: ['read'], ...changes })
      await store.create(record, [digest])
      return { secret, id: record.id }
    },
    record,
    used: (id) =>
      until('a use is written', async () => {
        const found = await record(id)
        return found.lastUsedAt === null ? undefined : found
      }),
  }
}

async function ask(
  { gateway }: Place,
  secret: string,
  path: string,
  options: { method?: 'PUT' | 'POST'; type?: string; body?: string } = {},
): Promise<number> {
  const reply = await request(gateway.url + path, {
    method: options.method ?? 'GET',
    headers: {
      authorization: `Basic ${btoa(`user:${secret}`)}`,
      ...(options.type === undefined ? {} : { 'content-type': options.type }),
    },
    body: options.body ?? null,
  })
  await reply.body.dump()
  return reply.statusCode
}

function deletion(ref: string): string {
  const command = `${'1'.repeat(40)} ${nobody} ${ref}\0report-status`
  return `${(command.length + 4).toString(16).padStart(4, '0')}${command}0000`
}

t.test('a permitted request is the last use of its token', async (t) => {
  const place = await open(t)
  const rows: [sentence: string, path: string, status: number, protocol: string][] = [
    ['of an API', '/api/things', 200, 'rest'],
    ['whose upstream failed', '/away', 502, 'rest'],
    ['of git', '/git/acme/hello/info/refs?service=git-upload-pack', 200, 'git'],
    ['of a registry', '/v2/acme/app/manifests/latest', 200, 'registry'],
    ['that the gateway answers itself', '/v2/', 200, 'registry'],
  ]
  const began = Date.now()
  const tokens = await Promise.all(rows.map(() => place.add()))
  for (const [i, [sentence, path, status]] of rows.entries()) {
    t.equal(await ask(place, tokens[i]!.secret, path), status, `a request ${sentence}`)
  }
  for (const [i, [sentence, , , protocol]] of rows.entries()) {
    const record = await place.used(tokens[i]!.id)
    t.match(record, { lastUsedFrom: '127.0.0.1', lastUsedFor: protocol, version: 1 }, sentence)
    const at = record.lastUsedAt as number
    t.ok(at >= began && at <= Date.now(), `${sentence}: at ${at}`)
  }
  const [{ id } = { id: '' }] = tokens
  const shown = JSON.parse((await place.gateway.command('token', 'show', id, '--json')).stdout)
  t.equal(Date.parse((shown as Json).lastUsedAt as string), (await place.record(id)).lastUsedAt)
  t.match(shown, { lastUsedFrom: '127.0.0.1', lastUsedFor: 'rest' }, 'as `token show` tells')
  const { stdout } = await place.gateway.command('token', 'list')
  const line = stdout.split('\n').find((line) => line.startsWith(id))
  t.match(line, String((shown as Json).lastUsedAt), 'and `token list`')
})

t.test('a request that is not permitted is no use', async (t) => {
  const place = await open(t)
  const good = await place.add()
  const revoked = await place.add({ revokedAt: Date.now() })
  const expired = await place.add({ expiresAt: Date.now() })
  const far = await place.add({ allowedIps: ['192.0.2.1'] })
  const pack = 'application/x-git-receive-pack-request'
  const push = { method: 'POST', type: pack, body: deletion('refs/heads/main') } as const
  type Row = [sentence: string, token: typeof good, status: number, path: string, options: object]
  const rows: Row[] = [
    ['a scope is missing', good, 403, '/api/things', { method: 'PUT', body: 'x' }],
    ['the route asks for no token', good, 200, '/open', {}],
    ['a ref may not be deleted', good, 200, '/git/acme/hello/git-receive-pack', push],
    ['there is no such route', good, 404, '/nothing', {}],
    ['the token is revoked', revoked, 401, '/api/things', {}],
    ['the token has expired', expired, 401, '/api/things', {}],
    ['the address is not allowed', far, 403, '/api/things', {}],
  ]
  for (const [sentence, { secret }, status, path, options] of rows) {
    t.equal(await ask(place, secret, path, options), status, sentence)
  }
  const last = await place.add()
  await ask(place, last.secret, '/api/things')
  await place.used(last.id)
  for (const { id } of [good, revoked, expired, far]) {
    const unused = { lastUsedAt: null, lastUsedFrom: null, lastUsedFor: null }
    t.match(await place.record(id), unused)
  }
})

t.test('a drain writes the last use that was not written yet', async (t) => {
  const place = await open(t)
  const { secret, id } = await place.add()
  await ask(place, secret, '/api/things')
  const first = await place.used(id)
  // Within a minute of the first: without a drain, it would be written later.
  await ask(place, secret, '/git/acme/hello/info/refs?service=git-upload-pack')
  place.gateway.signal('SIGTERM')
  t.match(await place.gateway.exited, { code: 0 })
  const last = await place.record(id)
  t.equal(last.lastUsedFor, 'git')
  t.ok(Number(last.lastUsedAt) > Number(first.lastUsedAt))
  t.notMatch(place.gateway.messages(), /last use/)
})

t.test('what keeps a use from being written is said, and that it is over', async (t) => {
  const place = await open(t)
  const { gateway } = place
  const { secret, id } = await place.add()
  const other = new DatabaseSync(join(gateway.folder, 'var', 'tokens.db'))
  t.teardown(() => other.close())
  other.exec('BEGIN IMMEDIATE')
  await ask(place, secret, '/api/things')
  const line = (text: string) => gateway.logged(text, ({ msg }) => msg === text)
  t.match(await line('last use cannot be written'), { level: 'warn', cause: /database is locked/ })
  other.exec('ROLLBACK')
  t.match(await line('last use is written again'), { level: 'info' })
  t.match(await place.used(id), { lastUsedFor: 'rest' })
})
