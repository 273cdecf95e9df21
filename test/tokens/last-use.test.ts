import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  LastUse,
  type LastUseEvents,
  useIntervalMs,
  usesPerWriteMax,
} from '../../gateway/tokens/last-use.ts'
import { TokenLookup } from '../../gateway/tokens/lookup.ts'
import { openSqliteStore, requestBusyMs } from '../../gateway/tokens/sqlite.ts'
import type { TokenStore, TokenUse } from '../../gateway/tokens/store.ts'
import type { TokenRecord } from '../../gateway/tokens/token.ts'
import { UseThread } from '../../gateway/tokens/use-thread.ts'
import { makeFolder, removeFolder } from '../servers/lifetime.ts'
import { madeAt, makeToken } from './records.ts'

const folder = makeFolder('last-use')
t.teardown(() => removeFolder(folder))
let count = 0

const here = '192.0.2.1'
const elsewhere = '192.0.2.2'

function openStore(t: Test): { file: string; store: TokenStore } {
  count += 1
  const file = join(folder, `${count}.db`)
  const store = openSqliteStore(file, { busyMs: requestBusyMs })
  t.teardown(() => store.close())
  return { file, store }
}

/** Uses are noted for a real authority; each write is kept, and time moves only by `time.now`. */
function open(t: Test, tokens?: number) {
  const { file, store } = openStore(t)
  const writes: (readonly TokenUse[])[] = []
  const time = { now: 1_000 }
  let begun: (() => void) | undefined
  const recordUse = (uses: readonly TokenUse[]) => {
    writes.push(uses)
    const writing = store.recordUse(uses)
    const told = begun
    writing.finally(() => told?.()).catch(() => {})
    return writing
  }
  /** Resolves when the next write has reached the authority, or has failed there. */
  const nextWrite = (): Promise<void> => {
    return new Promise((resolve) => {
      begun = resolve
    })
  }
  const lastUse = new LastUse({ recordUse }, () => time.now, tokens)
  return { file, store, lastUse, writes, time, nextWrite }
}

async function addToken(store: TokenStore, changes: Partial<TokenRecord> = {}) {
  const token = makeToken(changes)
  await store.create(token.record, [token.digest])
  return token
}

/** Another process holds the lock that every writer needs. */
function lock(t: Test, file: string): () => void {
  const other = new DatabaseSync(file)
  t.teardown(() => other.close())
  other.exec('BEGIN IMMEDIATE')
  return () => other.exec('ROLLBACK')
}

async function usedAt(store: TokenStore, { id }: TokenRecord): Promise<number | null | undefined> {
  return (await store.get(id))?.lastUsedAt
}

t.test('writing a use changes that use and nothing else', async (t) => {
  const { store } = openStore(t)
  const { record } = await addToken(store, { revokedAt: madeAt, revokedBy: 'bob' })
  const other = await addToken(store)
  await store.recordUse([{ tokenId: record.id, at: 5, address: here, protocol: 'git' }])
  t.strictSame(await store.get(record.id), {
    ...record,
    lastUsedAt: 5,
    lastUsedFrom: here,
    lastUsedFor: 'git',
  })
  t.strictSame(await store.get(other.record.id), other.record)
  t.equal(await store.lastChange(), 2, 'the feed has the creation of two tokens and no more')
})

t.test('what a store makes of uses', async (t) => {
  const { store } = openStore(t)
  const { record } = await addToken(store)
  const use = (at: number, address: string): TokenUse => {
    return { tokenId: record.id, at, address, protocol: 'rest' }
  }
  const rows: [sentence: string, uses: TokenUse[], at: number, address: string][] = [
    ['the first is written', [use(5, here)], 5, here],
    ['a newer one replaces it', [use(6, elsewhere)], 6, elsewhere],
    ['an older one, which another process was late with, does not', [use(5, here)], 6, elsewhere],
    ['none changes nothing', [], 6, elsewhere],
    [
      'one of a token that is gone does not harm the rest',
      [{ ...use(7, here), tokenId: 'gone' }, use(8, here)],
      8,
      here,
    ],
  ]
  for (const [sentence, uses, at, address] of rows) {
    await store.recordUse(uses)
    t.match(await store.get(record.id), { lastUsedAt: at, lastUsedFrom: address }, sentence)
  }
})

