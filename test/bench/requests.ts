// Small requests at saturation, 64 connections: CPU time of the process under test for each request, and how many
// it takes a second.

import { residentBytes } from './cpu.ts'
import { caddy } from './peers/caddy.ts'
import { checkPeer } from './peers/check.ts'
import { haproxy } from './peers/haproxy.ts'
import { nginxAlone, nginxAuthRequest, nginxLua } from './peers/nginx.ts'
import { fastifyProxy, httpProxy3 } from './peers/node.ts'
import type { Peer } from './peers/peer.ts'
import { scopegate } from './peers/scopegate.ts'
import type { Report, Verdict } from './report.ts'
import type { Bench } from './scene.ts'
import type { Effort, Section } from './section.ts'
import { ratio, type Spread, spread } from './statistics.ts'
import { cpuOf, inShortRounds, inTurn, measureRequests, warmUp } from './turns.ts'
import type { Load } from './wrk.ts'

/** By the name of the peer. */
export type RequestsFigures = Readonly<
  Record<
    string,
    {
      readonly does: string
      readonly decides: boolean
      /** CPU time for a request, user and system. */
      readonly cpuMicros: Spread
      readonly perSecond: Spread
      readonly residentMiB: number
    }
  >
>

/** One beside the other those that are compared most. */
const fewPeers: readonly Peer[] = [nginxAlone, nginxLua, scopegate, httpProxy3]
const allPeers: readonly Peer[] = [...fewPeers, nginxAuthRequest, haproxy, caddy, fastifyProxy]

/** What Scopegate's CPU time for a request may be of theirs. */
const goals = new Map<Peer, number>([
  [nginxLua, 1.5],
  [httpProxy3, 0.5],
])

const pathsCount = 1_000
/** Of a small request that writes, such as one with a few fields in JSON. */
const bodyBytes = 300

/** A thousand items, each asked for with a token of its own. */
export function itemsLoad(scene: Bench): Load {
  const paths = Array.from({ length: pathsCount }, (_, i) => `/api/items/${i + 1}`)
  return { tokens: scene.tokens, paths }
}

export const requests: Section = {
  name: 'requests',
  title: 'Small requests: 600 bytes, 64 connections, 1,000 tokens, at saturation',
  measure: (scene, effort) =>
    measure(scene, effort, effort.quick ? fewPeers : allPeers, itemsLoad(scene)),
}

export const writes: Section = {
  name: 'writes',
  title: `Small requests with a body: PUT of ${bodyBytes} bytes, 64 connections, one token, at saturation`,
  measure: (scene, effort) => {
    const body = 'x'.repeat(bodyBytes)
    return measure(scene, effort, fewPeers, { tokens: [scene.writer], paths: ['/api/sink'], body })
  },
}

/** The peers in turn, under that load. */
async function measure(
  scene: Bench,
  effort: Effort,
  peers: readonly Peer[],
  load: Load,
): Promise<Report> {
  const short = inShortRounds(effort)
  const compared = [...goals].map(([to, goal]) => ({ of: scopegate, to, goal }))
  const measured = await inTurn(scene, peers, short.rounds, {
    warmUp: async (running, peer) => {
      await checkPeer(scene, peer, running)
      await warmUp(scene, running, load, effort.warmUpSeconds)
    },
    measure: async (running) => ({
      ...(await measureRequests(scene, running, load, short)),
      residentMiB: residentBytes(running.groups) / 2 ** 20,
    }),
    until: effort.quick ? undefined : { compared, figure: cpuOf },
  })
  const cpu = (peer: Peer): number[] => measured.get(peer)!.map(cpuOf)
  const verdicts: Verdict[] = peers
    .filter((peer) => peer !== scopegate)
    .map((peer) => {
      const goal = goals.get(peer)
      return {
        what: `CPU per ${load.body === undefined ? 'request' : 'PUT'}, Scopegate to ${peer.name}`,
        value: ratio(cpu(scopegate), cpu(peer)),
        unit: 'x',
        ...(goal !== undefined && { goal }),
      }
    })
  const figures: RequestsFigures = Object.fromEntries(
    [...measured].map(([peer, list]) => [
      peer.name,
      {
        does: peer.does,
        decides: peer.decides,
        cpuMicros: spread(cpu(peer)),
        perSecond: spread(list.map(({ perSecond }) => perSecond)),
        residentMiB: list.at(-1)!.residentMiB,
      },
    ]),
  )
  const rows = peers.map((peer) => {
    const { cpuMicros, perSecond, residentMiB } = figures[peer.name]!
    return [
      peer.name,
      cpuMicros.median.toFixed(1),
      `${cpuMicros.lowest.toFixed(1)}-${cpuMicros.highest.toFixed(1)}`,
      perSecond.median.toFixed(0),
      residentMiB.toFixed(0),
      ratio(cpu(scopegate), cpu(peer)).toFixed(2),
      peer.decides ? peer.does : `no decision: ${peer.does}`,
    ]
  })
  const head = [
    '',
    'CPU us/request',
    'of rounds',
    'requests/s',
    'MiB',
    'Scopegate is',
    'what it does',
  ]
  return { tables: [{ head, rows }], verdicts, figures }
}
