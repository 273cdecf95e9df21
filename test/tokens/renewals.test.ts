import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { Renewals } from '../../gateway/tokens/renewals.ts'
import { until } from '../servers/ready.ts'

/** What one turn begins at most, and what is under way at most. */
const perTurnMax = 16
const underWayMax = 64
/** Between two turns, and a little more. */
const turnMs = 7

t.test('each key is asked for once, few at a time', async (t) => {
  const turns: number[] = []
  const asked: string[] = []
  let isSameTurn = false
  const renewals = new Renewals(async (key) => {
    asked.push(key)
    turns.push(isSameTurn ? (turns.pop() as number) + 1 : 1)
    isSameTurn = true
    setImmediate(() => {
      isSameTurn = false
    })
  })
  t.teardown(() => renewals.close())
  const keys = Array.from({ length: 20_000 }, (_, i) => `${i}`)
  for (const key of [...keys, ...keys]) renewals.add(key)
  t.same(asked, [], 'nothing at once')
  await until('a part is asked for', () => (asked.length > 1_000 ? true : undefined))
  t.same(asked, keys.slice(0, asked.length), 'in their order')
  t.ok(Math.max(...turns) <= perTurnMax, `${Math.max(...turns)} in a turn`)
})

t.test('a key by itself is not kept waiting', async (t) => {
  const asked: string[] = []
  const renewals = new Renewals(async (key) => asked.push(key))
  t.teardown(() => renewals.close())
  renewals.add('a')
  await until('it is asked for', () => (asked.length === 1 ? true : undefined))
  renewals.add('a')
  await until('it is asked for again', () => (asked.length === 2 ? true : undefined))
})

t.test('what fails ends as what succeeds; what does not end holds up the others', async (t) => {
  let asked = 0
  const { promise, resolve } = Promise.withResolvers<void>()
  const renewals = new Renewals(async () => {
    asked += 1
    if (asked <= underWayMax) throw new Error('it failed')
    await promise
  })
  t.teardown(() => renewals.close())
  for (let i = 0; i < 10_000; i++) renewals.add(`${i}`)
  const full = 2 * underWayMax
  await until('all places are taken', () => (asked === full ? true : undefined))
  await pause(50)
  t.equal(asked, full)
  resolve()
  await until('the others follow', () => (asked > full ? true : undefined))
})

t.test('a key under way is not asked for again, and leaves the others their places', async (t) => {
  const asked: string[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  const renewals = new Renewals(async (key) => {
    asked.push(key)
    if (key === 'slow') await promise
  })
  t.teardown(() => renewals.close())
  for (let i = 0; i < 2 * underWayMax; i++) {
    renewals.add('slow')
    await pause(turnMs)
  }
  renewals.add('other')
  await until('the other is asked for', () => asked.includes('other') || undefined)
  t.same(asked, ['slow', 'other'])
  resolve()
  await until('it is asked for again', () => {
    renewals.add('slow')
    return asked.length > 2 || undefined
  })
})

t.test('nothing is asked for once it is closed', async (t) => {
  let asked = 0
  const renewals = new Renewals(async () => {
    asked += 1
  })
  renewals.add('a')
  renewals.close()
  await pause(50)
  t.equal(asked, 0)
})
