// What the web servers of the git server (git-nginx.ts, git-apache.ts) have in common: what each is given,
// what each gives, and how it gets its port.

import { existsSync, readFileSync } from 'node:fs'
import { type Server, startServer } from './lifetime.ts'
import { accepting, freePort } from './ready.ts'

/** A free port may be taken by another program before the web server has it. */
const portTriesMax = 5

/** A line of the web server's access log, written when the request is over. */
export type GitRequest = {
  readonly method: string
  /** Path and query as received. */
  readonly uri: string
  readonly status: number
  readonly authorization: string
  readonly subject: string
}

export type GitPaths = {
  /** Where the web server keeps what is its own; the HOME of its backends. */
  readonly folder: string
  /** The folder of the repositories. */
  readonly root: string
  /** The program git-http-backend. */
  readonly backend: string
}

export type GitWeb = {
  readonly port: number
  /** The group of processes that backends run in. */
  readonly backendGroup: number
  /** Whether no request is being served; each that was has its line in the log. */
  isIdle(): Promise<boolean>
  /** The requests of the log. */
  records(): readonly GitRequest[]
  stop(): Promise<void>
}

/** Starts a web server on a free loopback port. `configure` writes its configuration for that port. */
export async function startOnFreePort(
  command: readonly [string, ...string[]],
  configure: (port: number) => void,
): Promise<{ server: Server; port: number }> {
  const [program, ...args] = command
  for (let tries = 1; ; tries++) {
    const port = await freePort()
    configure(port)
    const server = await startServer(program, args)
    try {
      await accepting(server, port)
      return { server, port }
    } catch (error) {
      await server.stop()
      if (tries === portTriesMax || !server.output().includes('Address already in use')) throw error
    }
  }
}

/** The text of the web server's page of its own state. */
export async function readStatus(url: string): Promise<string> {
  return (await fetch(url, { headers: { connection: 'close' } })).text()
}

/** The lines of a file that may not be there yet. */
export function readLines(file: string): readonly string[] {
  if (!existsSync(file)) return []
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
}
