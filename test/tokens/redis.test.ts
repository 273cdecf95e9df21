// The shared cache with real redis-servers, and what becomes of lookups when they fail: two lookups (`a`, `b`)
// with stores of their own over one authority, as two processes have them.

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { GatewayError } from '../../gateway/errors.ts'
import { TokenLookup } from '../../gateway/tokens/lookup.ts'
import { createMemory } from '../../gateway/tokens/memory.ts'
import { RecentChanges } from '../../gateway/tokens/recent-changes.ts'
import { RedisCache } from '../../gateway/tokens/redis.ts'
import { createRedisLink } from '../../gateway/tokens/redis-link.ts'
import { openSqliteStore, requestBusyMs } from '../../gateway/tokens/sqlite.ts'
import type { TokenStore } from '../../gateway/tokens/store.ts'
import type { TokenRecord } from '../../gateway/tokens/token.ts'
import { startFaultProxy } from '../servers/fault-proxy.ts'
import { makeFolder, removeFolder } from '../servers/lifetime.ts'
import { until } from '../servers/ready.ts'
import { type RedisServer, startRedis } from '../servers/redis-server.ts'
import { checkRecordCache } from './cache-contract.ts'
import { makeToken } from './records.ts'

const folder = makeFolder('redis-cache')
const redis: RedisServer = await startRedis()
t.teardown(async () => {
  await redis.stop()
  removeFolder(folder)
})

const cache = { entries: 100, freshMs: 30_000, staleMs: 60_000, absentMs: 5_000 }
const plain = { host: '127.0.0.1', database: 0, username: undefined, password: undefined }
let count = 0

/** A lookup as one process has it; the authority's answers are counted and can be made to fail. */
class Process {
  readonly events: string[] = []
  readonly store: TokenStore
  readonly lookup: TokenLookup
  readonly time = { skewMs: 0 }
  isAuthorityUp = true
  isRedisUp = false
  reason: string | undefined

  constructor(t: Test, file: string, port: number, password?: string, spread = 0) {
    this.store = openSqliteStore(file, { busyMs: requestBusyMs })
    const reach = new Proxy(this.store, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return (...args: unknown[]) =>
          this.isAuthorityUp || name === 'watch'
            ? value.apply(target, args)
            : Promise.reject(new GatewayError('lookup_unavailable', 'away', { retryAfter: 1 }))
      },
    })
    this.lookup = new TokenLookup(reach, cache, {
      clock: () => performance.now() + this.time.skewMs,
      now: () => Date.now() + this.time.skewMs,
      spread,
      redis: createRedisLink({ ...plain, port, password, tls: false }),
      observer: {
        lookup: (tier, result) => this.events.push(`${tier} ${result}`),
        dependency: (name, isUp, reason) => {
          if (name === 'redis') [this.isRedisUp, this.reason] = [isUp, reason]
        },
      },
    })
    this.lookup.follow()
    t.teardown(async () => {
      this.lookup.close()
      await this.store.close()
    })
  }

  async up(): Promise<this> {
    await until('Redis is used', () => this.isRedisUp || undefined)
    return this
  }

  async down(): Promise<this> {
    await until('Redis is given up', () => !this.isRedisUp || undefined)
    return this
  }

  /** The kind that a lookup ends with, `503` for an outage; its events replace the earlier ones. */
  async find(secret: string): Promise<string> {
    this.events.length = 0
    try {
      return (await this.lookup.find(secret, Date.now())).kind
    } catch (error) {
      return String((error as { status?: number }).status ?? error)
    }
  }

  catchUp(): Promise<void> {
    return this.lookup.catchUp()
  }
}

function newFile(): string {
  count += 1
  return join(folder, `${count}.db`)
}

async function addToken(store: TokenStore, changes: Partial<TokenRecord> = {}) {
  const token = makeToken(changes)
  await store.create(token.record, [token.digest])
  return token
}

const revoke = (store: TokenStore, { id }: TokenRecord) =>
  store.revoke({ id }, { at: Date.now(), by: 'a test' })

