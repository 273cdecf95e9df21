// Two gateways with one authority and one Redis, from outside: what a change of a token does to both, and
// what an outage of Redis or of the authority does to neither. Nobody is ever told 401 for an outage.

import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { openSqliteStore } from '../../gateway/tokens/sqlite.ts'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import { makeFolder, removeFolder } from '../servers/lifetime.ts'
import { until } from '../servers/ready.ts'
import { startRecorder } from '../servers/recorder.ts'
import { startRedis } from '../servers/redis-server.ts'
import { makeToken } from '../tokens/records.ts'

/** A change acts on every process within so long, whatever becomes of Redis. */
const changeMsMax = 1_000
const rounds = 5
const freshMs = 2_000
const staleMs = 4_000

const folder = makeFolder('lookup-flow')
const file = join(folder, 'tokens.db')
const api = await startRecorder()
const redis = await startRedis('--requirepass', 'hunter2')
const configuration = {
  tokens: {
    authority: `sqlite:${file}`,
    redis: redis.url.replace('//', '//:hunter2@'),
    cache: { fresh: `${freshMs}ms`, stale: `${staleMs}ms` },
  },
  upstreams: { api: { url: api.url } },
  scopes: { 'api:use': 'Use the API' },
  routes: [{ path: '/{rest...}', upstream: 'api', allow: { GET: 'api:use' } }],
}
const gateways = [await startGateway(configuration), await startGateway(configuration)] as const
const [one, two] = gateways
const store = openSqliteStore(file, { busyMs: 5_000 })
t.teardown(async () => {
  for (const gateway of gateways) await gateway.stop()
  await store.close()
  await Promise.all([api.stop(), redis.stop()])
  removeFolder(folder)
})
await Promise.all(gateways.map((gateway) => redisIs(gateway, 'ok')))

async function issue() {
  const token = makeToken({ scopes: ['api:use'] })
  await store.create(token.record, [token.digest])
  return token
}

function ask(gateway: Gateway, token: string): Promise<Response> {
  return fetch(`${gateway.url}/thing`, { headers: { 'OSF-TOKEN': token } })
}

async function statusOf(gateway: Gateway, token: string): Promise<number> {
  const reply = await ask(gateway, token)
  await reply.arrayBuffer()
  return reply.status
}

async function ready(gateway: Gateway): Promise<string> {
  const reply = await fetch(`${gateway.managementUrl}/readyz?verbose`)
  return `${reply.status}\n${await reply.text()}`
}

async function redisIs(gateway: Gateway, state: 'ok' | 'unavailable'): Promise<void> {
  await until(`redis: ${state}`, async () =>
    (await ready(gateway)).includes(`redis: ${state}`) ? true : undefined,
  )
}

/** Revokes on the command line; the time from its end to the last permit on either gateway. */
async function revokeByCommand(t: Test): Promise<number> {
  const { secret, record } = await issue()
  for (const gateway of gateways) t.equal(await statusOf(gateway, secret), 200)
  t.equal((await one.command('token', 'revoke', record.id)).code, 0)
  const endedAt = performance.now()
  const times = gateways.map(async (gateway) => {
    for (;;) {
      const askedAt = performance.now()
      if ((await statusOf(gateway, secret)) === 401) return askedAt - endedAt
      if (askedAt - endedAt > 10 * changeMsMax) return Number.POSITIVE_INFINITY
    }
  })
  const lastPermit = Math.max(...(await Promise.all(times)))
  for (const gateway of gateways) t.equal(await statusOf(gateway, secret), 401, 'and it stays so')
  return lastPermit
}

t.test(
  'a revocation on the command line is refused on both gateways within a second',
  async (t) => {
    const times: number[] = []
    for (let i = 0; i < rounds; i++) times.push(await revokeByCommand(t))
    times.sort((a, b) => a - b)
    t.ok((times.at(-1) as number) < changeMsMax, `after ${times.map(Math.round).join(', ')} ms`)
  },
)

t.test('Redis is killed, silent and back', async (t) => {
  const known = await issue()
  for (const gateway of gateways) t.equal(await statusOf(gateway, known.secret), 200)
  const outages: [string, () => Promise<void> | void, () => Promise<void> | void][] = [
    ['killed', () => redis.kill(), () => redis.start()],
    ['silent', () => redis.pause(), () => redis.resume()],
  ]
  for (const [sentence, begin, end] of outages) {
    await begin()
    const during = await revokeByCommand(t)
    t.ok(during < changeMsMax, `${sentence}: a revocation acts all the same, after ${during} ms`)
    const fresh = await issue()
    for (const gateway of gateways) {
      t.equal(await statusOf(gateway, known.secret), 200, `${sentence}: a known token goes on`)
      t.equal(await statusOf(gateway, fresh.secret), 200, `${sentence}: a new token works`)
      t.equal(await statusOf(gateway, makeToken().secret), 401, `${sentence}: an unknown does not`)
      await redisIs(gateway, 'unavailable')
      t.match(await ready(gateway), /^200\n/, `${sentence}: the gateways are ready`)
    }
    await end()
    for (const gateway of gateways) await redisIs(gateway, 'ok')
    const after = await revokeByCommand(t)
    t.ok(after < changeMsMax, `${sentence}: and after it: ${after} ms`)
  }
})

