// What a contender adds to the latency of a small request, at half of the rate that it takes at most: the
// same load straight to the upstream before each measurement is taken off. Of the rounds those count in which
// others had the machine's cores least often, and of like ones those in which the direct path was quickest: a core
// that is taken away for some milliseconds delays all that is under way. How p50 and p99 are taken: rate.ts.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { nginxAlone, nginxLua } from './peers/nginx.ts'
import { httpProxy3 } from './peers/node.ts'
import type { Peer } from './peers/peer.ts'
import { scopegate } from './peers/scopegate.ts'
import type { Offer, RateFigures } from './rate.ts'
import { itemsLoad } from './requests.ts'
import type { Section } from './section.ts'
import { median, spread } from './statistics.ts'
import { inTurn, measureRequests, warmUp } from './turns.ts'

/** Milliseconds that Scopegate may add. */
const p50GoalMs = 0.3
const p99GoalMs = 2

/** Of the direct path: beyond it, the machine does something else as well. */
const quietP99Ms = 1
/** With fewer undisturbed windows, others have taken too much of it. */
const quietPartMin = 1 / 3

const connections = 256
/** Latency needs more rounds than CPU time does. */
const offersARound = 5
const quickOffersARound = 2
/** Of the rounds, these count. */
const countedPart = 1 / 3
/** Of saturation. */
const loadPart = 0.5
/** What the generator is asked for at most: beside the upstream, on its core, it comes late beyond that. */
const rateMax = 5_000

export const latency: Section = {
  name: 'latency',
  title: `Added latency at half of saturation, ${rateMax} a second at most, ${connections} connections`,
  measure: async (scene, effort) => {
    const { rounds, seconds, warmUpSeconds, quick } = effort
    // The product first: nobody is asked for more than half of what it takes.
    const peers: readonly Peer[] = quick
      ? [scopegate]
      : [scopegate, nginxLua, httpProxy3, nginxAlone]
    const rates = new Map<Peer, number>()
    const load = itemsLoad(scene)
    const generator = startGenerator()
    const usual = { tokens: scene.tokens, connections }
    const offers = rounds * (quick ? quickOffersARound : offersARound)
    const measured = await inTurn(scene, peers, offers, {
      warmUp: async (running, peer) => {
        await warmUp(scene, running, load, warmUpSeconds)
        const { perSecond } = await measureRequests(scene, running, load, effort)
        const most = rates.get(scopegate) ?? rateMax
        const rate = Math.min(most, Math.floor(perSecond * loadPart))
        rates.set(peer, rate)
        // Programs compile other parts of themselves than under full load.
        const { url } = running
        await generator.offer({ ...usual, url, rate, seconds: warmUpSeconds })
      },
      measure: async ({ url }, peer) => {
        const offer = { ...usual, rate: rates.get(peer)!, seconds }
        const direct = await generator.offer({ ...offer, url: `http://${scene.upstream}` })
        const through = await generator.offer({ ...offer, url })
        return { direct, through }
      },
    }).finally(() => generator.stop())
    const counted = [...measured].map(([peer, list]) => [peer, quietest(list)] as const)
    const figures = Object.fromEntries(
      counted.map(([peer, list]) => [
        peer.name,
        {
          rate: rates.get(peer)!,
          addedP50Ms: spread(list.map(({ direct, through }) => through.p50 - direct.p50)),
          addedP99Ms: spread(list.map(({ direct, through }) => through.p99 - direct.p99)),
          addedWholeP99Ms: spread(
            list.map(({ direct, through }) => through.wholeP99 - direct.wholeP99),
          ),
          directP50Ms: spread(list.map(({ direct }) => direct.p50)),
          directP99Ms: spread(list.map(({ direct }) => direct.p99)),
          quietPart: spread(list.map(quietPart)),
          generatorLateP99Ms: spread(list.map(({ through }) => through.lateP99)),
        },
      ]),
    )
    const rows = Object.entries(figures).map(([name, f]) => [
      name,
      `${f.rate}`,
      f.addedP50Ms.median.toFixed(2),
      f.addedP99Ms.median.toFixed(2),
      f.addedWholeP99Ms.median.toFixed(2),
      f.directP50Ms.median.toFixed(2),
      f.directP99Ms.median.toFixed(2),
      f.generatorLateP99Ms.median.toFixed(2),
      `${Math.round(100 * f.quietPart.median)} %`,
    ])
    const head = [
      '',
      'requests/s',
      'added p50 ms',
      'added p99',
      'with every stall',
      'direct p50',
      'direct p99',
      'generator late p99',
      'undisturbed',
    ]
    const { addedP50Ms, addedP99Ms } = figures[scopegate.name]!
    const directP99Ms = median(Object.values(figures).map((f) => f.directP99Ms.median))
    const quiet = median(Object.values(figures).map((f) => f.quietPart.median))
    const note =
      `The machine is busy: the direct path alone has a p99 of ${directP99Ms.toFixed(1)} ms, and of ` +
      `the windows ${Math.round(100 * quiet)} % were undisturbed.`
    return {
      ...((directP99Ms > quietP99Ms || quiet < quietPartMin) && { note }),
      tables: [{ head, rows }],
      verdicts: [
        { what: 'latency, added p50', value: addedP50Ms.median, unit: 'ms', goal: p50GoalMs },
        { what: 'latency, added p99', value: addedP99Ms.median, unit: 'ms', goal: p99GoalMs },
      ],
      figures,
    }
  },
}

type Offered = { readonly direct: RateFigures; readonly through: RateFigures }

function quietPart({ direct, through }: Offered): number {
  return Math.min(direct.quietPart, through.quietPart)
}

function quietest(rounds: readonly Offered[]): readonly Offered[] {
  const quietFirst = rounds.toSorted(
    (a, b) => quietPart(b) - quietPart(a) || a.direct.p99 - b.direct.p99,
  )
  return quietFirst.slice(0, Math.ceil(rounds.length * countedPart))
}

type Generator = { offer(order: Offer): Promise<RateFigures>; stop(): void }

function startGenerator(): Generator {
  const child = fork(join(import.meta.dirname, 'rate.ts'))
  const ended = once(child, 'exit').then(([code]): never => {
    throw new Error(`the generator of the load has ended: status ${code}`)
  })
  ended.catch(() => {})
  return {
    async offer(order) {
      child.send(order)
      const [figures] = await Promise.race([once(child, 'message'), ended])
      return figures as RateFigures
    },
    stop: () => void child.kill(),
  }
}