/** Two processes with one authority and one Redis. */
async function pair(t: Test, port = redis.port) {
  const file = newFile()
  const [a, b] = [new Process(t, file, port), new Process(t, file, port)]
  await Promise.all([a.up(), b.up()])
  const keyOf = (digest: Buffer) => `scopegate:${a.store.authorityId}:${digest.toString('hex')}`
  const held = (digest: Buffer) =>
    until('Redis holds it', async () => (await redis.client.get(keyOf(digest))) ?? undefined)
  /** A token whose creation both have heard of. */
  const add = async (changes: Partial<TokenRecord> = {}) => {
    const token = await addToken(a.store, changes)
    await Promise.all([a.catchUp(), b.catchUp()])
    return token
  }
  return { file, a, b, add, keyOf, held }
}

t.test('records in memory', async (t) => {
  checkRecordCache(t, async () => {
    const memory = createMemory(10)
    return {
      keep: (digest, record, ageMs) =>
        memory.keepNewer(digest.toString('latin1'), record, performance.now() - ageMs),
      find: async (digest) => {
        const known = memory.known(digest.toString('latin1'))
        return known && { record: known.record, ageMs: performance.now() - known.readAt }
      },
    }
  })
})

t.test('records in Redis', async (t) => {
  checkRecordCache(t, async (t) => {
    const store = openSqliteStore(newFile(), { busyMs: requestBusyMs })
    const changes = new RecentChanges(1_000)
    changes.begin(0)
    const shared = new RedisCache({
      link: createRedisLink({ ...plain, port: redis.port, tls: false }),
      store,
      cache,
      changes,
      catchUp: async () => {},
      position: () => 0,
      observer: {},
      wake: () => {},
      now: Date.now,
    })
    shared.open()
    t.teardown(async () => {
      shared.close()
      await store.close()
    })
    await until('Redis is used', () => shared.isUsable || undefined)
    return {
      keep: (digest, record, ageMs) => shared.fill(digest, record, ageMs, 0),
      find: (digest) => shared.find(digest),
    }
  })
})

t.test('what one process has read, another is told by Redis', async (t) => {
  const { a, b, held, add } = await pair(t)
  const { secret, digest } = await add()
  t.equal(await a.find(secret), 'active')
  t.strictSame(a.events, ['memory miss', 'redis miss', 'authority hit'])
  await held(digest)
  t.equal(await b.find(secret), 'active')
  t.strictSame(b.events, ['memory miss', 'redis hit'])
  t.equal(await b.find(secret), 'active')
  t.strictSame(b.events, ['memory hit'])
})

t.test(
  'a thousand requests with one cold token ask Redis once and the authority once',
  async (t) => {
    const { a, add } = await pair(t)
    const { secret } = await add()
    a.events.length = 0
    const all = Array.from({ length: 1_000 }, () => a.lookup.find(secret, Date.now()))
    t.strictSame([...new Set((await Promise.all(all)).map(({ kind }) => kind))], ['active'])
    t.strictSame(
      a.events.filter((event) => !event.startsWith('memory')),
      ['redis miss', 'authority hit'],
    )
  },
)

t.test('an unknown token is never kept in Redis', async (t) => {
  const { a, keyOf } = await pair(t)
  const { secret, digest } = makeToken()
  t.equal(await a.find(secret), 'absent')
  t.equal(await a.find(makeToken().secret), 'absent')
  t.equal(await redis.client.exists(keyOf(digest)), 0)
})

t.test('no secret and no password is in Redis, and a record for its lifetime only', async (t) => {
  const { a, held, keyOf, add } = await pair(t)
  const { secret, digest } = await add()
  await a.find(secret)
  t.notOk((await held(digest)).includes(secret.slice(4, 20)))
  const left = await redis.client.pttl(keyOf(digest))
  t.ok(left > 90_000 && left <= 94_000, `fresh, stale, deadline and skew: ${left}`)
})

t.test('`fresh` and `stale` count from the authority’s answer, whoever asked', async (t) => {
  const { a, b, held, add } = await pair(t)
  const { secret, digest } = await add()
  await a.find(secret)
  await held(digest)
  b.time.skewMs = 29_000
  t.equal(await b.find(secret), 'active')
  t.strictSame(b.events, ['memory miss', 'redis hit'])
  b.time.skewMs = 30_500
  t.equal(await b.find(secret), 'active')
  t.strictSame(b.events.at(-1), 'authority hit', 'memory does not begin to count anew')
})