t.test('under load, while Redis comes and goes, no answer is wrong', async (t) => {
  const wrong: string[] = []
  let asked = 0
  let isOver = false
  const known = await issue()
  const workers = gateways.map(async (gateway) => {
    while (!isOver) {
      const cold = await issue()
      const answers = [
        [known.secret, 200],
        [cold.secret, 200],
        [makeToken({}).secret.replace('sgt_', 'other_'), 401],
      ] as const
      for (const [secret, expected] of answers) {
        const status = await statusOf(gateway, secret)
        if (status !== expected && status !== 429) wrong.push(`${status} for ${expected}`)
      }
      await store.revoke({ id: cold.record.id }, { at: Date.now(), by: 'a test' })
      // A request that was let through just before is ended by the revocation.
      await until('refused', async () =>
        (await statusOf(gateway, cold.secret).catch(() => 0)) === 401 ? true : undefined,
      )
      asked += 1
      if ((await statusOf(gateway, cold.secret)) !== 401) wrong.push('revoked, and permitted')
    }
  })
  for (let i = 0; i < 3; i++) {
    await redis.kill()
    await redis.start()
    await redisIs(one, 'ok')
    redis.pause()
    await redisIs(one, 'unavailable')
    redis.resume()
    await redisIs(one, 'ok')
  }
  isOver = true
  await Promise.all(workers)
  t.strictSame(wrong, [])
  t.ok(asked >= 10, `${asked} tokens`)
})

t.test('the authority cannot be read', async (t) => {
  await Promise.all(gateways.map((gateway) => redisIs(gateway, 'ok')))
  const [known, shared, unknown] = [await issue(), await issue(), await issue()]
  t.equal(await statusOf(one, known.secret), 200)
  t.equal(await statusOf(one, shared.secret), 200)
  const database = new DatabaseSync(file, { timeout: 5_000 })
  t.teardown(() => database.close())
  await until('Redis holds it', async () => {
    const key = `scopegate:${store.authorityId}:${shared.digest.toString('hex')}`
    return (await redis.client.exists(key)) === 1 ? true : undefined
  })
  database.exec('ALTER TABLE tokens RENAME TO hidden_tokens')
  database.exec('ALTER TABLE changes RENAME TO hidden_changes')
  const beganAt = Date.now()
  for (const gateway of gateways) {
    await until('the outage shows', async () =>
      (await ready(gateway)).includes('authority: unavailable') ? true : undefined,
    )
    const reply = await ask(gateway, unknown.secret)
    t.equal(reply.status, 503, 'a token that nobody knows is unavailable, never 401')
    t.match(reply.headers.get('retry-after'), /^\d+$/)
    t.match(await reply.json(), { code: 'lookup_unavailable' })
  }
  t.equal(await statusOf(two, shared.secret), 200, 'what Redis knows goes on, on each of them')
  const statuses = new Map<number, number>()
  await until('`stale` ends', async () => {
    const status = await statusOf(one, known.secret)
    if (!statuses.has(status)) statuses.set(status, Date.now() - beganAt)
    return status === 503 ? true : undefined
  })
  t.strictSame([...statuses.keys()], [200, 503], 'a known token goes on until then')
  const endedMs = statuses.get(503) as number
  t.ok(endedMs > freshMs && endedMs < freshMs + staleMs + 1_000, `for ${endedMs} ms`)
  database.exec('ALTER TABLE hidden_changes RENAME TO changes')
  database.exec('ALTER TABLE hidden_tokens RENAME TO tokens')
  for (const gateway of gateways) {
    for (const { secret } of [known, unknown]) {
      await until('the authority is asked again', async () =>
        (await statusOf(gateway, secret)) === 200 ? true : undefined,
      )
    }
  }
})

t.test('no token goes to Redis, and no password to the log', async (t) => {
  await Promise.all(gateways.map((gateway) => redisIs(gateway, 'ok')))
  const seen: string[] = []
  const monitor = await redis.client.monitor()
  t.teardown(() => monitor.disconnect())
  monitor.on('monitor', (_time: string, args: string[]) => seen.push(args.join(' ')))
  const { secret, digest } = await issue()
  for (const gateway of gateways) t.equal(await statusOf(gateway, secret), 200)
  await until('Redis was asked', () =>
    seen.some((line) => line.includes(digest.toString('hex'))) ? true : undefined,
  )
  const written = [secret, Buffer.from(secret).toString('base64'), secret.slice(4, -6)]
  for (const form of written) t.notOk(seen.some((line) => line.includes(form)))
  for (const gateway of gateways) t.notMatch(gateway.messages(), /hunter2/)
})
