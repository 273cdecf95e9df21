// The gateway as people run it: `serve` in a process of its own, with a configuration and a token
// authority in a new folder. In this process it only makes tokens, which tests need in numbers.

import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { tokenCommand } from '../../gateway/commands/token.ts'
import { type Finished, run } from './command.ts'
import { type Exit, makeFolder, plainEnvironment, removeFolder, startServer } from './lifetime.ts'
import { until } from './ready.ts'

/** What is added to the gateway's own drain timeout before a test calls it stuck. */
const exitGraceMs = 2_000

/** The repository. */
export const projectFolder = fileURLToPath(new URL('../..', import.meta.url))

/** One line of the gateway's log. */
export type LogLine = Readonly<Record<string, unknown>>

export type Gateway = {
  /** `http://host:port` of the first listener. */
  readonly url: string
  /** The same of the management listener; undefined where the configuration turns it off. */
  readonly managementUrl: string | undefined
  readonly pid: number
  /** The folder that holds the configuration, its files and the authority. */
  readonly folder: string
  readonly configFile: string
  /** The log so far; lines that are not JSON are in `messages`. */
  log(): readonly LogLine[]
  /** All of stdout and stderr. */
  messages(): string
  /** Resolves with the first line of the log that fulfils the condition, now or later. */
  logged(what: string, condition: (line: LogLine) => boolean): Promise<LogLine>
  /** What `token create` makes of these further arguments, without a process of its own; resolves with the token. */
  token(...args: readonly string[]): Promise<string>
  /** Any command of the program; `--config` is added. */
  command(...args: readonly string[]): Promise<Finished>
  signal(signal: NodeJS.Signals): void
  readonly exited: Promise<Exit>
  /** Ends it with SIGTERM. Rejects when it does not exit with 0 in time, or wrote to stderr that it failed. */
  stop(drainTimeoutMs?: number): Promise<void>
}

export type GatewayOptions = {
  /** Further files beside the configuration, by relative name. */
  readonly files?: Readonly<Record<string, string>>
  readonly env?: NodeJS.ProcessEnv
  /** The file that Node starts, where it is not the one of this repository. */
  readonly program?: string
}

/**
 * Starts the gateway. An object gets what it leaves out of `version`, `listen`, `management` and `tokens`
 * from the tests; a text is taken as it is.
 */
export async function startGateway(
  configuration: string | object,
  options: GatewayOptions = {},
): Promise<Gateway> {
  const folder = makeFolder('gateway')
  const configFile = writeConfiguration(folder, configuration, options.files ?? {})
  const env = { HOME: folder, NODE_COMPILE_CACHE: compileCache, ...options.env }
  const { program = cli } = options
  const server = await startServer(process.execPath, [program, 'serve', '--config', configFile], {
    env: plainEnvironment(env),
    cwd: folder,
  })
  const log = (): LogLine[] => parseLog(server.output())
  const listening = (management: boolean): LogLine | undefined =>
    log().find((line) => line.msg === 'listening' && (line.management === true) === management)
  const withManagement = !/management["']?: *["']?off/.test(
    typeof configuration === 'string' ? configuration : JSON.stringify(configuration),
  )
  await until('the gateway listens', () => {
    if (server.child.exitCode !== null || server.child.signalCode !== null) {
      throw new Error(`the gateway ended at once: ${server.output()}`)
    }
    return listening(false) && (!withManagement || listening(true)) ? true : undefined
  })
  const command: Gateway['command'] = (...args) =>
    run(process.execPath, [program, ...args, '--config', configFile], { env, cwd: folder })

  return {
    url: String(listening(false)?.url),
    managementUrl: withManagement ? String(listening(true)?.url) : undefined,
    pid: server.pid,
    folder,
    configFile,
    log,
    messages: server.output,
    logged: (what, condition) => until(`a log line: ${what}`, () => log().find(condition)),
    token: async (...args) => {
      let [token, messages] = ['', '']
      const program = tokenCommand({
        stdout: (text) => (token += text),
        stderr: (text) => (messages += text),
        stdin: Readable.from([]),
        environment: plainEnvironment(env),
      })
      try {
        await program.parseAsync(['create', ...args, '--config', configFile], { from: 'user' })
      } catch (cause) {
        throw new Error(`token create ${args.join(' ')}: ${messages}`, { cause })
      }
      return token.trim()
    },
    command,
    signal: (signal) => void server.child.kill(signal),
    exited: server.exited,
    stop: async (drainTimeoutMs = 30_000) => {
      server.child.kill('SIGTERM')
      const late = AbortSignal.timeout(drainTimeoutMs + exitGraceMs)
      const ended = server.child.exitCode !== null || server.child.signalCode !== null
      if (!ended) await once(server.child, 'exit', { signal: late }).catch(() => {})
      const { exitCode } = server.child
      await server.stop()
      removeFolder(folder)
      if (exitCode !== 0) throw new Error(`the gateway's exit: ${exitCode}\n${server.output()}`)
    },
  }
}

const cli = join(projectFolder, 'gateway', 'main.js')

/** Halves the start of the many processes of a test; Node keeps it by the content of the sources. */
const compileCache = join(projectFolder, 'node_modules', '.cache', 'compile')

function writeConfiguration(
  folder: string,
  configuration: string | object,
  files: Readonly<Record<string, string>>,
): string {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), content)
  }
  const file = join(folder, 'gateway.yaml')
  const text =
    typeof configuration === 'string'
      ? configuration
      : JSON.stringify({
          version: 1,
          listen: { host: '127.0.0.1', port: 0 },
          management: { port: 0 },
          tokens: { authority: 'sqlite:var/tokens.db' },
          ...configuration,
        })
  writeFileSync(file, text)
  return file
}

// The last line may not be whole yet.
function parseLog(output: string): LogLine[] {
  return output
    .split('\n')
    .slice(0, -1)
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as LogLine)
}
