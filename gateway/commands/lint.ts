// `lint FILE…`: every complaint of a route map at once, and the table of what it permits.

import { Command } from 'commander'
import { lintFiles, renderLint } from '../lint.ts'
import type { CommandIo } from './command.ts'
import { CommandFailure } from './failure.ts'

export function lintCommand(io: CommandIo): Command {
  return new Command('lint')
    .description('check configuration files, run their examples, and show who may do what')
    .argument('<file...>', 'configuration files, each with what it includes')
    .action(async (files: string[]) => {
      const result = await lintFiles(files, io.environment)
      io.stdout(renderLint(result))
      const complaints = result.flatMap((file) => file.complaints)
      if (complaints.some(({ severity }) => severity === 'error')) throw new CommandFailure(78, '')
    })
}
