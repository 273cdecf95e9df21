// One worker and two of them, on both cores: the CPU time for a request should be the same.

import { startScopegate } from './peers/scopegate.ts'
import type { Report } from './report.ts'
import { itemsLoad } from './requests.ts'
import { type Bench, cores } from './scene.ts'
import type { Effort, Section } from './section.ts'
import { ratio, spread } from './statistics.ts'
import { inTurn, measureRequests, warmUp } from './turns.ts'

/** Two to one, noise included, to count as equal. */
const equalGoal = 1.1
const workersMax = 2

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
  const { rounds, warmUpSeconds } = effort
  const load = itemsLoad(scene)
  const one = { name: '1 worker', start: () => startWorkers(scene, 1) }
  const two = { name: '2 workers', start: () => startWorkers(scene, workersMax) }
  // The one that may be refused first.
  const measured = await inTurn(scene, [two, one], rounds, {
    // Each of the workers compiles itself.
    warmUp: async (running) => {
      for (let i = 0; i < workersMax; i++) await warmUp(scene, running, load, warmUpSeconds)
    },
    measure: (running) => measureRequests(scene, running, load, effort),
  })
  const cpu = (of: typeof one): number[] => measured.get(of)!.map(({ cpuMicros }) => cpuMicros)
  const perSecond = (of: typeof one): number[] => measured.get(of)!.map((f) => f.perSecond)
  const figures = [one, two].map((of) => ({
    name: of.name,
    cpuMicros: spread(cpu(of)),
    perSecond: spread(perSecond(of)),
  }))
  const rows = figures.map(({ name, cpuMicros, perSecond: rate }) => [
    name,
    cpuMicros.median.toFixed(1),
    rate.median.toFixed(0),
  ])
  const value = ratio(cpu(two), cpu(one))
  return {
    tables: [{ head: ['', 'CPU us/request', 'requests/s'], rows }],
    verdicts: [{ what: 'CPU per request, 2 workers to 1', value, unit: 'x', goal: equalGoal }],
    figures: Object.fromEntries(figures.map(({ name, ...others }) => [name, others])),
  }
}

function startWorkers(scene: Bench, count: number): ReturnType<typeof startScopegate> {
  const server = { workers: count, limits: { connectionsPerAddress: 0 } }
  return startScopegate(scene, { sections: { server }, on: cores.both })
}

function skipped(why: string): Report {
  return { tables: [], verdicts: [], figures: { skipped: why }, note: `Left out: ${why}.` }
}
