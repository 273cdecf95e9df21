// Contenders that run side by side and are measured one after the other, several times round: what disturbs
// the machine disturbs all of them, and their ratio stays.

import { cpuSeconds } from './cpu.ts'
import type { Running } from './peers/peer.ts'
import type { Bench } from './scene.ts'
import type { Effort } from './section.ts'
import { doubt, ratio } from './statistics.ts'
import { type Load, saturate } from './wrk.ts'

export type Contender = {
  readonly name: string
  start(scene: Bench): Promise<Running>
}

/** What it starts as. */
type Started<C extends Contender> = Awaited<ReturnType<C['start']>>

/** Many short rounds: what disturbs the machine comes for seconds, and not for each contender alike. */
export function inShortRounds(effort: Effort): Effort {
  return effort.quick ? effort : { ...effort, rounds: 3 * effort.rounds, seconds: 1 }
}

/** Two contenders whose ratio has a goal. */
type Compared<C> = { readonly of: C; readonly to: C; readonly goal: number }

/** What is to be out of doubt; undefined: nothing. */
type Until<C, T> =
  | { readonly compared: readonly Compared<C>[]; readonly figure: (measured: T) => number }
  | undefined

/** While noise leaves it open whether a goal is met, the rounds go on, up to so many times as many. */
const roundsFactorMax = 4

/**
 * A list for each contender, one figure a round. `warmUp` is called once for each. `until`: contenders that are
 * compared by this figure have more rounds than the others where that takes more.
 */
export async function inTurn<C extends Contender, T>(
  scene: Bench,
  contenders: readonly C[],
  rounds: number,
  work: {
    warmUp(running: Started<C>, contender: C): Promise<unknown>
    measure(running: Started<C>, contender: C): Promise<T>
    readonly until?: Until<C, T>
  },
): Promise<Map<C, T[]>> {
  const all = new Map<C, T[]>()
  const started = new Map<C, Started<C>>()
  const naming = async <R>(contender: C, doing: Promise<R>): Promise<R> => {
    try {
      return await doing
    } catch (error) {
      throw new Error(`${contender.name}: ${(error as Error).message}`, { cause: error })
    }
  }
  try {
    for (const contender of contenders) {
      const running = (await naming(contender, contender.start(scene))) as Started<C>
      started.set(contender, running)
      await naming(contender, work.warmUp(running, contender))
      all.set(contender, [])
    }
    for (let round = 0; round < rounds * roundsFactorMax; round++) {
      const { until } = work
      const open = until?.compared.filter((pair) => isOpen(pair, all, until.figure)) ?? []
      const among = new Set(open.flatMap(({ of, to }) => [of, to]))
      for (const [contender, running] of started) {
        if (round >= rounds && !among.has(contender)) continue
        all.get(contender)!.push(await naming(contender, work.measure(running, contender)))
      }
    }
  } finally {
    for (const running of started.values()) await running.stop()
  }
  return all
}

/** From fewer rounds it cannot be told how far their ratio may be off. */
const roundsMin = 6

/** May the ratio be on the other side of its goal? */
function isOpen<C, T>(
  { of, to, goal }: Compared<C>,
  all: ReadonlyMap<C, readonly T[]>,
  figure: (measured: T) => number,
): boolean {
  const [these, those] = [all.get(of)!.map(figure), all.get(to)!.map(figure)]
  const isNear = Math.abs(Math.log(ratio(these, those) / goal)) < doubt(these, those)
  return isNear || Math.min(these.length, those.length) < roundsMin
}

/** What a program needs until it has compiled itself, on a slow day as well. */
const warmUpRequests = 20_000
const warmUpLoadsMax = 5

/** Loads a contender for so long, and longer where it has taken few requests by then. */
export async function warmUp(
  scene: Bench,
  running: Running,
  load: Load,
  seconds: number,
): Promise<void> {
  let taken = 0
  for (let loads = 0; loads < warmUpLoadsMax && taken < warmUpRequests; loads++) {
    taken += (await saturate(scene, running.url, load, seconds)).requests
  }
}

/** What a small request costs a contender, and how many it takes. */
export type RequestFigures = { readonly cpuMicros: number; readonly perSecond: number }

export function cpuOf({ cpuMicros }: RequestFigures): number {
  return cpuMicros
}

/** Loads a contender that runs until it takes no more, and counts its CPU time. */
export async function measureRequests(
  scene: Bench,
  running: Running,
  load: Load,
  { seconds, leadInSeconds }: Effort,
): Promise<RequestFigures> {
  // What has expired while others had their turn is fetched again, and not counted.
  if (leadInSeconds > 0) await saturate(scene, running.url, load, leadInSeconds)
  const before = cpuSeconds(running.groups)
  const { requests, seconds: took } = await saturate(scene, running.url, load, seconds)
  const cpu = cpuSeconds(running.groups) - before
  return { cpuMicros: (cpu / requests) * 1e6, perSecond: requests / took }
}