t.test('while the authority is away', async (t) => {
  const { a, b, held, add } = await pair(t)
  const [known, unknown] = [await add(), await add()]
  const ending = await add({ expiresAt: Date.now() + 40_000 })
  for (const { secret, digest } of [known, ending]) {
    await a.find(secret)
    await held(digest)
  }
  b.isAuthorityUp = false
  t.equal(await b.find(unknown.secret), '503', 'a token that nobody knows is unavailable')
  b.time.skewMs = 60_000
  t.equal(await b.find(known.secret), 'active', 'one that Redis knows goes on')
  t.strictSame(b.events, ['memory miss', 'redis hit', 'authority error'])
  const late = await b.lookup.find(ending.secret, Date.now() + b.time.skewMs)
  t.equal(late.kind, 'expired', 'not past its own end')
  b.time.skewMs = 90_500
  t.equal(await b.find(known.secret), '503', 'and not past `stale`')
})

t.test('a revocation reaches Redis from whoever sees it, and is a tombstone there', async (t) => {
  const { a, b, held, keyOf, add } = await pair(t)
  const { secret, digest, record } = await add()
  await a.find(secret)
  const old = await held(digest)
  await revoke(a.store, record)
  await until('the tombstone', async () => {
    const value = await redis.client.get(keyOf(digest))
    return value !== null && value !== old ? true : undefined
  })
  b.isAuthorityUp = false
  t.equal(await b.find(secret), 'revoked', 'a process without the authority is told too')
})

t.test('Redis lies', async (t) => {
  const { a, b, held, keyOf, add } = await pair(t)
  const other = await add({ scopes: ['all'] })
  await a.find(other.secret)
  const copied = await held(other.digest)
  const client = redis.client
  const rows: [string, string, (key: string, good: string) => Promise<unknown>][] = [
    ['random bytes', 'invalid', (key) => client.set(key, randomBytes(400))],
    ['an empty value', 'miss', (key) => client.set(key, '')],
    ['another schema', 'miss', (key, good) => client.set(key, good.replace(/^1 /, '2 '))],
    [
      'forged rights',
      'invalid',
      (key, good) => client.set(key, good.replace('source:read', 'all')),
    ],
    [
      'a forged version',
      'invalid',
      (key, good) => client.set(key, good.replace(/^1 1 /, '1 999 ')),
    ],
    ['the value of another token', 'invalid', (key) => client.set(key, copied)],
    ['a value of a megabyte', 'invalid', (key) => client.set(key, randomBytes(2 ** 20))],
    ['a list', 'error', (key) => client.del(key).then(() => client.lpush(key, 'x'))],
  ]
  for (const [sentence, event, lie] of rows) {
    const { secret, digest } = await add()
    await a.find(secret)
    await lie(keyOf(digest), await held(digest))
    t.equal(await b.find(secret), 'active', sentence)
    t.strictSame(b.events, ['memory miss', `redis ${event}`, 'authority hit'], `${sentence}: seen`)
    const found = await b.lookup.find(secret, Date.now())
    t.strictSame((found as { record: TokenRecord }).record.scopes, ['source:read'], sentence)
  }
  t.ok(b.isRedisUp, 'and Redis is used further')
})

t.test('records whose age counts from before they were read are shared as well', async (t) => {
  const { b, add, held, file } = await pair(t)
  const spread = 0.2
  const spreading = await new Process(t, file, redis.port, undefined, spread).up()
  let hits = 0
  for (let i = 0; i < 20; i++) {
    const { secret, digest } = await add()
    await spreading.catchUp()
    // A busy machine may be late with an answer of Redis, which is then left alone for a second.
    await Promise.all([spreading.up(), b.up()])
    t.equal(await spreading.find(secret), 'active')
    await held(digest)
    t.equal(await b.find(secret), 'active')
    if (b.events.includes('redis hit')) hits++
  }
  t.ok(hits >= 18, `${hits} of 20`)
})

t.test(
  'a value that does not verify is deleted, and the next good one takes its place',
  async (t) => {
    const { a, b, held, keyOf, add } = await pair(t)
    const { secret, digest } = await add()
    await a.find(secret)
    const good = await held(digest)
    await redis.client.set(keyOf(digest), good.replace(/^1 1 /, '1 999 '))
    await b.find(secret)
    await until('it is gone', async () => {
      const value = await redis.client.get(keyOf(digest))
      return value?.startsWith('1 999 ') ? undefined : true
    })
  },
)

