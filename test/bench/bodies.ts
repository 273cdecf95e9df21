// One large body down, one up, and one up in chunks, as docker and git send theirs: CPU time and the most memory that
// a contender holds meanwhile.

import { truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { mustRun } from '../servers/command.ts'
import { cpuSeconds, forgetPeak, peakBytes } from './cpu.ts'
import { checkPeer } from './peers/check.ts'
import { haproxy } from './peers/haproxy.ts'
import { nginxAlone } from './peers/nginx.ts'
import { httpProxy3 } from './peers/node.ts'
import type { Peer, Running } from './peers/peer.ts'
import { scopegate } from './peers/scopegate.ts'
import type { Verdict } from './report.ts'
import { type Bench, tokenField } from './scene.ts'
import type { Section } from './section.ts'
import { ratio, spread } from './statistics.ts'
import { inShortRounds, inTurn } from './turns.ts'

const bodyBytes = 2 ** 30
const transferTimeoutMs = 120_000
const peers: readonly Peer[] = [nginxAlone, haproxy, httpProxy3, scopegate]
/** What Scopegate's CPU time may be of theirs. */
const goals = new Map<Peer, number>([[nginxAlone, 1]])
const directions = ['down', 'up', 'up in chunks'] as const

type Direction = (typeof directions)[number]
type Transfer = { readonly cpuSeconds: number; readonly seconds: number; readonly peakMiB: number }

export const bodies: Section = {
  name: 'bodies',
  title: '1 GiB down, 1 GiB up, with its length and in chunks, nothing buffered',
  measure: async (scene, effort) => {
    const { rounds } = inShortRounds(effort)
    // Where the upstream has it; uploads are read from it as well.
    const blob = join(scene.folder, 'upstream', 'blob')
    writeFileSync(blob, '')
    truncateSync(blob, bodyBytes)
    const measured = await inTurn(scene, peers, rounds, {
      warmUp: async (running, peer) => {
        await checkPeer(scene, peer, running)
        for (const direction of directions) await transfer(scene, running, direction, blob)
      },
      measure: async (running) => ({
        down: await transfer(scene, running, 'down', blob),
        up: await transfer(scene, running, 'up', blob),
        'up in chunks': await transfer(scene, running, 'up in chunks', blob),
      }),
    })
    const list = (peer: Peer, direction: Direction, key: keyof Transfer): number[] =>
      measured.get(peer)!.map((round) => round[direction][key])
    const figures = Object.fromEntries(
      peers.map((peer) => [
        peer.name,
        Object.fromEntries(
          directions.map((direction) => [
            direction,
            {
              cpuSeconds: spread(list(peer, direction, 'cpuSeconds')),
              seconds: spread(list(peer, direction, 'seconds')),
              peakMiB: spread(list(peer, direction, 'peakMiB')),
            },
          ]),
        ),
      ]),
    )
    const rows = peers.map((peer) => [
      peer.name,
      ...directions.flatMap((direction) => {
        const { cpuSeconds, seconds, peakMiB } = figures[peer.name]![direction]!
        const all = [cpuSeconds.median.toFixed(2), seconds.median.toFixed(2)]
        return [...all, peakMiB.median.toFixed(0)]
      }),
    ])
    const head = ['', ...directions.flatMap((one) => [`${one}: CPU s`, 'took s', 'peak MiB'])]
    const verdicts = directions.flatMap((direction) =>
      [nginxAlone, haproxy].map((peer): Verdict => {
        const cpu = (of: Peer): number[] => list(of, direction, 'cpuSeconds')
        const what = `CPU for 1 GiB ${direction}, Scopegate to ${peer.name}`
        const goal = goals.get(peer)
        const value = ratio(cpu(scopegate), cpu(peer))
        return { what, value, unit: 'x', ...(goal !== undefined && { goal }) }
      }),
    )
    return { tables: [{ head, rows }], verdicts, figures }
  },
}

async function transfer(
  scene: Bench,
  { url, groups }: Running,
  direction: Direction,
  blob: string,
): Promise<Transfer> {
  const upload = ['-H', 'Expect:', '-T', blob, `${url}/api/sink`]
  const how = {
    down: [`${url}/api/blob`],
    up: upload,
    'up in chunks': ['-H', 'Transfer-Encoding: chunked', ...upload],
  }[direction]
  const format = '%{size_download} %{size_upload}'
  const args = [
    '-sS',
    '-f',
    '-o',
    '/dev/null',
    '-w',
    format,
    '-H',
    `${tokenField}: ${scene.writer}`,
  ]
  forgetPeak(groups)
  const cpuBefore = cpuSeconds(groups)
  const startedAt = performance.now()
  const said = await mustRun('curl', [...args, ...how], { timeoutMs: transferTimeoutMs })
  const seconds = (performance.now() - startedAt) / 1000
  const [down, up] = said.split(' ').map(Number)
  // Of chunks curl counts what is around them as well.
  if (Math.max(down!, up!) < bodyBytes) {
    throw new Error(`not the whole body went ${direction}: ${said}`)
  }
  const cpu = cpuSeconds(groups) - cpuBefore
  return { cpuSeconds: cpu, seconds, peakMiB: peakBytes(groups) / 2 ** 20 }
}