t.test('uses are written together, the latest of each token', async (t) => {
  const { store, lastUse, writes } = open(t)
  const [first, second] = [await addToken(store), await addToken(store)]
  lastUse.note(first.record.id, here, 'rest', 5)
  lastUse.note(second.record.id, here, 'registry', 6)
  lastUse.note(first.record.id, elsewhere, 'git', 7)
  t.equal(writes.length, 0, 'noting writes nothing')
  await lastUse.writeDue()
  t.strictSame(
    writes.map((uses) => uses.length),
    [2],
  )
  t.match(await store.get(first.record.id), {
    ...{ lastUsedAt: 7, lastUsedFrom: elsewhere, lastUsedFor: 'git' },
  })
  t.match(await store.get(second.record.id), { lastUsedAt: 6, lastUsedFor: 'registry' })
  await lastUse.writeDue()
  t.equal(writes.length, 1, 'and once')
})

t.test('a token is written once a minute at most, and its latest use is not lost', async (t) => {
  const { store, lastUse, writes, time } = open(t)
  const { record } = await addToken(store)
  const rows: [sentence: string, after: number, at: number, written: number, known: number][] = [
    ['the first use', 0, 10, 1, 10],
    ['one soon after waits', 1_000, 20, 1, 10],
    ['so does a later one', useIntervalMs - 1_001, 30, 1, 10],
    ['until the time has come', 1, 30, 2, 30],
    ['which begins anew', useIntervalMs - 1, 40, 2, 30],
  ]
  for (const [sentence, after, at, written, known] of rows) {
    time.now += after
    lastUse.note(record.id, here, 'rest', at)
    await lastUse.writeDue()
    t.equal(writes.length, written, sentence)
    t.equal(await usedAt(store, record), known, sentence)
  }
  t.equal(await lastUse.close(), 0)
  t.equal(await usedAt(store, record), 40, 'the end waits for nothing')
})

t.test('many tokens are written in several transactions, requests in between', async (t) => {
  const { store, lastUse, writes } = open(t)
  const { record } = await addToken(store)
  for (let i = 0; i < 2 * usesPerWriteMax; i++) lastUse.note(`token ${i}`, here, 'rest', 5)
  lastUse.note(record.id, here, 'rest', 5)
  const writing = lastUse.writeDue()
  await turn()
  t.equal(writes.length, 1)
  await writing
  t.strictSame(
    writes.map((uses) => uses.length),
    [usesPerWriteMax, usesPerWriteMax, 1],
  )
  t.equal(await usedAt(store, record), 5)
})

t.test('tokens that stand together in the authority are written together', async (t) => {
  const { lastUse, writes, time } = open(t)
  const ids = Array.from({ length: 3 * usesPerWriteMax }, (_, i) => `token ${100 + i}`)
  const stride = 7
  const noteAll = () => {
    for (const i of ids.keys()) lastUse.note(ids[(i * stride) % ids.length] ?? '', here, 'rest', 5)
  }
  noteAll()
  await lastUse.writeDue()
  time.now += useIntervalMs
  lastUse.note('token 000', here, 'rest', 6)
  noteAll()
  await lastUse.writeDue()
  const written = writes.flat().map(({ tokenId }) => tokenId)
  t.strictSame(written, [...ids, 'token 000', ...ids])
})

t.test('others have their turn while the authority is locked', async (t) => {
  const { file, store } = openStore(t)
  const release = lock(t, file)
  await store.recordUse([]).catch(() => {})
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  await t.rejects(store.recordUse([]), { code: 'lookup_unavailable' })
  clearInterval(timer)
  t.ok(turns > 10, `${turns} turns`)
  release()
  await store.recordUse([])
})

t.test('a thread that ends says why, and the next write starts another', async (t) => {
  const file = join(folder, 'empty.db')
  const thread = new UseThread({ file, busyMs: requestBusyMs })
  await t.rejects(thread.write([]), { message: 'no such table: tokens' })
  await openSqliteStore(file, { busyMs: requestBusyMs }).close()
  await thread.write([])
  await thread.close()
})

t.test('a failure keeps what was noted, says so once, and is over by itself', async (t) => {
  const { file, store, lastUse } = open(t)
  const [first, second] = [await addToken(store), await addToken(store)]
  const told: string[] = []
  const events: LastUseEvents = {
    failed: () => told.push('failed'),
    recovered: () => told.push('recovered'),
  }
  // The thread has started.
  await store.recordUse([])
  const release = lock(t, file)
  lastUse.note(first.record.id, here, 'rest', 5)
  const began = performance.now()
  await lastUse.writeDue(events)
  const waited = performance.now() - began
  t.ok(waited < 1_000, `the thread waits 50 ms at most for the lock: ${waited}`)
  lastUse.note(second.record.id, here, 'rest', 6)
  lastUse.note(first.record.id, here, 'rest', 7)
  await lastUse.writeDue(events)
  t.strictSame(told, ['failed'])
  release()
  await lastUse.writeDue(events)
  await lastUse.writeDue(events)
  t.strictSame(told, ['failed', 'recovered'])
  t.equal(await usedAt(store, first.record), 7)
  t.equal(await usedAt(store, second.record), 6)
})

