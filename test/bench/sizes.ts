// Gateways that differ in the size of one thing, side by side: the CPU time for a request of each is compared
// with that of the first, the smallest.

import { residentBytes } from './cpu.ts'
import type { Running } from './peers/peer.ts'
import type { Table, Verdict } from './report.ts'
import type { Bench } from './scene.ts'
import type { Effort } from './section.ts'
import { ratio, type Spread, spread } from './statistics.ts'
import { cpuOf, inShortRounds, inTurn, measureRequests, warmUp } from './turns.ts'
import type { Load } from './wrk.ts'

/** The largest may cost so much of the smallest to count as flat. */
export const flatGoal = 1.2

/** One gateway with one size of what grows. */
export type Size = {
  readonly name: string
  readonly load: Load
  /** How much longer the first load takes, until it has sent all that it has. */
  readonly coldSeconds?: number
  start(scene: Bench): Promise<Running>
}

export type Compared = {
  readonly tables: readonly Table[]
  readonly verdicts: readonly Verdict[]
  readonly figures: Readonly<
    Record<string, { readonly cpuMicros: Spread; readonly residentMiB: number }>
  >
}

/** `what`: which of them is compared with which, the last with the first. */
export async function compareSizes(
  scene: Bench,
  effort: Effort,
  what: string,
  sizes: readonly Size[],
  { isToBeFlat = true } = {},
): Promise<Compared> {
  const { warmUpSeconds } = effort
  const short = inShortRounds(effort)
  // The same for all of them: a program that has served more has compiled more of itself.
  const firstSeconds = warmUpSeconds + Math.max(...sizes.map(({ coldSeconds = 0 }) => coldSeconds))
  const lastToFirst = { of: sizes.at(-1)!, to: sizes[0]!, goal: flatGoal }
  const measured = await inTurn(scene, sizes, short.rounds, {
    warmUp: (running, { load }) => warmUp(scene, running, load, firstSeconds),
    measure: async (running, { load }) => ({
      ...(await measureRequests(scene, running, load, short)),
      residentMiB: residentBytes(running.groups) / 2 ** 20,
    }),
    until: { compared: isToBeFlat ? [lastToFirst] : [], figure: cpuOf },
  })
  const cpu = (size: Size): number[] => measured.get(size)!.map(cpuOf)
  const smallest = cpu(sizes[0]!)
  const figures = sizes.map((size) => ({
    name: size.name,
    cpuMicros: spread(cpu(size)),
    residentMiB: measured.get(size)!.at(-1)!.residentMiB,
    toFirst: ratio(cpu(size), smallest),
  }))
  const rows = figures.map(({ name, cpuMicros, residentMiB, toFirst }) => [
    name,
    cpuMicros.median.toFixed(1),
    `${cpuMicros.lowest.toFixed(1)}-${cpuMicros.highest.toFixed(1)}`,
    residentMiB.toFixed(0),
    toFirst.toFixed(2),
  ])
  const value = figures.at(-1)!.toFirst
  return {
    tables: [{ head: ['', 'CPU us/request', 'of rounds', 'MiB', 'to the first'], rows }],
    verdicts: [
      { what: `CPU per request, ${what}`, value, unit: 'x', ...(isToBeFlat && { goal: flatGoal }) },
    ],
    figures: Object.fromEntries(figures.map(({ name, ...others }) => [name, others])),
  }
}
