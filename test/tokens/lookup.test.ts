import { join } from 'node:path'
import { backup, DatabaseSync } from 'node:sqlite'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { TokenLookup } from '../../gateway/tokens/lookup.ts'
import { absentEntriesMax } from '../../gateway/tokens/memory.ts'
import { openSqliteStore, requestBusyMs } from '../../gateway/tokens/sqlite.ts'
import type { TokenChange, TokenStore } from '../../gateway/tokens/store.ts'
import { type Lookup, makeSecret, type TokenRecord } from '../../gateway/tokens/token.ts'
import { makeFolder, removeFolder, startServer } from '../servers/lifetime.ts'
import { until } from '../servers/ready.ts'
import { madeAt, makeToken } from './records.ts'

const folder = makeFolder('lookup')
t.teardown(() => removeFolder(folder))
let count = 0

const cache = { entries: 100, freshMs: 30_000, staleMs: 60_000, absentMs: 5_000 }
const now = madeAt + 1
/** What is due has been asked for by then. */
const renewalMs = 50

/** A lookup over a real authority, whose questions are counted and can be held back. */
function openLookup(t: Test, settings: Partial<typeof cache> = {}, spread = 0) {
  count += 1
  const file = join(folder, `${count}.db`)
  const store = openSqliteStore(file, { busyMs: requestBusyMs })
  const asked = { find: 0, get: 0 }
  const time = { now: 1_000 }
  let gate: Promise<unknown> = Promise.resolve()
  const counting = new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      if (name !== 'find' && name !== 'get') return value.bind(target)
      return async (key: unknown) => {
        asked[name] += 1
        const answer: unknown = await value.call(target, key)
        await gate
        return answer
      }
    },
  })
  const options = { clock: () => time.now, spread }
  const lookup = new TokenLookup(counting, { ...cache, ...settings }, options)
  t.teardown(async () => {
    lookup.close()
    await store.close()
  })
  const hold = () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    gate = promise
    return () => {
      gate = Promise.resolve()
      resolve()
    }
  }
  return { file, store, lookup, asked, time, hold, next: followed(lookup) }
}

/** Begins to follow when first called; resolves with the next change that is seen. */
function followed(lookup: TokenLookup): () => Promise<TokenChange> {
  let waiting: ((change: TokenChange) => void) | undefined
  let isFollowing = false
  return () => {
    const { promise, resolve, reject } = Promise.withResolvers<TokenChange>()
    // The follower's own timer does not keep the process alive.
    const timer = setTimeout(() => reject(new Error('no change was seen in 5 s')), 5_000)
    waiting = (change) => {
      clearTimeout(timer)
      resolve(change)
    }
    if (!isFollowing) lookup.follow({ changed: (change) => waiting?.(change) })
    isFollowing = true
    return promise
  }
}

async function addToken(store: TokenStore, changes: Partial<TokenRecord> = {}) {
  const token = makeToken(changes)
  await store.create(token.record, [token.digest])
  return token
}

/** Makes every lookup fail and leaves the change feed alone. */
function breakRecords(t: Test, file: string): () => void {
  const database = new DatabaseSync(file)
  t.teardown(() => database.close())
  database.exec("UPDATE tokens SET scopes = '?'")
  return () => database.exec("UPDATE tokens SET scopes = '[]'")
}

function kindOf(lookup: Lookup | Promise<Lookup>): string {
  return lookup instanceof Promise ? 'a promise' : lookup.kind
}

t.test('a known token is answered at once, without a promise or a question', async (t) => {
  const { lookup, store, asked } = openLookup(t)
  const { secret, record } = await addToken(store)
  const first = lookup.find(secret, now)
  t.ok(first instanceof Promise)
  t.strictSame(await first, { kind: 'active', record })
  t.strictSame(lookup.find(secret, now), { kind: 'active', record })
  t.equal(asked.find, 1)
})

t.test('a value with the prefix and a wrong checksum is absent without a question', async (t) => {
  const { lookup, asked } = openLookup(t)
  t.equal(kindOf(lookup.find(`${makeSecret().slice(0, -1)}_`, now)), 'absent')
  t.equal(kindOf(lookup.find('', now)), 'absent')
  t.equal(kindOf(lookup.findById('42', now)), 'absent')
  t.strictSame(asked, { find: 0, get: 0 })
})

