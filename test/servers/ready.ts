// Waiting for servers without sleeping: a condition is tried again until it holds or its deadline passes.

import net from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import type { Server } from './lifetime.ts'

/** Servers on a busy machine of two cores. */
const readyTimeoutMs = 20_000
const retryMs = 10

/** Resolves with the first value that is not undefined; rejects after the deadline, naming `what`. */
export async function until<T>(
  what: string,
  attempt: () => T | undefined | Promise<T | undefined>,
  timeoutMs = readyTimeoutMs,
): Promise<T> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const value = await attempt()
    if (value !== undefined) return value
    if (Date.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`)
    await pause(retryMs)
  }
}

/** Resolves when the server accepts connections on the loopback port; rejects when it has ended. */
export async function accepting(server: Server, port: number): Promise<void> {
  await until(`port ${port} accepts connections`, async () => {
    if (server.child.exitCode !== null || server.child.signalCode !== null) {
      throw new Error(`the server on port ${port} ended at once: ${server.output()}`)
    }
    return (await connects(port)) ? true : undefined
  })
}

/** A loopback port that nobody listens on: no program is given it where it asks for a free one. */
export const closedPort = 1

/** A loopback port that nobody listens on at this moment. Another program may take it: try again then. */
export async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as net.AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

function connects(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
