import { join } from 'node:path'
import { mock } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { TokenLookup } from '../../gateway/tokens/lookup.ts'
import { openSqliteStore, requestBusyMs } from '../../gateway/tokens/sqlite.ts'
import {
  lookupPoints,
  networkOf,
  pacedLookupsPerSecond,
  pacedLookupsWaitingMax,
  pointsMax,
  repeatPoints,
  TokenThrottle,
  windowSeconds,
} from '../../gateway/tokens/throttle.ts'
import { type Lookup, makeSecret, type TokenRecord } from '../../gateway/tokens/token.ts'
import { makeFolder, removeFolder } from '../servers/lifetime.ts'
import { madeAt, makeToken } from './records.ts'

const folder = makeFolder('throttle')
t.teardown(() => removeFolder(folder))
let count = 0

const cache = { entries: 10_000, freshMs: 30_000, staleMs: 60_000, absentMs: 5_000 }
const now = madeAt + 1
const here = '192.0.2.1'
const elsewhere = '192.0.2.2'
const lookupsFree = pointsMax / lookupPoints
const tooMany = { code: 'too_many_requests', status: 429 }

/** A throttle over a real authority, whose questions are counted; time moves only by `pass`. */
function open(t: Test) {
  mock.timers.enable({ apis: ['Date', 'setTimeout'], now })
  count += 1
  const store = openSqliteStore(join(folder, `${count}.db`), { busyMs: requestBusyMs })
  const asked = { find: 0, isFailing: false }
  const counting = new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function' || name !== 'find') return value
      return (digest: unknown) => {
        asked.find += 1
        if (asked.isFailing) return Promise.reject(new Error('away'))
        return value.call(target, digest)
      }
    },
  })
  const lookup = new TokenLookup(counting, cache, { clock: () => Date.now() })
  const throttle = new TokenThrottle(lookup)
  t.teardown(async () => {
    lookup.close()
    await store.close()
    mock.timers.reset()
  })
  const find = async (secret: string, address = here): Promise<Lookup> =>
    throttle.find(secret, address, now)
  const add = async (changes: Partial<TokenRecord> = {}): Promise<string> => {
    const { secret, digest, record } = makeToken(changes)
    await store.create(record, [digest])
    return secret
  }
  /** Until the address has nothing left to spend. */
  const exhaust = async (address = here): Promise<void> => {
    for (let i = 0; i < lookupsFree; i++) await find(makeSecret(), address)
  }
  return { throttle, asked, find, add, exhaust }
}

