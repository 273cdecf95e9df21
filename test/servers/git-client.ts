// git as people run it, apart from the settings of whoever runs the tests: an empty home, no credential
// helper, no prompt, one fixed author.

import { join } from 'node:path'
import { type CommandOptions, type Finished, mustRun, run } from './command.ts'
import { makeFolder, removeFolder } from './lifetime.ts'

export type GitClient = {
  /** Folder for clones; gone after `remove`. */
  readonly folder: string
  /** Runs git in a folder below `folder`, whatever its exit status. */
  run(where: string, args: readonly string[], options?: CommandOptions): Promise<Finished>
  /** Runs git, resolves with stdout without its last line end; rejects when the status is not 0. */
  git(where: string, ...args: readonly string[]): Promise<string>
  remove(): void
}

/** A new home and folder for clones. */
export function createGitClient(): GitClient {
  const folder = makeFolder('clones')
  const env = gitEnvironment(folder)
  return {
    folder,
    run: (where, args, options = {}) =>
      run('git', args, { ...options, cwd: join(folder, where), env: { ...env, ...options.env } }),
    git: async (where, ...args) =>
      (await mustRun('git', args, { cwd: join(folder, where), env })).replace(/\n$/, ''),
    remove: () => removeFolder(folder),
  }
}

/** The environment that keeps git to itself: `home` holds no settings. */
export function gitEnvironment(home: string): NodeJS.ProcessEnv {
  return {
    HOME: home,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_CONFIG_COUNT: '1',
    GIT_CONFIG_KEY_0: 'init.defaultBranch',
    GIT_CONFIG_VALUE_0: 'main',
    GIT_AUTHOR_NAME: 'Ada',
    GIT_AUTHOR_EMAIL: 'ada@example.com',
    GIT_COMMITTER_NAME: 'Ada',
    GIT_COMMITTER_EMAIL: 'ada@example.com',
  }
}
