// Programs that a test runs to their end: git, curl, skopeo, the gateway's own command line.

import { spawn } from 'node:child_process'
import { plainEnvironment } from './lifetime.ts'

const commandTimeoutMs = 60_000

export type Finished = {
  /** Exit status; 128 + the signal's number is not used: a signal is -1. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export type CommandOptions = {
  readonly cwd?: string
  /** Added to PATH and LANG; nothing else is inherited. */
  readonly env?: NodeJS.ProcessEnv
  /** Given on stdin; without it stdin is empty. */
  readonly input?: string | Buffer
  readonly timeoutMs?: number
}

/** Runs a program to its end, whatever its exit status. Rejects when it cannot start or takes too long. */
export function run(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<Finished> {
  const timeoutMs = options.timeoutMs ?? commandTimeoutMs
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: options.cwd, env: plainEnvironment(options.env) })
    const stdout: Buffer[] = []
    const stderr: Buffer[] = []
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      const soFar = Buffer.concat(stderr).toString('utf8')
      reject(new Error(`${command} ${args.join(' ')}: not done in ${timeoutMs} ms\n${soFar}`))
    }, timeoutMs)
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk))
    child.once('error', (error) => {
      clearTimeout(timer)
      reject(error)
    })
    child.once('close', (code) => {
      clearTimeout(timer)
      resolve({
        code: code ?? -1,
        stdout: Buffer.concat(stdout).toString('utf8'),
        stderr: Buffer.concat(stderr).toString('utf8'),
      })
    })
    // A program that ends before it has read its input breaks the pipe; its exit status tells.
    child.stdin.on('error', () => {})
    child.stdin.end(options.input ?? '')
  })
}

/** As `run`, and resolves with stdout; rejects with all that the program said when its status is not 0. */
export async function mustRun(
  command: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const done = await run(command, args, options)
  if (done.code === 0) return done.stdout
  throw new Error(`${command} ${args.join(' ')}: status ${done.code}\n${done.stdout}${done.stderr}`)
}