t.test('an old value that is put back does not bring a revoked token back', async (t) => {
  const { a, b, file, held, keyOf, add } = await pair(t)
  const { secret, digest, record } = await add()
  await a.find(secret)
  const old = await held(digest)
  await revoke(a.store, record)
  await Promise.all([a.catchUp(), b.catchUp()])
  await redis.client.set(keyOf(digest), old)
  t.equal(await b.find(secret), 'revoked', 'to who saw the revocation')
  await redis.client.set(keyOf(digest), old)
  const c = await new Process(t, file, redis.port).up()
  await redis.client.set(keyOf(digest), old)
  t.equal(await c.find(secret), 'revoked', 'to who came later')
  t.ok(c.events.includes('redis miss'))
})

t.test('Redis is emptied', async (t) => {
  const { a, b, held, add } = await pair(t)
  const [kept, gone] = [await add(), await add()]
  for (const { secret, digest } of [kept, gone]) {
    await a.find(secret)
    await held(digest)
  }
  await revoke(a.store, gone.record)
  await b.catchUp()
  await redis.client.flushall()
  t.equal(await b.find(kept.secret), 'active')
  t.equal(await b.find(gone.secret), 'revoked')
})

t.test('Redis is down from the beginning, then comes', async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  await server.kill()
  const a = await new Process(t, newFile(), server.port).down()
  const { secret } = await addToken(a.store)
  t.equal(await a.find(secret), 'active')
  t.strictSame(a.events, ['memory miss', 'authority hit'], 'nobody waits for it')
  await server.start()
  await a.up()
  await a.find((await addToken(a.store)).secret)
  t.ok(a.events.includes('redis miss'), 'it is used without a restart')
})

t.test('Redis falls silent, and answers again', async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const { a, b, add } = await pair(t, server.port)
  const tokens = [await add(), await add(), await add()]
  server.pause()
  const began = performance.now()
  t.equal(await a.find(tokens[0]!.secret), 'active')
  const first = performance.now() - began
  t.ok(first >= 45 && first < 250, `the first lookup waits 50 ms: ${first}`)
  t.strictSame(a.events, ['memory miss', 'redis error', 'authority hit'])
  for (const { secret } of tokens.slice(1)) {
    t.equal(await a.find(secret), 'active')
    t.strictSame(a.events, ['memory miss', 'authority hit'], 'the others do not wait')
  }
  t.match(a.reason, 'it did not answer in time')
  await revoke(a.store, tokens[0]!.record)
  await a.catchUp()
  t.equal(await a.find(tokens[0]!.secret), 'revoked')
  server.resume()
  await a.up()
  await b.catchUp()
  t.equal(await b.find(tokens[0]!.secret), 'revoked')
})

t.test('a silence that lasts ends with a new connection', async (t) => {
  const proxy = await startFaultProxy(redis.port)
  t.teardown(() => proxy.stop())
  const { a, add } = await pair(t, proxy.port)
  const { accepted } = proxy
  proxy.become({ kind: 'silent' })
  await a.find((await add()).secret)
  await until('a new connection', () => proxy.accepted > accepted || undefined)
  proxy.become({ kind: 'none' })
  await a.up()
})

t.test('what a network does', async (t) => {
  const faults = [
    ['every byte comes 2 s late', { kind: 'delay', ms: 2_000 }],
    ['bytes are lost', { kind: 'drop' }],
    ['connections are reset', { kind: 'reset' }],
  ] as const
  for (const [sentence, fault] of faults) {
    await t.test(sentence, async (t) => {
      const proxy = await startFaultProxy(redis.port)
      t.teardown(() => proxy.stop())
      const { a, b, file, held, add } = await pair(t, proxy.port)
      const { secret, digest, record } = await add()
      await a.find(secret)
      await held(digest)
      proxy.become(fault)
      await Promise.all([a, b].map(async (one) => one.find((await addToken(a.store)).secret)))
      await Promise.all([a.down(), b.down()])
      await revoke(a.store, record)
      await Promise.all([a.catchUp(), b.catchUp()])
      t.equal(await b.find(secret), 'revoked', 'revoked while Redis was away')
      proxy.become({ kind: 'none' })
      await Promise.all([a.up(), b.up()])
      t.equal(await a.find(secret), 'revoked')
      const c = await new Process(t, file, proxy.port).up()
      t.equal(await c.find(secret), 'revoked', 'and for who comes later')
    })
  }
})

