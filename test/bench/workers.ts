// Two workers on two cores, with load from each core to either worker, that yields to them, so that it interrupts
// nobody at work. Workers scale where a request costs each of them the CPU time that it costs one gateway of one
// worker in the same place: on its own core, half of its load from the other, which has as much to do. So beside
// the two workers are two such gateways. What two workers take is also set beside one worker on one core with all
// of its load, on the one core and on the other; this has the machine in it, as nothing there crosses from core to
// core, and nothing else fills the memory's cache. nginx with Lua is asked the same.

import { cpuSeconds } from './cpu.ts'
import { startNginxLua } from './peers/nginx.ts'
import type { Running } from './peers/peer.ts'
import { startScopegate } from './peers/scopegate.ts'
import type { Report } from './report.ts'
import { itemsLoad } from './requests.ts'
import { type Bench, cores } from './scene.ts'
import type { Effort, Section } from './section.ts'
import { ratio, spread } from './statistics.ts'
import { cpuOf, inShortRounds, inTurn, type RequestFigures } from './turns.ts'
import { saturate, usualConnections } from './wrk.ts'

/** Two workers take 1.8 times what one takes where a request costs them 2 / 1.8 times the CPU time. */
const cpuGoal = 1.11
const warmUps = 4

/** Has the cores for itself that its load comes from. */
type Contender = {
  readonly name: string
  readonly loadedFrom: readonly string[]
  start(scene: Bench): Promise<Running & { readonly urls: readonly string[] }>
}

type Start = (scene: Bench, on: string, workers: number) => Promise<Running>

export const workers: Section = {
  name: 'workers',
  title:
    'One worker on one core, two on two, and two gateways on two, each core shared with its load',
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
  const short = inShortRounds(effort)
  const scopegate = contendersOf('Scopegate', startScopegateOn)
  const lua = contendersOf('nginx + Lua', startNginxLuaOn)
  // The one that may be refused first.
  const all = [scopegate, lua].flatMap(({ two, twice, ones }) => [two, twice, ...ones])
  const measured = await inTurn(scene, all, short.rounds, {
    // Each of the workers compiles itself, the hottest parts last.
    warmUp: async (running, { loadedFrom }) => {
      await scene.moveLoad(loadedFrom.join(), 'yields')
      for (let i = 0; i < warmUps; i++) {
        await loadAll(scene, running.urls, loadedFrom, effort.warmUpSeconds)
      }
    },
    measure: async (running, { loadedFrom }): Promise<RequestFigures> => {
      await scene.moveLoad(loadedFrom.join(), 'yields')
      const load = (seconds: number) => loadAll(scene, running.urls, loadedFrom, seconds)
      if (short.leadInSeconds > 0) await load(short.leadInSeconds)
      const before = cpuSeconds(running.groups)
      const { requests, perSecond } = await load(short.seconds)
      const cpu = cpuSeconds(running.groups) - before
      return { cpuMicros: (cpu / requests) * 1e6, perSecond }
    },
    until: {
      compared: [{ of: scopegate.two, to: scopegate.twice, goal: cpuGoal }],
      figure: cpuOf,
    },
  })
  const cpu = (of: Contender): number[] => measured.get(of)!.map(cpuOf)
  const perSecond = (of: Contender): number[] => measured.get(of)!.map((f) => f.perSecond)
  const figures = all.map((of) => ({
    name: of.name,
    cpuMicros: spread(cpu(of)),
    perSecond: spread(perSecond(of)),
  }))
  const rows = figures.map(({ name, cpuMicros, perSecond: rate }) => [
    name,
    cpuMicros.median.toFixed(1),
    rate.median.toFixed(0),
  ])
  const ofTwice = ({ two, twice }: Contenders): number => ratio(cpu(two), cpu(twice))
  const scaling = ({ two, ones }: Contenders): number => {
    const [first, second] = ones.map(perSecond)
    const mean = first!.map((rate, round) => (rate + second![round]!) / 2)
    return ratio(perSecond(two), mean)
  }
  const what = {
    ofTwice: 'CPU per request, 2 workers to 2 gateways of 1',
    scaling: 'throughput, 2 workers on 2 cores to 1 on 1',
  }
  return {
    tables: [{ head: ['', 'CPU us/request', 'requests/s'], rows }],
    verdicts: [
      { what: what.ofTwice, value: ofTwice(scopegate), unit: 'x', goal: cpuGoal },
      { what: `${what.ofTwice}, nginx + Lua`, value: ofTwice(lua), unit: 'x' },
      { what: what.scaling, value: scaling(scopegate), unit: 'x' },
      { what: `${what.scaling}, nginx + Lua`, value: scaling(lua), unit: 'x' },
    ],
    figures: Object.fromEntries(figures.map(({ name, ...others }) => [name, others])),
  }
}

/** From each of the cores to each of the addresses, the usual number of connections for each core in all. */
async function loadAll(
  scene: Bench,
  urls: readonly string[],
  from: readonly string[],
  seconds: number,
): Promise<{ readonly requests: number; readonly perSecond: number }> {
  const load = { ...itemsLoad(scene), connections: usualConnections / urls.length }
  const all = await Promise.all(
    urls.flatMap((url) => from.map((on) => saturate(scene, url, { ...load, on }, seconds))),
  )
  return {
    requests: all.reduce((sum, { requests }) => sum + requests, 0),
    perSecond: all.reduce((sum, { requests, seconds: took }) => sum + requests / took, 0),
  }
}

type Contenders = {
  readonly two: Contender
  readonly twice: Contender
  /** On each of the cores. */
  readonly ones: readonly Contender[]
}

function contendersOf(name: string, start: Start): Contenders {
  const bothCores = [cores.tested, cores.others]
  return {
    two: {
      name: `${name}, 2 workers`,
      loadedFrom: bothCores,
      start: async (scene) => loadedTwice(await start(scene, cores.both, 2)),
    },
    twice: {
      name: `${name}, 2 gateways`,
      loadedFrom: bothCores,
      start: async (scene) => {
        const first = await start(scene, cores.tested, 1)
        const second = await start(scene, cores.others, 1)
        return {
          url: first.url,
          urls: [first.url, second.url],
          groups: [...first.groups, ...second.groups],
          stop: async () => {
            await first.stop()
            await second.stop()
          },
        }
      },
    },
    ones: bothCores.map((core) => ({
      name: `${name}, 1 worker on core ${core}`,
      loadedFrom: [core],
      start: async (scene) => loadedTwice(await start(scene, core, 1)),
    })),
  }
}

/** From a core, two processes load it, as they do where it is two gateways. */
function loadedTwice(running: Running): Awaited<ReturnType<Contender['start']>> {
  return { ...running, urls: [running.url, running.url] }
}

function startScopegateOn(scene: Bench, on: string, workersCount: number): Promise<Running> {
  const server = { workers: workersCount, limits: { connectionsPerAddress: 0 } }
  return startScopegate(scene, { sections: { server }, on })
}

function startNginxLuaOn(scene: Bench, on: string, workersCount: number): Promise<Running> {
  return startNginxLua(scene, { cores: on, workers: workersCount })
}

function skipped(why: string): Report {
  return { tables: [], verdicts: [], figures: { skipped: why }, note: `Left out: ${why}.` }
}
