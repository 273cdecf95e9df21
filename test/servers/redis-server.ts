// A Redis as gateways share it: the distribution's own server on a loopback port, without persistence, in a
// folder of its own. A test can kill it, make it silent and start it again on the same port.

import { Redis } from 'ioredis'
import { makeFolder, removeFolder, type Server, startServer } from './lifetime.ts'
import { accepting, freePort } from './ready.ts'

const startsMax = 5

export type RedisServer = {
  readonly port: number
  readonly url: string
  /** A connection of the test's own, to look at and tamper with what is kept; closed by `stop`. */
  readonly client: Redis
  /** SIGKILL: all that it held is gone. */
  kill(): Promise<void>
  /** Starts it again on its port after `kill`. */
  start(): Promise<void>
  /** SIGSTOP: it accepts connections and answers nothing. */
  pause(): void
  resume(): void
  stop(): Promise<void>
}

/** Starts redis-server; `args` are further options, as in `--maxmemory 2mb`. */
export async function startRedis(...args: readonly string[]): Promise<RedisServer> {
  const folder = makeFolder('redis')
  let [server, port] = await startSomewhere(folder, args)
  const secured = args.indexOf('--requirepass')
  const login = secured < 0 ? {} : { password: String(args[secured + 1]) }
  const client = new Redis({ port, host: '127.0.0.1', retryStrategy: () => 50, ...login })
  // The test's own commands wait for the server to come back.
  client.on('error', () => {})
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    client,
    kill: async () => {
      server.child.kill('SIGKILL')
      await server.stop()
    },
    start: async () => {
      server = await startAt(port, folder, args)
    },
    pause: () => void server.child.kill('SIGSTOP'),
    resume: () => void server.child.kill('SIGCONT'),
    stop: async () => {
      client.disconnect()
      server.child.kill('SIGCONT')
      await server.stop()
      removeFolder(folder)
    },
  }
}

async function startSomewhere(folder: string, args: readonly string[]): Promise<[Server, number]> {
  for (let tries = 1; ; tries++) {
    const port = await freePort()
    try {
      return [await startAt(port, folder, args), port]
    } catch (error) {
      if (tries === startsMax) throw error
    }
  }
}

async function startAt(port: number, folder: string, args: readonly string[]): Promise<Server> {
  const own = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--dir', folder]
  const server = await startServer('redis-server', [...own, '--appendonly', 'no', ...args])
  await accepting(server, port)
  return server
}
