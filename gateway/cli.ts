// From argv to a command and its exit code (sysexits.h for 78). Only here, and on
// a second signal while the gateway drains, does the process end.

import { Command, CommanderError } from 'commander'
import type { CommandIo } from './commands/command.ts'
import { CommandFailure } from './commands/failure.ts'
import { readVersion } from './version.ts'

const usageExitCode = 2

const io: CommandIo = {
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  stdin: process.stdin,
  environment: process.env,
}

/** Each command loads what it needs when it is called; all of them only for their help. */
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./commands/serve.ts')).serveCommand(io),
  lint: async () => (await import('./commands/lint.ts')).lintCommand(io),
  explain: async () => (await import('./commands/explain.ts')).explainCommand(io),
  token: async () => (await import('./commands/token.ts')).tokenCommand(io),
  version: async () =>
    new Command('version').description('print the version').action(() => {
      io.stdout(`${readVersion()}\n`)
    }),
}

// Whoever reads the output may have seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  io.stderr(`scopegate: the output cannot be written: ${error.code}\n`)
  process.exit(1)
})

process.exitCode = await run(process.argv.slice(2))

async function run(argv: readonly string[]): Promise<number> {
  try {
    await (await program(argv[0])).parseAsync(argv, { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : usageExitCode
    if (!(error instanceof CommandFailure)) throw error
    if (error.message !== '') io.stderr(`scopegate: ${error.message}\n`)
    return error.exitCode
  }
}

async function program(name: string | undefined): Promise<Command> {
  const root = new Command('scopegate')
    .description('Fine-grained tokens in front of REST APIs, git servers and registries.')
    .version(readVersion(), '-V, --version')
    .exitOverride()
    .configureOutput({ writeOut: io.stdout, writeErr: io.stderr })
    .showHelpAfterError('(--help says more)')
  const called = Object.hasOwn(commands, name ?? '') ? commands[name ?? ''] : undefined
  for (const load of called === undefined ? Object.values(commands) : [called]) {
    root.addCommand((await load()).copyInheritedSettings(root))
  }
  return root
}
