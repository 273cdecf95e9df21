// A load at a fixed rate, and the latency of each reply from the time that its request was due: one that
// waits for the server, for a connection or for this process has waited (no coordinated omission). A process of
// its own, which answers each offer that it is sent with its figures, and has compiled itself after the first.

import net from 'node:net'
import { Worker } from 'node:worker_threads'
import { stolenTicks } from './cpu.ts'
import { clock, type Pace } from './pace.ts'
import { tokenField } from './scene.ts'
import { median, percentile } from './statistics.ts'

export type Offer = {
  readonly url: string
  readonly tokens: readonly string[]
  /** Requests a second. */
  readonly rate: number
  readonly seconds: number
  readonly connections: number
}

/**
 * Milliseconds. p50 and p99 are those of each window of 100 ms, and of them the median: what the machine does
 * now and then stays out (a kernel that watches its memory, as with DAMON, holds each core for some milliseconds
 * twice a second), what a server does again and again is in. Windows in which a hypervisor took a core away do not
 * count, nor those behind them, where there are others. `late` is what the generator itself came too late, of the
 * same requests.
 */
export type RateFigures = {
  readonly p50: number
  readonly p99: number
  /** Of all requests, the rarest stall included. */
  readonly wholeP99: number
  readonly lateP99: number
  /** Of the windows those in which, and in the one before, nothing was taken away. */
  readonly quietPart: number
  readonly requests: number
}

/** The first of the load is not counted. */
const uncountedPart = 0.25
const windowMs = 100
/** For the thread of the clock to start. */
const headStartMs = 200
/** What replies may take after the last request. */
const endTimeoutMs = 10_000

type Connection = { readonly socket: net.Socket; number: number; head: string; bodyBytes: number }

process.on('message', async (order: Offer) => {
  process.send?.((await offer(order)) satisfies RateFigures)
})

async function offer({ url, tokens, rate, seconds, connections }: Offer): Promise<RateFigures> {
  const { hostname, port, host } = new URL(url)
  const requests = tokens.map((token, i) => writeRequest(host, i, token))
  const everyMs = 1000 / rate
  const count = Math.floor(rate * seconds)
  const firstCounted = Math.floor(count * uncountedPart)
  const latencies = new Float64Array(count)
  const late = new Float64Array(count)
  const free: Connection[] = []
  const size = Math.max(1, Math.round(windowMs / everyMs))
  /** What was taken away until each window began. */
  const stolen: number[] = []
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let sent = 0
  let answered = 0

  await Promise.all(Array.from({ length: connections }, open))
  const startsAt = clock() + headStartMs
  const workerData: Pace = { startsAt, everyMs, count }
  const worker = new Worker(new URL('./pace.ts', import.meta.url), { workerData })
  worker.on('message', sendDue)
  worker.on('error', reject)
  const missing = (): void => reject(new Error(`${count - answered} of ${count} without a reply`))
  const timer = setTimeout(missing, headStartMs + count * everyMs + endTimeoutMs)
  await promise
  clearTimeout(timer)
  for (const { socket } of free) socket.destroy()
  stolen.push(stolenTicks())
  const windows = wholeWindows(firstCounted, count, size)
  const quiet = windows.filter((at) => stolen[at + 1] === stolen[at - 1])
  const figure = (values: Float64Array, of: readonly number[], part: number): number =>
    median(of.map((at) => percentile(values.slice(at * size, (at + 1) * size).sort(), part)))
  const chosen = quiet.length > 0 ? quiet : windows
  const counted = latencies.subarray(firstCounted)
  return {
    p50: figure(latencies, chosen, 0.5),
    p99: figure(latencies, chosen, 0.99),
    wholeP99: percentile(counted.toSorted(), 0.99),
    lateP99: figure(late, chosen, 0.99),
    quietPart: quiet.length / windows.length,
    requests: counted.length,
  }

  function sendDue(): void {
    // The connection that is free the longest, so that all of them are used.
    while (sent < count && free.length > 0) {
      const now = clock()
      const dueAt = startsAt + sent * everyMs
      if (dueAt > now) return
      const connection = free.shift()!
      connection.number = sent
      late[sent] = now - dueAt
      connection.socket.write(requests[sent % requests.length]!)
      if (sent++ % size === 0) stolen.push(stolenTicks())
    }
  }

  function open(): Promise<void> {
    return new Promise((opened, failed) => {
      const socket = net.connect({ host: hostname, port: Number(port), noDelay: true })
      const connection: Connection = { socket, number: 0, head: '', bodyBytes: 0 }
      socket.once('error', (error) => {
        failed(error)
        reject(error)
      })
      socket.once('end', () => reject(new Error('the server ended a connection')))
      socket.once('connect', () => {
        free.push(connection)
        opened()
      })
      socket.on('data', (chunk: Buffer) => {
        if (!readReply(connection, chunk)) return
        const { number } = connection
        latencies[number] = clock() - (startsAt + number * everyMs)
        free.push(connection)
        if (++answered === count) resolve()
        else sendDue()
      })
    })
  }
}

/** The numbers of the whole windows behind the first, from the first counted request on. */
function wholeWindows(firstCounted: number, count: number, size: number): readonly number[] {
  const first = Math.max(1, Math.ceil(firstCounted / size))
  const windows = Math.floor(count / size) - first
  if (windows < 1) throw new Error(`${count} requests are too few for windows of ${size}`)
  return Array.from({ length: windows }, (_, i) => first + i)
}

/** True once a whole reply has come; throws at any but 200 with a length. */
function readReply(connection: Connection, chunk: Buffer): boolean {
  if (connection.bodyBytes === 0) {
    connection.head += chunk.toString('latin1')
    const end = connection.head.indexOf('\r\n\r\n')
    if (end < 0) return false
    const { head } = connection
    connection.head = ''
    const length = /\r\ncontent-length: *(\d+)\r\n/i.exec(head.slice(0, end + 2))?.[1]
    if (!head.startsWith('HTTP/1.1 200 ') || length === undefined) {
      throw new Error(`not 200 with a length: ${head.slice(0, end)}`)
    }
    connection.bodyBytes = end + 4 + Number(length) - head.length
  } else connection.bodyBytes -= chunk.length
  return connection.bodyBytes === 0
}

function writeRequest(host: string, number: number, token: string): Buffer {
  return Buffer.from(
    `GET /api/items/${number} HTTP/1.1\r\nHost: ${host}\r\n${tokenField}: ${token}\r\n` +
      'User-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n',
  )
}
