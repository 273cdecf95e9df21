// The sure end of everything that a test starts or creates: child processes in process groups of their
// own, and folders. All of it goes when the test's process ends, however it ends (short of SIGKILL).
// Only groups that were started here are ever signalled.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** How long a server may take to end after SIGTERM before its group is killed. */
const endTimeoutMs = 5_000

/** The groups that run, and how each is ended with the process. */
const groups = new Map<number, 'SIGKILL' | 'SIGTERM'>()
const folders = new Set<string>()

export type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null }

/** A child process in a group of its own. */
export type Server = {
  readonly pid: number
  readonly child: ChildProcess
  readonly exited: Promise<Exit>
  /** All that it wrote to stdout and stderr so far. */
  output(): string
  /** Asks it to end with SIGTERM, then ends what is left of its group. */
  stop(): Promise<Exit>
}

export type ServerOptions = {
  readonly env?: NodeJS.ProcessEnv
  readonly cwd?: string
  readonly stdin?: 'ignore' | 'pipe'
  /** It has children in groups of their own, which it ends by itself when it is asked to. */
  readonly endsItsOwn?: boolean
}

/** Starts a program that stays. Rejects when it cannot be started at all. */
export async function startServer(
  command: string,
  args: readonly string[],
  options: ServerOptions = {},
): Promise<Server> {
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env ?? plainEnvironment(),
    stdio: [options.stdin ?? 'ignore', 'pipe', 'pipe'],
    detached: true,
  })
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', reject)
  })
  const pid = child.pid as number
  groups.set(pid, options.endsItsOwn ? 'SIGTERM' : 'SIGKILL')
  const chunks: Buffer[] = []
  child.stdout?.on('data', (chunk: Buffer) => chunks.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => chunks.push(chunk))
  const exited = new Promise<Exit>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal }))
  })
  return { pid, child, exited, output: () => Buffer.concat(chunks).toString('utf8'), stop }

  async function stop(): Promise<Exit> {
    child.kill('SIGTERM')
    const timer = setTimeout(() => signalGroup(pid, 'SIGKILL'), endTimeoutMs)
    // What it leaves behind in its group goes with it, and with that the last hands on its pipes.
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    clearTimeout(timer)
    signalGroup(pid, 'SIGKILL')
    groups.delete(pid)
    return await exited
  }
}

/** A new folder below the system's folder for temporary files. Gone when the process ends. */
export function makeFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `scopegate-${name}-`))
  folders.add(folder)
  return folder
}

/** Removes a folder of `makeFolder` at once. */
export function removeFolder(folder: string): void {
  folders.delete(folder)
  rmSync(folder, { recursive: true, force: true })
}

/** PATH with the folders of servers, and nothing of the caller's: no proxies, helpers or languages. */
export function plainEnvironment(extra: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return { PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LANG: 'C.UTF-8', ...extra }
}

/** Signals a group of `startServer`, as a terminal does on Ctrl-C. */
export function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    if (groups.has(pid)) process.kill(-pid, signal)
  } catch {
    // ESRCH: the whole group has ended.
  }
}

function endAll(): void {
  for (const [pid, signal] of groups) signalGroup(pid, signal)
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  groups.clear()
  folders.clear()
}

process.on('exit', endAll)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGALRM'] as const) {
  process.once(signal, () => {
    endAll()
    process.kill(process.pid, signal)
  })
}