t.test('the state is judged on each call', async (t) => {
  const { lookup, store, asked } = openLookup(t)
  const ending = await addToken(store, { expiresAt: now + 10 })
  const revoked = await addToken(store, { revokedAt: now })
  t.match(await lookup.find(ending.secret, now + 9), { kind: 'active' })
  t.match(lookup.find(ending.secret, now + 10), { kind: 'expired', record: ending.record })
  t.match(lookup.find(ending.secret, now + 9), { kind: 'active' })
  t.match(await lookup.find(revoked.secret, now), { kind: 'revoked', record: revoked.record })
  t.match(lookup.find(revoked.secret, now), { kind: 'revoked', record: revoked.record })
  t.equal(asked.find, 2)
})

t.test(
  'tokens that were read at one time are read again at several, none later than fresh',
  async (t) => {
    const spread = 0.2
    const { store, lookup, asked, time } = openLookup(t, {}, spread)
    const tokens = await Promise.all(Array.from({ length: 50 }, () => addToken(store)))
    const begun = time.now
    const askedAfter = async (ms: number): Promise<number> => {
      time.now = begun + ms
      const before = asked.find
      for (const { secret } of tokens) await lookup.find(secret, now)
      return asked.find - before
    }
    t.equal(await askedAfter(0), tokens.length)
    t.equal(await askedAfter(cache.freshMs * (1 - spread) - 1), 0)
    const some = await askedAfter(cache.freshMs * (1 - spread / 2))
    t.ok(some > 0 && some < tokens.length, `${some} of ${tokens.length}`)
    t.equal(some + (await askedAfter(cache.freshMs)), tokens.length)
  },
)

t.test('a record is fresh for its time only, however often it is read', async (t) => {
  const { lookup, store, asked, time } = openLookup(t)
  const { secret } = await addToken(store)
  await lookup.find(secret, now)
  for (let i = 0; i < 29; i++) {
    time.now += 1_000
    t.equal(kindOf(lookup.find(secret, now)), 'active')
  }
  time.now += 1_000
  await lookup.find(secret, now)
  t.equal(asked.find, 2)
})

t.test('while the feed is read, a record is renewed beside the requests', async (t) => {
  const { lookup, store, file, asked, time, next } = openLookup(t)
  const { secret, record } = await addToken(store)
  await seen(t, store, next)
  await lookup.find(secret, now)
  time.now += cache.freshMs
  await seen(t, store, next)

  await t.test('nobody waits, and it is asked for once', async (t) => {
    for (let i = 0; i < 3; i++) t.equal(kindOf(lookup.find(secret, now)), 'active')
    t.match(lookup.recall(secret, now), { kind: 'active' })
    t.equal(asked.find, 1, 'not in the same turn')
    await until('it is asked for', () => (asked.find === 2 ? true : undefined))
    t.equal(kindOf(lookup.find(secret, now)), 'active')
  })

  await t.test('what the authority says then counts', async (t) => {
    time.now += cache.freshMs
    await seen(t, store, next)
    const database = new DatabaseSync(file)
    // Not as a change is made: it leaves the feed out.
    database.prepare('UPDATE tokens SET subject = ? WHERE id = ?').run('another', record.id)
    database.close()
    t.match(lookup.find(secret, now), { record: { subject: record.subject } })
    await until('the record is replaced', () => {
      const found = lookup.find(secret, now)
      if (found instanceof Promise || found.kind === 'absent') return undefined
      return found.record.subject === 'another' ? true : undefined
    })
    t.equal(asked.find, 3)
  })

  await t.test('a request waits where the feed was not read just now', async (t) => {
    time.now += cache.freshMs
    await seen(t, store, next)
    time.now += 1_000
    const found = lookup.find(secret, now)
    t.equal(kindOf(found), 'a promise')
    await found
  })

  await t.test('and where `stale` has ended', async (t) => {
    time.now += cache.freshMs + cache.staleMs
    await seen(t, store, next)
    const found = lookup.find(secret, now)
    t.equal(kindOf(found), 'a promise')
    await found
  })
})

