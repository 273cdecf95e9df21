// Contenders that run side by side and are measured one after the other, several times round: what disturbs
// the machine disturbs all of them, and their ratio stays.

import { cpuSeconds } from './cpu.ts'
import type { Running } from './peers/peer.ts'
import type { Bench } from './scene.ts'
import type { Effort } from './section.ts'
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

/** A list for each contender, one figure a round. `warmUp` is called once for each. */
export async function inTurn<C extends Contender, T>(
  scene: Bench,
  contenders: readonly C[],
  rounds: number,
  work: {
    warmUp(running: Started<C>, contender: C): Promise<unknown>
    measure(running: Started<C>, contender: C): Promise<T>
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
    for (let round = 0; round < rounds; round++) {
      for (const [contender, running] of started) {
        all.get(contender)!.push(await naming(contender, work.measure(running, contender)))
      }
    }
  } finally {
    for (const running of started.values()) await running.stop()
  }
  return all
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
