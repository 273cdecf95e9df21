// One worker on one core and two of them on two, with the same load for each: the load and the upstream are on
// these cores too, so that each worker has as much of a core to itself. Twice as many requests should be taken,
// and each cost the same CPU time. nginx with Lua is asked the same beside it.

import { startNginxLua } from './peers/nginx.ts'
import type { Running } from './peers/peer.ts'
import { startScopegate } from './peers/scopegate.ts'
import type { Report } from './report.ts'
import { itemsLoad } from './requests.ts'
import { type Bench, cores } from './scene.ts'
import type { Effort, Section } from './section.ts'
import { ratio, spread } from './statistics.ts'
import { inShortRounds, inTurn, measureRequests, warmUp } from './turns.ts'
import { usualConnections } from './wrk.ts'

/** How much more two take than one. */
const throughputGoal = 1.8
const workersMax = 2
const warmUps = 4

type Contender = {
  readonly name: string
  readonly workers: number
  start(scene: Bench): Promise<Running>
}

export const workers: Section = {
  name: 'workers',
  title: 'One worker on one core and two on two, each core shared with its load',
  measure: async (scene, effort) => {
    if (cores.both === cores.tested) return skipped('there is one core only')
    try {
      return await compareWorkers(scene, effort)
    } catch (error) {
      const isRefused = (error as Error).message.includes('server.workers')
      if (isRefused) return skipped('this gateway refuses server.workers: 2')
      throw error
    } finally {
      await scene.moveLoad(cores.others)
    }
  },
}

async function compareWorkers(scene: Bench, effort: Effort): Promise<Report> {
  const { warmUpSeconds } = effort
  const short = inShortRounds(effort)
  const load = (workers: number) => ({
    ...itemsLoad(scene),
    connections: workers * usualConnections,
  })
  // The one that may be refused first.
  const [two, one] = [workersMax, 1].map(scopegateOf) as [Contender, Contender]
  const [luaTwo, luaOne] = [workersMax, 1].map(luaOf) as [Contender, Contender]
  const measured = await inTurn(scene, [two, one, luaTwo, luaOne], short.rounds, {
    // Each of the workers compiles itself, the hottest parts last.
    warmUp: async (running, { workers }) => {
      await scene.moveLoad(coresOf(workers))
      for (let i = 0; i < warmUps; i++) {
        await warmUp(scene, running, load(workers), warmUpSeconds)
      }
    },
    measure: async (running, { workers }) => {
      await scene.moveLoad(coresOf(workers))
      return await measureRequests(scene, running, load(workers), short)
    },
  })
  const cpu = (of: Contender): number[] => measured.get(of)!.map(({ cpuMicros }) => cpuMicros)
  const perSecond = (of: Contender): number[] => measured.get(of)!.map((f) => f.perSecond)
  const figures = [one, two, luaOne, luaTwo].map((of) => ({
    name: of.name,
    cpuMicros: spread(cpu(of)),
    perSecond: spread(perSecond(of)),
  }))
  const rows = figures.map(({ name, cpuMicros, perSecond: rate }) => [
    name,
    cpuMicros.median.toFixed(1),
    rate.median.toFixed(0),
  ])
  const what = (figure: string) => `${figure}, 2 workers on 2 cores to 1 on 1`
  const throughput = ratio(perSecond(two), perSecond(one))
  const throughputOfLua = ratio(perSecond(luaTwo), perSecond(luaOne))
  return {
    tables: [{ head: ['', 'CPU us/request', 'requests/s'], rows }],
    verdicts: [
      {
        what: what('throughput'),
        value: throughput,
        unit: 'x',
        goal: throughputGoal,
        isLeast: true,
      },
      { what: `${what('throughput')}, nginx + Lua`, value: throughputOfLua, unit: 'x' },
      { what: what('CPU per request'), value: ratio(cpu(two), cpu(one)), unit: 'x' },
      {
        what: `${what('CPU per request')}, nginx + Lua`,
        value: ratio(cpu(luaTwo), cpu(luaOne)),
        unit: 'x',
      },
    ],
    figures: Object.fromEntries(figures.map(({ name, ...others }) => [name, others])),
  }
}

function coresOf(workers: number): string {
  return workers === 1 ? cores.others : cores.both
}

function scopegateOf(workers: number): Contender {
  const server = { workers, limits: { connectionsPerAddress: 0 } }
  return {
    name: `Scopegate, ${workers}`,
    workers,
    start: (scene) => startScopegate(scene, { sections: { server }, on: coresOf(workers) }),
  }
}

function luaOf(workers: number): Contender {
  return {
    name: `nginx + Lua, ${workers}`,
    workers,
    start: (scene) => startNginxLua(scene, { cores: coresOf(workers), workers }),
  }
}

function skipped(why: string): Report {
  return { tables: [], verdicts: [], figures: { skipped: why }, note: `Left out: ${why}.` }
}