t.test('no feed speaks for a record longer than `fresh`', async (t) => {
  const { lookup, store, time, next } = openLookup(t, { freshMs: 100 })
  const { secret } = await addToken(store)
  await seen(t, store, next)
  await lookup.find(secret, now)
  time.now += 100
  const found = lookup.find(secret, now)
  t.equal(kindOf(found), 'a promise')
  await found
})

t.test('a failed renewal is tried again after a second', async (t) => {
  const { lookup, store, file, asked, time, next } = openLookup(t)
  const { secret } = await addToken(store)
  await seen(t, store, next)
  await lookup.find(secret, now)
  time.now += cache.freshMs
  await seen(t, store, next)
  breakRecords(t, file)
  for (const count of [2, 3]) {
    t.equal(kindOf(lookup.find(secret, now)), 'active')
    await until('it is asked for', () => (asked.find === count ? true : undefined))
    time.now += 999
    await seen(t, store, next)
    t.equal(kindOf(lookup.find(secret, now)), 'active')
    await pause(renewalMs)
    t.equal(asked.find, count)
    time.now += 1
  }
})

t.test('what is due is not asked for where the feed was not read since', async (t) => {
  const { lookup, store, asked, time, next } = openLookup(t)
  const { secret } = await addToken(store)
  await seen(t, store, next)
  await lookup.find(secret, now)
  time.now += cache.freshMs
  await seen(t, store, next)
  t.equal(kindOf(lookup.find(secret, now)), 'active')
  time.now += 1_000
  await pause(renewalMs)
  t.equal(asked.find, 1)
})

t.test('an unknown token is remembered for `absent`', async (t) => {
  const { lookup, asked, time } = openLookup(t)
  const secret = makeSecret()
  t.match(await lookup.find(secret, now), { kind: 'absent' })
  time.now += 4_999
  t.equal(kindOf(lookup.find(secret, now)), 'absent')
  time.now += 1
  t.match(await lookup.find(secret, now), { kind: 'absent' })
  t.equal(asked.find, 2)
})

t.test('unknown tokens do not push out known ones', async (t) => {
  const { lookup, store, asked } = openLookup(t, { entries: 1 })
  const { secret } = await addToken(store)
  await lookup.find(secret, now)
  const first = makeSecret()
  await lookup.find(first, now)
  for (let i = 0; i < absentEntriesMax; i++) await lookup.find(`token-${i}`, now)
  t.equal(kindOf(lookup.find(secret, now)), 'active')
  t.equal(asked.find, absentEntriesMax + 2)
  await lookup.find(first, now)
  t.equal(asked.find, absentEntriesMax + 3, 'and are bounded themselves')
})

t.test('no more than `entries` records are remembered', async (t) => {
  const { lookup, store } = openLookup(t, { entries: 2 })
  const tokens = [await addToken(store), await addToken(store), await addToken(store)]
  for (const { secret } of tokens) await lookup.find(secret, now)
  t.strictSame(
    tokens.map(({ secret }) => kindOf(lookup.find(secret, now))),
    ['a promise', 'active', 'active'],
  )
})

t.test('a thousand requests with one cold token ask once', async (t) => {
  const { lookup, store, asked, hold } = openLookup(t)
  const tokens = [await addToken(store), await addToken(store)]
  const release = hold()
  const answers = Array.from({ length: 2_000 }, (_, i) => lookup.find(tokens[i % 2]!.secret, now))
  release()
  const kinds = new Set((await Promise.all(answers)).map(({ kind }) => kind))
  t.strictSame([...kinds], ['active'])
  t.equal(asked.find, 2)
})

t.test('a failed question is asked again by the next request', async (t) => {
  const { lookup, store, file } = openLookup(t)
  const { secret } = await addToken(store)
  const repair = breakRecords(t, file)
  await t.rejects(Promise.resolve(lookup.find(secret, now)), { code: 'lookup_unavailable' })
  repair()
  t.match(await lookup.find(secret, now), { kind: 'active' })
})

