// The demo's child processes. Each has a process group of its own, so that Ctrl-C reaches the demo alone,
// which then ends them in order; whatever happens, none outlives it.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'

/** How long a child may take to end by itself. */
const endTimeoutMs = 5_000

const running = new Set<ChildProcess>()

export type Child = {
  /** Resolves with a value that `find` sees in what the child has written; rejects when the child ends. */
  says(find: (output: string) => string | undefined): Promise<string>
  readonly exited: Promise<void>
  output(): string
  stop(): Promise<void>
}

/** Starts a program that stays. */
export function startChild(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Child {
  const child = spawn(command, args, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let heard: () => void = () => {}
  const hear = (text: string): void => {
    output += text
    heard()
  }
  child.stdout.setEncoding('utf8').on('data', hear)
  child.stderr.setEncoding('utf8').on('data', hear)
  running.add(child)
  const exited = new Promise<void>((resolve) => {
    child.once('error', (error) => hear(`${error.message}\n`))
    child.once('close', () => {
      running.delete(child)
      resolve()
    })
  })

  return {
    exited,
    output: () => output,
    says: (find) =>
      new Promise((resolve, reject) => {
        heard = () => {
          const found = find(output)
          if (found !== undefined) resolve(found)
        }
        heard()
        void exited.then(() => reject(new Error(`${command} has ended:\n${output}`)))
      }),
    stop: async () => {
      child.kill('SIGTERM')
      const timer = setTimeout(() => kill(child), endTimeoutMs)
      await exited
      clearTimeout(timer)
    },
  }
}

/** Runs a program to its end. Throws with what it said when its status is not 0. */
export function runToEnd(
  command: string,
  args: readonly string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv; input?: string; timeout?: number } = {},
): string {
  const done = spawnSync(command, args, { ...options, encoding: 'utf8' })
  if (done.error !== undefined) throw done.error
  if (done.status === 0) return done.stdout.trim()
  throw new Error(`${command} ${args.join(' ')}:\n${done.stdout}${done.stderr}`)
}

function kill(child: ChildProcess): void {
  try {
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}

process.on('exit', () => {
  for (const child of running) kill(child)
})