/** Lets everything run that waits for no clock. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await turn()
}

async function pass(ms: number): Promise<void> {
  mock.timers.tick(ms)
  await settle()
}

t.test('an address may try so many unknown tokens a window, then it is told to wait', async (t) => {
  const { find } = open(t)
  for (let i = 0; i < lookupsFree; i++) t.match(await find(makeSecret()), { kind: 'absent' })
  await pass(windowSeconds * 1000 - 1_500)
  await t.rejects(find(makeSecret()), { ...tooMany, retryAfter: 2, message: /again in 2 s$/ })
  t.match(await find(makeSecret(), elsewhere), { kind: 'absent' }, 'other addresses are not')
  await pass(1_500)
  t.match(await find(makeSecret()), { kind: 'absent' }, 'and then begins anew')
})

t.test('a known token is never refused, whatever its address did', async (t) => {
  const { find, add, exhaust, throttle } = open(t)
  const rows: [sentence: string, secret: string, kind: string][] = [
    ['active', await add(), 'active'],
    ['revoked', await add({ revokedAt: now }), 'revoked'],
    ['expired', await add({ expiresAt: now }), 'expired'],
  ]
  await exhaust()
  await t.rejects(find(makeSecret()), tooMany)
  for (const [sentence, secret, kind] of rows) {
    t.match(await find(secret), { kind }, `${sentence}, not in memory`)
    const warm = throttle.find(secret, here, now)
    t.notOk(warm instanceof Promise, `${sentence}, in memory: not even a wait`)
    t.match(warm, { kind })
  }
})

t.test('known tokens cost an address nothing', async (t) => {
  const { find, add } = open(t)
  for (let i = 0; i < lookupsFree; i++) await find(await add())
  for (let i = 0; i < lookupsFree; i++) t.match(await find(makeSecret()), { kind: 'absent' })
})

t.test('a thousand requests with one cold known token wait for no turn', async (t) => {
  const { find, add, asked } = open(t)
  const secret = await add()
  const answers = await Promise.all(Array.from({ length: 1_000 }, () => find(secret)))
  t.ok(answers.every(({ kind }) => kind === 'active'))
  t.equal(asked.find, 1)
})

t.test('a wrong token that is repeated costs little', async (t) => {
  const { find, asked } = open(t)
  const secret = makeSecret()
  for (let i = 0; i < 12 * 6; i++) t.match(await find(secret), { kind: 'absent' })
  t.equal(asked.find, 1)
  const left = (pointsMax - lookupPoints - 71 * repeatPoints) / lookupPoints
  for (let i = 0; i < Math.floor(left); i++) {
    t.match(await find(makeSecret()), { kind: 'absent' }, 'others may still be wrong as well')
  }
  await t.rejects(find(makeSecret()), tooMany)
})

t.test('a wrong token that is repeated without end is refused in the end', async (t) => {
  const { find, asked } = open(t)
  const secret = makeSecret()
  const repeats = (pointsMax - lookupPoints) / repeatPoints
  for (let i = 0; i <= repeats; i++) t.match(await find(secret), { kind: 'absent' })
  await t.rejects(find(secret), { ...tooMany, retryAfter: windowSeconds })
  t.equal(asked.find, 1)
})

t.test(
  'a value with the prefix and a wrong checksum counts nothing and is always told',
  async (t) => {
    const { find, exhaust, throttle } = open(t)
    const garbage = `${makeSecret().slice(0, -1)}_`
    for (let i = 0; i <= pointsMax; i++) await find(garbage)
    await exhaust()
    await t.rejects(find(makeSecret()), tooMany)
    t.strictSame(throttle.find(garbage, here, now), { kind: 'absent' })
  },
)

t.test('lookups at the same time count before they are answered', async (t) => {
  const { find, asked } = open(t)
  const outcomes = Array.from({ length: 1_000 }, () => find(makeSecret()).catch(({ code }) => code))
  await settle()
  const atOnce = lookupsFree + pacedLookupsPerSecond / 10
  t.equal(asked.find, atOnce)
  for (let i = 0; i < 20; i++) await pass(100)
  const told = await Promise.all(outcomes)
  t.equal(told.filter((outcome) => outcome === 'too_many_requests').length, 1_000 - lookupsFree)
})

t.test('all addresses without points together cause a bounded number of lookups', async (t) => {
  const { find, add, exhaust, asked } = open(t)
  const known = await add()
  await exhaust(here)
  await exhaust(elsewhere)
  const before = asked.find
  const perTurn = pacedLookupsPerSecond / 10
  const outcomes: Promise<unknown>[] = []
  for (let i = 0; i < perTurn + pacedLookupsWaitingMax - 1; i++) {
    const address = i % 2 === 0 ? here : elsewhere
    outcomes.push(find(makeSecret(), address).catch(({ code }) => code))
  }
  const late = find(known, here)
  await settle()
  t.equal(asked.find - before, perTurn, 'a tenth of a second’s at once')
  await t.rejects(find(makeSecret()), { ...tooMany, retryAfter: 1 }, 'no more than that may wait')
  t.equal(asked.find - before, perTurn)
  await pass(100)
  t.equal(asked.find - before, 2 * perTurn, 'and as many each further tenth')
  for (let i = 0; i < 30; i++) await pass(100)
  t.match(await late, { kind: 'active' }, 'the known token among them has had its turn')
  t.strictSame(new Set(await Promise.all(outcomes)), new Set(['too_many_requests']))
})

t.test('an outage costs nothing', async (t) => {
  const { find, asked } = open(t)
  asked.isFailing = true
  for (let i = 0; i < 2 * lookupsFree; i++) await t.rejects(find(makeSecret()), /away/)
  asked.isFailing = false
  t.match(await find(makeSecret()), { kind: 'absent' })
})

t.test('what counts as one address', async (t) => {
  const rows: [sentence: string, address: string, network: string][] = [
    ['an IPv4 address is itself', '192.0.2.1', '192.0.2.1'],
    ['one that a dual-stack socket tells', '::ffff:192.0.2.1', '192.0.2.1'],
    ['the same in hexadecimal', '::ffff:c000:201', '192.0.2.1'],
    ['an IPv6 address is its first 64 bits', '2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['zeros are left out behind them', '2001:db8:1:2::6', '2001:db8:1:2'],
    ['zeros are left out among them', '2001:db8::3:4:5:6', '2001:db8:0:0'],
    ['nearly all are left out', '2001:db8::', '2001:db8:0:0'],
    ['few are left out', '2001::2:3:4:5:6:7', '2001:0:2:3'],
    ['written in full, in upper case', '2001:0DB8:0000:0001:0:0:0:1', '2001:db8:0:1'],
    ['loopback', '::1', '0:0:0:0'],
    ['a zone says only where it came in', 'fe80::1%eth0', 'fe80:0:0:0'],
    ['what a proxy did not know', 'unknown', 'unknown'],
  ]
  for (const [sentence, address, network] of rows) t.equal(networkOf(address), network, sentence)
})

t.test('a network of IPv6 has one purse', async (t) => {
  const { find } = open(t)
  for (let i = 0; i < lookupsFree; i++) await find(makeSecret(), `2001:db8:1:2::${i.toString(16)}`)
  await t.rejects(find(makeSecret(), '2001:db8:1:2:ffff::1'), tooMany)
  t.match(await find(makeSecret(), '2001:db8:1:3::1'), { kind: 'absent' })
})