t.test('an outage of the authority', async (t) => {
  const { lookup, store, file, asked, time, next } = openLookup(t)
  const known = await addToken(store, { expiresAt: now + 100 })
  const unknown = await addToken(store)
  // The following begins, and its first poll is over when it has told of a change.
  const change = next()
  await addToken(store)
  await change
  await lookup.find(known.secret, now)
  const repair = breakRecords(t, file)
  const refused = { code: 'lookup_unavailable', status: 503, retryAfter: 1 }

  await t.rejects(Promise.resolve(lookup.find(unknown.secret, now)), refused, 'refuses the unknown')
  time.now += 30_000
  t.match(await lookup.find(known.secret, now), { kind: 'active' }, 'a known one goes on')
  t.match(await lookup.find(known.secret, now + 100), { kind: 'expired' }, 'not past its end')

  const before = asked.find
  time.now += 999
  t.equal(kindOf(lookup.find(known.secret, now)), 'active', 'the authority is left alone for 1 s')
  t.equal(asked.find, before)
  time.now += 1
  await lookup.find(known.secret, now)
  t.equal(asked.find, before + 1)

  time.now += 29_000
  await seen(t, store, next)
  time.now += 29_999
  t.match(await lookup.find(known.secret, now), { kind: 'active' }, 'until `stale` ends')
  time.now += 1
  await t.rejects(Promise.resolve(lookup.find(known.secret, now)), refused, 'and no longer')
  repair()
  t.match(await lookup.find(known.secret, now), { kind: 'active' }, 'then it is asked again')
})

/** Resolves when the follower has read the feed at the present time. */
async function seen(t: Test, store: TokenStore, next: () => Promise<TokenChange>): Promise<void> {
  for (let i = 0; i < 2; i++) {
    const change = next()
    await addToken(store)
    t.ok(await change, 'the feed is read')
  }
}

t.test('while changes cannot be seen, a known token goes on until `stale` ends', async (t) => {
  const { lookup, store, file, time } = openLookup(t)
  const { secret, record } = await addToken(store)
  await lookup.find(secret, now)
  breakRecords(t, file)
  time.now += 29_999
  t.equal(kindOf(lookup.find(secret, now)), 'active')
  t.strictSame(
    lookup.live(((await lookup.find(secret, now)) as { record: TokenRecord }).record, now),
    record,
  )
  time.now += 60_000
  t.match(await lookup.find(secret, now), { kind: 'active' })
  time.now += 1
  await t.rejects(Promise.resolve(lookup.find(secret, now)), { code: 'lookup_unavailable' })
})

t.test('a change that another process makes is seen within a second', async (t) => {
  const { lookup, store, file, next } = openLookup(t)
  const { secret, record } = await addToken(store)
  const first = next()
  await addToken(store)
  await first
  await lookup.find(secret, now)
  const change = next()
  const path = fileURLToPath(new URL('../../gateway/tokens/sqlite.ts', import.meta.url))
  const script = `
    const { openSqliteStore } = await import(${JSON.stringify(path)})
    const store = openSqliteStore(process.argv[1], { busyMs: 5000 })
    await store.revoke({ id: process.argv[2] }, { at: Date.now(), by: 'a process' })
    process.stdout.write(String(Date.now()))
    await store.close()
  `
  const child = await startServer(process.execPath, ['-e', script, file, record.id])
  t.match(await change, { tokenId: record.id, version: 2 })
  const seenAt = Date.now()
  t.match(await lookup.find(secret, now), { kind: 'revoked', record: { revokedBy: 'a process' } })
  t.match(await child.exited, { code: 0 })
  t.ok(seenAt - Number(child.output()) < 1_000, `seen after ${seenAt - Number(child.output())} ms`)
})

t.test('a token that is created ends its own absence at once', async (t) => {
  const { lookup, store, next } = openLookup(t)
  const { secret, digest, record } = makeToken()
  const first = next()
  await addToken(store)
  await first
  t.match(await lookup.find(secret, now), { kind: 'absent' })
  t.match(await lookup.findById(record.id, now), { kind: 'absent' })
  const change = next()
  await store.create(record, [digest])
  await change
  t.match(await lookup.find(secret, now), { kind: 'active' })
  t.match(await lookup.findById(record.id, now), { kind: 'active' })
})