t.test('a use that is noted while the store writes is written next', async (t) => {
  const { store, lastUse, time } = open(t)
  const { record } = await addToken(store)
  lastUse.note(record.id, here, 'rest', 5)
  const writing = lastUse.writeDue()
  lastUse.note(record.id, here, 'rest', 6)
  await writing
  t.equal(await usedAt(store, record), 5)
  time.now += useIntervalMs
  await lastUse.writeDue()
  t.equal(await usedAt(store, record), 6)
})

t.test('no more than so many tokens are remembered; the newest are kept', async (t) => {
  const { store, lastUse, writes } = open(t, 2)
  const { record } = await addToken(store)
  lastUse.note('gone 1', here, 'rest', 5)
  lastUse.note('gone 2', here, 'rest', 5)
  lastUse.note('gone 1', here, 'rest', 6)
  lastUse.note(record.id, here, 'rest', 6)
  await lastUse.writeDue()
  t.strictSame(
    writes.map((uses) => uses.map(({ tokenId }) => tokenId).sort()),
    [[record.id, 'gone 1'].sort()],
  )
})

t.test('a failure does not make it remember more', async (t) => {
  const { file, store, lastUse, writes } = open(t, 1)
  const [first, second] = [await addToken(store), await addToken(store)]
  const release = lock(t, file)
  lastUse.note(first.record.id, here, 'rest', 5)
  const writing = lastUse.writeDue()
  lastUse.note(second.record.id, here, 'rest', 6)
  await writing
  release()
  await lastUse.writeDue()
  t.match(writes.at(-1), [{ tokenId: second.record.id }])
  t.equal(writes.at(-1)?.length, 1)
})

t.test('the end tries again while the authority is locked', async (t) => {
  const { file, store, lastUse, nextWrite } = open(t)
  const { record } = await addToken(store)
  const release = lock(t, file)
  lastUse.note(record.id, here, 'rest', 5)
  await lastUse.writeDue()
  const tried = nextWrite()
  const closing = lastUse.close()
  await tried
  release()
  t.equal(await closing, 0)
  t.equal(await usedAt(store, record), 5)
})

t.test('the end does not wait for ever, and says how many uses were lost', async (t) => {
  const { file, lastUse } = open(t)
  const release = lock(t, file)
  lastUse.note('one', here, 'rest', 5)
  lastUse.note('two', here, 'rest', 5)
  t.equal(await lastUse.close(), 2)
  release()
})

t.test('a timer writes what was noted', async (t) => {
  const { store, lastUse, nextWrite } = open(t)
  const { record } = await addToken(store)
  lastUse.note(record.id, here, 'rest', 5)
  const written = nextWrite()
  lastUse.start()
  // The timer alone does not keep the process alive.
  const timeout = setTimeout(() => t.fail('nothing was written in 10 s'), 10_000)
  await written
  clearTimeout(timeout)
  t.equal(await usedAt(store, record), 5)
  await lastUse.close()
})

t.test('last use that other processes write wakes no follower and empties no memory', async (t) => {
  const { file, store } = openStore(t)
  const { secret, record } = await addToken(store)
  const cache = { entries: 10, freshMs: 30_000, staleMs: 60_000, absentMs: 5_000 }
  const lookup = new TokenLookup(store, cache)
  t.teardown(() => lookup.close())
  const seen: string[] = []
  let waiting: (() => void) | undefined
  const next = () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(() => t.fail('no change was seen in 5 s'), 5_000)
    waiting = () => {
      clearTimeout(timer)
      resolve()
    }
    return promise
  }
  lookup.follow({
    changed: ({ tokenId }) => {
      seen.push(tokenId)
      waiting?.()
    },
  })
  const first = next()
  const before = await addToken(store)
  await first
  await lookup.find(secret, madeAt)
  const other = openSqliteStore(file, { busyMs: requestBusyMs })
  t.teardown(() => other.close())
  await other.recordUse([{ tokenId: record.id, at: 5, address: here, protocol: 'rest' }])
  const second = next()
  const after = await addToken(other)
  await second
  t.strictSame(seen, [before.record.id, after.record.id])
  t.notOk(lookup.find(secret, madeAt) instanceof Promise, 'the token is still in memory')
})
