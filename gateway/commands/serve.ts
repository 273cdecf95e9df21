// `serve`: runs the gateway until it is told to stop. SIGTERM and SIGINT drain; a second one ends at once.

import { availableParallelism } from 'node:os'
import { Command } from 'commander'
import type { Configuration, ServerSettings } from '../configuration/configuration.ts'
import { workersMax } from '../configuration/settings.ts'
import { type Log, makeLog } from '../telemetry/log.ts'
import { authorityFailure } from './authority.ts'
import { type CommandIo, configurationFile, readConfiguration } from './command.ts'
import { startFailure } from './serve-failure.ts'

type ServeOptions = { readonly config?: string; readonly check?: true }

/** The gateway, in one process or several. */
type Service = { start(): Promise<void>; stop(): Promise<void> }

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
  const workers = workerCount(configuration.server)
  const log = makeLog(workers === 1 ? undefined : {})
  const service = await open(configuration, workers, log)
  const stopped = stopOnSignal(service)
  process.on('SIGHUP', () => {
    log.warn('reload is not in this version: restart to read the configuration again')
  })
  try {
    await service.start()
  } catch (error) {
    throw startFailure(error)
  }
  await stopped
}

/** Resolves when the gateway has drained after the first signal. */
function stopOnSignal(service: Service): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let isStopping = false
  const stop = (): void => {
    if (isStopping) process.exit(1)
    isStopping = true
    service.stop().then(resolve, reject)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
  return promise
}

/** Making either opens its authority; nothing else of it can fail. One process loads nothing of several. */
async function open(configuration: Configuration, workers: number, log: Log): Promise<Service> {
  try {
    if (workers === 1) {
      const { Standalone } = await import('../standalone.ts')
      return new Standalone(configuration, log)
    }
    const { Primary } = await import('../workers/primary.ts')
    return new Primary(configuration, workers, log)
  } catch (error) {
    throw authorityFailure(configuration.tokens.authority.file, error)
  }
}

function workerCount({ workers }: ServerSettings): number {
  return workers === 'auto' ? Math.min(availableParallelism(), workersMax) : workers
}