t.test(
  'an answer from before a change that was seen is neither given nor remembered',
  async (t) => {
    const { lookup, store, hold, asked, next } = openLookup(t)
    const { secret, record } = await addToken(store)
    const first = next()
    await addToken(store)
    await first
    const release = hold()
    const answer = lookup.find(secret, now)
    const change = next()
    await store.revoke({ id: record.id }, { at: now, by: 'a test' })
    await change
    release()
    t.match(await answer, { kind: 'revoked' })
    t.equal(kindOf(lookup.find(secret, now)), 'revoked')
    t.equal(asked.find, 2)
  },
)

t.test('what was read before the following began is read again', async (t) => {
  const { lookup, store, next } = openLookup(t)
  const { secret, record } = await addToken(store)
  await lookup.find(secret, now)
  await store.revoke({ id: record.id }, { at: now, by: 'a test' })
  const change = next()
  await addToken(store)
  await change
  t.match(await lookup.find(secret, now), { kind: 'revoked' })
})

t.test('an outage of the feed is told once, and so is its end', async (t) => {
  const { lookup, store, file } = openLookup(t)
  const database = new DatabaseSync(file)
  t.teardown(() => database.close())
  database.exec('ALTER TABLE changes RENAME TO hidden')
  const events: string[] = []
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const timer = setTimeout(() => reject(new Error('not recovered in 5 s')), 5_000)
  lookup.follow({
    failed: () => {
      events.push('failed')
      database.exec('ALTER TABLE hidden RENAME TO changes')
    },
    recovered: () => {
      events.push('recovered')
      resolve()
    },
  })
  await promise
  clearTimeout(timer)
  t.strictSame(events, ['failed', 'recovered'])
  t.equal(await store.lastChange(), 0)
})

t.test('a token is found by its id, with the same memory', async (t) => {
  const { lookup, store, asked } = openLookup(t)
  const { record } = await addToken(store)
  t.strictSame(await lookup.findById(record.id, now), { kind: 'active', record })
  t.strictSame(lookup.findById(record.id, now), { kind: 'active', record })
  t.strictSame(asked, { find: 0, get: 1 })
})

t.test('a record that was handed out', async (t) => {
  const { lookup, store, time, next } = openLookup(t)
  const { secret, record } = await addToken(store, { expiresAt: now + 100 })
  const first = next()
  await addToken(store)
  await first
  const found = await lookup.find(secret, now)
  t.equal(found.kind, 'active')
  const held = (found as { record: TokenRecord }).record
  t.equal(lookup.live(held, now), held, 'lives')
  t.equal(lookup.live(held, now + 100), undefined, 'does not outlive its end')
  await seen(t, store, next)
  time.now += 30_000
  t.equal(lookup.live(held, now), held, 'lives on while the feed tells of no change')
  await lookup.find(secret, now)
  t.not(lookup.live(held, now), held, 'is replaced by the one that was read later')
  t.strictSame(lookup.live(held, now), record)
  time.now += 30_001
  const change = next()
  await store.revoke({ id: record.id }, { at: now, by: 'a test' })
  await change
  t.equal(lookup.live(held, now), undefined, 'does not outlive its revocation')
  t.equal(lookup.live(record, now), undefined, 'lives only if it was handed out')
})

t.test('a change after an older database was restored in place is seen', async (t) => {
  const { lookup, store, file } = openLookup(t)
  const { secret, record } = await addToken(store)
  const [old, present] = [new DatabaseSync(`${file}.old`), new DatabaseSync(file)]
  t.teardown(() => {
    old.close()
    present.close()
  })
  await backup(present, `${file}.old`)
  for (let i = 0; i < 3; i++) await addToken(store)
  let restarts = 0
  lookup.follow({ restarted: () => (restarts += 1) })
  await lookup.catchUp()
  t.match(await lookup.find(secret, now), { kind: 'active' })
  await backup(old, file)
  await store.revoke({ id: record.id }, { at: Date.now(), by: 'a test' })
  await lookup.catchUp()
  t.equal(restarts, 1)
  t.match(await lookup.find(secret, now), { kind: 'revoked' })
})
