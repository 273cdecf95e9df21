// One worker and two of them, on both cores, with the same load for each worker: the CPU time for a request
// should be the same. Upstream and load share the cores, so nginx with Lua is asked the same beside it.

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

/** Two to one, noise included, to count as equal. */
const equalGoal = 1.1
const workersMax = 2
const warmUps = 4

type Contender = {
  readonly name: string
  readonly workers: number
  start(scene: Bench): Promise<Running>
}

export const workers: Section = {
  name: 'workers',
  title: 'One worker and two, on both cores, which the load shares',
  measure: async (scene, effort) => {
    if (cores.both === cores.tested) return skipped('there is one core only')
    try {
      return await compareWorkers(scene, effort)
    } catch (error) {
      const isRefused = (error as Error).message.includes('server.workers')
      if (isRefused) return skipped('this gateway refuses server.workers: 2')
      throw error
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
  const [two, one] = [workersMax, 1].map((workers) => scopegateOf(workers)) as [
    Contender,
    Contender,
  ]
  const [luaTwo, luaOne] = [workersMax, 1].map((workers) => luaOf(workers)) as [
    Contender,
    Contender,
  ]
  const measured = await inTurn(scene, [two, one, luaTwo, luaOne], short.rounds, {
    // Each of the workers compiles itself, the hottest parts last.
    warmUp: async (running, { workers }) => {
      for (let i = 0; i < warmUps; i++) {
        await warmUp(scene, running, load(workers), warmUpSeconds)
      }
    },
    measure: (running, { workers }) => measureRequests(scene, running, load(workers), short),
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
  const what = 'CPU per request, 2 workers to 1'
  return {
    tables: [{ head: ['', 'CPU us/request', 'requests/s'], rows }],
    verdicts: [
      { what, value: ratio(cpu(two), cpu(one)), unit: 'x', goal: equalGoal },
      { what: `${what}, nginx + Lua`, value: ratio(cpu(luaTwo), cpu(luaOne)), unit: 'x' },
    ],
    figures: Object.fromEntries(figures.map(({ name, ...others }) => [name, others])),
  }
}

function scopegateOf(workers: number): Contender {
  const server = { workers, limits: { connectionsPerAddress: 0 } }
  return {
    name: `Scopegate, ${workers}`,
    workers,
    start: (scene) => startScopegate(scene, { sections: { server }, on: cores.both }),
  }
}

function luaOf(workers: number): Contender {
  return {
    name: `nginx + Lua, ${workers}`,
    workers,
    start: (scene) => startNginxLua(scene, { cores: cores.both, workers }),
  }
}

function skipped(why: string): Report {
  return { tables: [], verdicts: [], figures: { skipped: why }, note: `Left out: ${why}.` }
}
