// What a command has to do with the world outside: text in and out, the environment, and an exit code.
// Commands never end the process; only cli.ts does.

import type { Readable } from 'node:stream'
import type { Complaint, Configuration } from '../configuration/configuration.ts'
import { loadConfiguration } from '../configuration/load.ts'
import { CommandFailure } from './failure.ts'

export type CommandIo = {
  /** For data. */
  stdout(text: string): void
  /** For messages to people. */
  stderr(text: string): void
  readonly stdin: Readable
  readonly environment: Readonly<Record<string, string | undefined>>
}

const defaultConfigurationFile = 'config/gateway.yaml'

/** The file that `--config` names, else SCOPEGATE_CONFIG, else the repository's default. */
export function configurationFile(io: CommandIo, option: string | undefined): string {
  return option ?? (io.environment.SCOPEGATE_CONFIG || defaultConfigurationFile)
}

/** The configuration, or the failure of a bad one, whose complaints are then on stderr. */
export async function readConfiguration(
  io: CommandIo,
  option: string | undefined,
): Promise<Configuration> {
  const file = configurationFile(io, option)
  const { configuration, complaints } = await loadConfiguration(file, io.environment)
  if (configuration !== undefined) return configuration
  for (const complaint of complaints) io.stderr(`${writeComplaint(complaint)}\n`)
  throw new CommandFailure(78, complaints.length > 0 ? '' : `${file} cannot be read`)
}

/** `FILE:LINE:COL: message`, as editors and compilers write it. */
export function writeComplaint(complaint: Complaint): string {
  const severity = complaint.severity === 'warning' ? 'warning: ' : ''
  return `${complaint.file}:${complaint.line}:${complaint.column}: ${severity}${complaint.message}`
}
