#!/usr/bin/env node
// From argv to a command and its exit code (sysexits.h for 78). Only here, and on
// a second signal while the gateway drains, does the process end.

import { Command, CommanderError } from 'commander'
import { CommandFailure, type CommandIo } from './commands/command.ts'
import { explainCommand } from './commands/explain.ts'
import { lintCommand } from './commands/lint.ts'
import { serveCommand } from './commands/serve.ts'
import { tokenCommand } from './commands/token.ts'
import { readVersion } from './version.ts'

const usageExitCode = 2

const io: CommandIo = {
  stdout: (text) => void process.stdout.write(text),
  stderr: (text) => void process.stderr.write(text),
  stdin: process.stdin,
  environment: process.env,
}

process.exitCode = await run(process.argv.slice(2))

async function run(argv: readonly string[]): Promise<number> {
  try {
    await program().parseAsync(argv, { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : usageExitCode
    if (!(error instanceof CommandFailure)) throw error
    if (error.message !== '') io.stderr(`scopegate: ${error.message}\n`)
    return error.exitCode
  }
}

function program(): Command {
  const root = new Command('scopegate')
    .description('Fine-grained tokens in front of REST APIs, git servers and registries.')
    .version(readVersion(), '-V, --version')
    .exitOverride()
    .configureOutput({ writeOut: io.stdout, writeErr: io.stderr })
    .showHelpAfterError('(--help says more)')
  for (const command of [
    serveCommand(io),
    lintCommand(io),
    explainCommand(io),
    tokenCommand(io),
    new Command('version').description('print the version').action(() => {
      io.stdout(`${readVersion()}\n`)
    }),
  ]) {
    root.addCommand(command.copyInheritedSettings(root))
  }
  return root
}
