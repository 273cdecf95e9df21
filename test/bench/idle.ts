// Connections that have sent one request and stay: what memory one of them takes, beside nginx's, and what
// the requests of the others cost meanwhile. As a program, `node idle.ts URL COUNT TOKEN` is their client.

import { once } from 'node:events'
import net from 'node:net'
import { startServer } from '../servers/lifetime.ts'
import { until } from '../servers/ready.ts'
import { residentBytes } from './cpu.ts'
import { nginxLua } from './peers/nginx.ts'
import type { Peer, Running } from './peers/peer.ts'
import { scopegate } from './peers/scopegate.ts'
import { itemsLoad } from './requests.ts'
import { type Bench, tokenField } from './scene.ts'
import type { Section } from './section.ts'
import { flatGoal } from './sizes.ts'
import { ratio, spread } from './statistics.ts'
import { type Contender, inTurn, measureRequests, warmUp } from './turns.ts'

const counts = [10, 1_000, 10_000]
/** Connections that are being opened at a time. */
const openingMax = 64
const openTimeoutMs = 60_000

if (import.meta.main) {
  const [url = '', count, token = ''] = process.argv.slice(2)
  await openConnections(new URL(url), Number(count), token)
  console.log('open')
}

export const idle: Section = {
  name: 'idle',
  title: 'Cost of 10 to 10,000 idle connections',
  measure: async (scene, effort) => {
    const { rounds, warmUpSeconds } = effort
    const load = itemsLoad(scene)
    const grown = new Map<Contender, number>()
    const contenders = [nginxLua, scopegate].flatMap((peer) =>
      counts.map((count) => ({ name: `${peer.name}, ${count}`, peer, count, start: peer.start })),
    )
    const own = contenders.filter(({ peer }) => peer === scopegate)
    const compared = [{ of: own.at(-1)!, to: own[0]!, goal: flatGoal }]
    const measured = await inTurn(scene, contenders, rounds, {
      warmUp: (running) => warmUp(scene, running, load, warmUpSeconds),
      measure: async (running, contender) => {
        // Closed after each measurement: the peer's patience with idle connections is not in question.
        const before = residentBytes(running.groups)
        const clients = await holdConnections(scene, running, contender.count)
        if (!grown.has(contender)) {
          grown.set(contender, (residentBytes(running.groups) - before) / contender.count / 1024)
        }
        try {
          return (await measureRequests(scene, running, load, effort)).cpuMicros
        } finally {
          await clients.stop()
        }
      },
      until: { compared, figure: (cpuMicros) => cpuMicros },
    })
    const of = (peer: Peer): [number, Contender, number[]][] =>
      [...measured].filter(([c]) => c.peer === peer).map(([c, list]) => [c.count, c, list])
    const figures = Object.fromEntries(
      [nginxLua, scopegate].map((peer) => [
        peer.name,
        Object.fromEntries(
          of(peer).map(([count, contender, list]) => [
            `${count} connections`,
            { cpuMicros: spread(list), kibibytesEach: grown.get(contender)! },
          ]),
        ),
      ]),
    )
    const rows = [nginxLua, scopegate].flatMap((peer) =>
      of(peer).map(([count, contender, list]) => [
        contender.name,
        spread(list).median.toFixed(1),
        // Fewer are lost among what else a process does with its memory.
        count === counts.at(-1) ? grown.get(contender)!.toFixed(1) : '',
      ]),
    )
    const few = of(scopegate)[0]!
    const many = of(scopegate).at(-1)!
    const nginxMany = of(nginxLua).at(-1)!
    return {
      tables: [{ head: ['', 'CPU us/request', 'KiB each'], rows }],
      verdicts: [
        {
          what: 'CPU per request, 10,000 idle connections to 10',
          value: ratio(many[2], few[2]),
          unit: 'x',
          goal: flatGoal,
        },
        {
          what: 'memory of an idle connection, Scopegate to nginx',
          value: grown.get(many[1])! / grown.get(nginxMany[1])!,
          unit: 'x',
        },
      ],
      figures,
    }
  },
}

async function holdConnections(
  scene: Bench,
  { url }: Running,
  count: number,
): Promise<{ stop(): Promise<unknown> }> {
  const args = [import.meta.filename, url, `${count}`, scene.tokens[0]!]
  const client = await startServer(process.execPath, args)
  await until(
    `${count} connections are open`,
    () => {
      if (client.child.exitCode !== null) throw new Error(client.output())
      return client.output().includes('open') ? true : undefined
    },
    openTimeoutMs,
  )
  return client
}

async function openConnections(
  { hostname, port, host }: URL,
  count: number,
  token: string,
): Promise<void> {
  const request = `GET /api/items/1 HTTP/1.1\r\nHost: ${host}\r\n${tokenField}: ${token}\r\n\r\n`
  let opened = 0
  const openSome = async (): Promise<void> => {
    while (opened < count) {
      opened++
      const socket = net.connect({ host: hostname, port: Number(port) })
      socket.write(request)
      const [reply] = (await once(socket, 'data')) as [Buffer]
      if (!reply.toString('latin1').startsWith('HTTP/1.1 200 ')) throw new Error(`${reply}`)
      socket.resume()
      socket.once('close', () => {
        console.error('a connection was closed')
        process.exit(1)
      })
    }
  }
  await Promise.all(Array.from({ length: openingMax }, openSome))
}