t.test('Redis comes back with what it held when a token was revoked', async (t) => {
  const proxy = await startFaultProxy(redis.port)
  t.teardown(() => proxy.stop())
  const { a, b, file, held, keyOf, add } = await pair(t, proxy.port)
  const { secret, digest, record } = await add()
  await a.find(secret)
  const old = await held(digest)
  proxy.become({ kind: 'reset' })
  await Promise.all([a.down(), b.down()])
  await revoke(a.store, record)
  await Promise.all([a.catchUp(), b.catchUp()])
  t.equal(await redis.client.get(keyOf(digest)), old, 'it knows nothing of that')
  proxy.become({ kind: 'none' })
  const c = await new Process(t, file, proxy.port).up()
  t.not(await redis.client.get(keyOf(digest)), old, 'it is told before it is asked')
  for (const one of [a, b, c]) t.equal(await one.find(secret), 'revoked')
})

t.test('Redis comes and goes while tokens are revoked', async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const { a, b, add } = await pair(t, server.port)
  const tokens = await Promise.all(Array.from({ length: 6 }, () => add()))
  for (const { secret, record } of tokens) {
    t.equal(await b.find(secret), 'active')
    await server.kill()
    await revoke(a.store, record)
    await b.catchUp()
    t.equal(await b.find(secret), 'revoked')
    await server.start()
  }
  await Promise.all([a.up(), b.up()])
  for (const one of [a, b]) {
    for (const { secret } of tokens) t.equal(await one.find(secret), 'revoked')
  }
})

t.test('Redis evicts, tombstones too', async (t) => {
  const server = await startRedis('--maxmemory', '2mb', '--maxmemory-policy', 'allkeys-random')
  t.teardown(() => server.stop())
  const { a, b, add } = await pair(t, server.port)
  const gone = await add()
  await b.find(gone.secret)
  await revoke(a.store, gone.record)
  await b.catchUp()
  const filler = randomBytes(20_000).toString('hex')
  for (let i = 0; i < 200; i++) await server.client.set(`filler:${i}`, filler)
  t.ok(Number(/evicted_keys:(\d+)/.exec(await server.client.info('stats'))?.[1]) > 0)
  const kept = await add()
  for (const one of [a, b]) {
    t.equal(await one.find(gone.secret), 'revoked')
    t.equal(await one.find(kept.secret), 'active')
  }
})

t.test('a Redis that takes no writes is not read', async (t) => {
  const server = await startRedis()
  t.teardown(() => server.stop())
  const { a, b, add } = await pair(t, server.port)
  const { secret, record } = await add()
  await a.find(secret)
  const states = [
    ['READONLY', () => server.client.replicaof('127.0.0.1', 1), ['NO', 'ONE']],
    ['OOM', () => server.client.config('SET', 'maxmemory', '1kb'), undefined],
  ] as const
  for (const [reason, begin, restore] of states) {
    await begin()
    const next = await add()
    await revoke(a.store, next.record)
    await b.catchUp()
    await b.down()
    t.equal(b.reason, reason)
    t.equal(await b.find(next.secret), 'revoked')
    t.notOk(b.events.some((event) => event.startsWith('redis')))
    if (restore !== undefined) await server.client.replicaof(...restore)
    else await server.client.config('SET', 'maxmemory', '0')
    await Promise.all([a.up(), b.up()])
  }
  await revoke(a.store, record)
  await b.catchUp()
  t.equal(await b.find(secret), 'revoked')
})

t.test('a wrong password is an outage, told without the password', async (t) => {
  const server = await startRedis('--requirepass', 'the-right-one')
  t.teardown(() => server.stop())
  const file = newFile()
  const wrong = new Process(t, file, server.port, 'hunter2')
  await until('a reason', () => wrong.reason)
  t.notMatch(wrong.reason, /hunter2/)
  t.equal(await wrong.find((await addToken(wrong.store)).secret), 'active')
  await new Process(t, file, server.port, 'the-right-one').up()
})

t.test('a message only wakes: one that lies changes nothing', async (t) => {
  const { a, add } = await pair(t)
  const { secret } = await add()
  await a.find(secret)
  const channel = `scopegate:${a.store.authorityId}`
  for (const text of ['', 'x', '-1', '1e999', '999999', '{}']) {
    t.ok((await redis.client.publish(channel, text)) >= 2, 'both hear it')
  }
  t.equal(await a.find(secret), 'active')
  t.strictSame(a.events, ['memory hit'])
})
