// `serve`: runs the gateway until it is told to stop. SIGTERM and SIGINT drain; a second one ends at once.

import { Command } from 'commander'
import type { Configuration } from '../configuration/configuration.ts'
import { Gateway } from '../gateway.ts'
import { type Log, makeLog } from '../telemetry/log.ts'
import { authorityFailure } from './authority.ts'
import { type CommandIo, configurationFile, readConfiguration } from './command.ts'
import { CommandFailure } from './failure.ts'

type ServeOptions = { readonly config?: string; readonly check?: true }

export function serveCommand(io: CommandIo): Command {
  return new Command('serve')
    .description('run the gateway')
    .option(
      '--config <file>',
      'configuration file (default: SCOPEGATE_CONFIG, config/gateway.yaml)',
    )
    .option('--check', 'read the configuration, say what is wrong with it, and end')
    .action((options: ServeOptions) => run(io, options))
}

async function run(io: CommandIo, options: ServeOptions): Promise<void> {
  const configuration = await readConfiguration(io, options.config)
  if (options.check) {
    io.stderr(`${configurationFile(io, options.config)} is good\n`)
    return
  }
  const log = makeLog()
  const gateway = open(configuration, log)
  const stopped = stopOnSignal(gateway)
  process.on('SIGHUP', () => {
    log.warn('reload is not in this version: restart to read the configuration again')
  })
  try {
    await gateway.start()
  } catch (error) {
    throw failure(error)
  }
  await stopped
}

/** Resolves when the gateway has drained after the first signal. */
function stopOnSignal(gateway: Gateway): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let isStopping = false
  const stop = (): void => {
    if (isStopping) process.exit(1)
    isStopping = true
    gateway.stop().then(resolve, reject)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  return promise
}

/** Making a gateway opens its authority; nothing else of it can fail. */
function open(configuration: Configuration, log: Log): Gateway {
  try {
    return new Gateway(configuration, log)
  } catch (error) {
    throw authorityFailure(configuration.tokens.authority.file, error)
  }
}

function failure(error: unknown): CommandFailure {
  if (error instanceof CommandFailure) return error
  const { code, address, port } = error as NodeJS.ErrnoException & {
    address?: string
    port?: number
  }
  if (code === 'EADDRINUSE') {
    return new CommandFailure(1, `${address}:${port} is taken by another process`, error)
  }
  return new CommandFailure(1, error instanceof Error ? error.message : String(error), error)
}
