// The machine of a measurement and the versions of what was measured, for the file of results.

import { cpus, release, totalmem } from 'node:os'
import { run } from '../servers/command.ts'

export type Machine = {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly kernel: string
  readonly versions: Readonly<Record<string, string>>
}

export async function describeMachine(): Promise<Machine> {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    versions: {
      node: process.versions.node,
      nginx: await version('nginx', ['-v']),
      haproxy: await version('haproxy', ['-v']),
      caddy: await version('caddy', ['version']),
      redis: await version('redis-server', ['--version']),
      // It says so and then asks for its arguments.
      wrk: await version('wrk', ['-v']),
    },
  }
}

async function version(program: string, args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await run(program, args)
  return /\d+\.\d+[\w.+-]*/.exec(stdout + stderr)?.[0] ?? 'unknown'
}
