// A git server as platform teams run it: a web server in front of git-http-backend over a folder of bare
// repositories, with its access log. Knows nothing of tokens.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { mustRun } from './command.ts'
import { startApache } from './git-apache.ts'
import { gitEnvironment } from './git-client.ts'
import { startNginx } from './git-nginx.ts'
import type { GitPaths, GitRequest, GitWeb } from './git-web.ts'
import { makeFolder, removeFolder } from './lifetime.ts'
import { until } from './ready.ts'

/**
 * The web server before git-http-backend. `nginx` reads the whole request before the backend starts; with
 * `nginx-streaming` and `apache` the backend runs while the body arrives.
 */
export type GitServerWeb = 'nginx' | 'nginx-streaming' | 'apache'

export type GitServer = {
  readonly url: string
  readonly port: number
  /** The folder of the repositories. */
  readonly root: string
  /** Makes an empty bare repository that may be pushed to; `name` without `.git`. Resolves with its folder. */
  createRepository(name: string, options?: { objectFormat?: 'sha1' | 'sha256' }): Promise<string>
  /** Runs git in a repository, as its administrator. Resolves with stdout without its last line end. */
  git(name: string, ...args: readonly string[]): Promise<string>
  /** Every request so far, once no request is being served. */
  requests(): Promise<readonly GitRequest[]>
  /**
   * The pids of the programs that serve requests at this moment: git-http-backend and what it starts
   * (upload-pack, receive-pack, index-pack …). One that serves a request which the web server has given up
   * counts as long as it lives. Reads /proc: Linux only.
   */
  backends(): Promise<readonly number[]>
  /** The folders in which a repository keeps packs that it has not taken, by name, at this moment. */
  quarantines(name: string): readonly string[]
  stop(): Promise<void>
}

/** Starts git-http-backend behind a web server on a free loopback port. */
export async function startGitServer(options: { web?: GitServerWeb } = {}): Promise<GitServer> {
  const folder = makeFolder('git')
  const root = join(folder, 'repositories')
  const env = gitEnvironment(folder)
  await mustRun('mkdir', ['-p', root])
  const backend = join((await mustRun('git', ['--exec-path'])).trim(), 'git-http-backend')
  const web = await startWeb(options.web ?? 'nginx', { folder, root, backend })
  return {
    url: `http://127.0.0.1:${web.port}`,
    port: web.port,
    root,
    createRepository,
    git: async (name, ...args) => {
      const where = join(root, `${name}.git`)
      return (await mustRun('git', args, { cwd: where, env })).replace(/\n$/, '')
    },
    requests: async () => {
      await until('the git server has no open request', async () =>
        (await web.isIdle()) ? true : undefined,
      )
      return web.records()
    },
    backends: async () => gitProcesses(web.backendGroup),
    quarantines: (name) =>
      readdirSync(join(root, `${name}.git`, 'objects')).filter((entry) =>
        /^(tmp_objdir-)?incoming-/.test(entry),
      ),
    stop: async () => {
      await web.stop()
      removeFolder(folder)
    },
  }

  async function createRepository(
    name: string,
    options: { objectFormat?: 'sha1' | 'sha256' } = {},
  ): Promise<string> {
    const path = join(root, `${name}.git`)
    const format = `--object-format=${options.objectFormat ?? 'sha1'}`
    await mustRun('git', ['init', '-q', '--bare', format, path], { env })
    await mustRun('git', ['config', 'http.receivepack', 'true'], { cwd: path, env })
    return path
  }
}

function startWeb(web: GitServerWeb, paths: GitPaths): Promise<GitWeb> {
  return web === 'apache' ? startApache(paths) : startNginx(paths, web === 'nginx-streaming')
}

// An orphan stays in the group in which it was started; and unlike an environment, everyone may read the
// group of every process. Linux, proc(5): `pid (name) state ppid pgrp …`; one that has ended (Z) is none.
function gitProcesses(group: number): number[] {
  const pids = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))
  const isGit = (pid: string): boolean => {
    const [, name, state, pgrp] = /^\d+ \((.*)\) (\S) \d+ (\d+) /s.exec(statusOf(pid)) ?? []
    return Number(pgrp) === group && state !== 'Z' && name?.startsWith('git') === true
  }
  return pids.filter(isGit).map(Number)
}

function statusOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return ''
  }
}
