// A git server as a platform team runs it: nginx in front of git-http-backend (by fcgiwrap) over a folder
// of bare repositories, with its access log. Knows nothing of tokens.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { mustRun } from './command.ts'
import { gitEnvironment } from './git-client.ts'
import { makeFolder, removeFolder, type Server, startServer } from './lifetime.ts'
import { accepting, freePort, until } from './ready.ts'

/** A free port may be taken by another program before nginx has it. */
const portTriesMax = 5
/** git-http-backends at a time. */
const backendsMax = 4

/** A line of nginx's access log, written when the request is over. */
export type GitRequest = {
  readonly method: string
  /** Path and query as received. */
  readonly uri: string
  readonly status: number
  readonly authorization: string
  readonly subject: string
}

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
  stop(): Promise<void>
}

/** Starts nginx and fcgiwrap on a free loopback port. */
export async function startGitServer(): Promise<GitServer> {
  const folder = makeFolder('git')
  const root = join(folder, 'repositories')
  const env = gitEnvironment(folder)
  const socket = join(folder, 'fcgiwrap.socket')
  await mustRun('mkdir', ['-p', root, join(folder, 'scratch')])
  const backend = join((await mustRun('git', ['--exec-path'])).trim(), 'git-http-backend')
  const fcgiwrap = await startServer('fcgiwrap', [
    '-f',
    '-c',
    `${backendsMax}`,
    '-s',
    `unix:${socket}`,
  ])
  const { nginx, port } = await startNginx(folder, { root, socket, backend })
  const url = `http://127.0.0.1:${port}`
  return {
    url,
    port,
    root,
    createRepository,
    git: async (name, ...args) => {
      const where = join(root, `${name}.git`)
      return (await mustRun('git', args, { cwd: where, env })).replace(/\n$/, '')
    },
    requests: async () => {
      await until('the git server has no open request', () => isIdle(url))
      return readLog(join(folder, 'access.log'))
    },
    stop: async () => {
      await nginx.stop()
      await fcgiwrap.stop()
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

type Paths = { readonly root: string; readonly socket: string; readonly backend: string }

async function startNginx(folder: string, paths: Paths): Promise<{ nginx: Server; port: number }> {
  const file = join(folder, 'nginx.conf')
  for (let tries = 1; ; tries++) {
    const port = await freePort()
    writeFileSync(file, nginxConfiguration(folder, paths, port))
    const nginx = await startServer('nginx', ['-p', folder, '-c', file, '-e', 'stderr'])
    try {
      await accepting(nginx, port)
      return { nginx, port }
    } catch (error) {
      await nginx.stop()
      if (tries === portTriesMax || !nginx.output().includes('Address already in use')) throw error
    }
  }
}

// Buffering stays as nginx has it: the whole request is read before the backend starts.
function nginxConfiguration(folder: string, paths: Paths, port: number): string {
  return `${process.getuid?.() === 0 ? 'user root;\n' : ''}daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log stderr warn;
events { worker_connections 512; }
http {
  log_format records escape=json '{"method":"$request_method","uri":"$request_uri",'
    '"status":$status,"authorization":"$http_authorization","subject":"$http_x_remote_user"}';
  access_log ${folder}/access.log records;
  client_body_temp_path ${folder}/scratch/body;
  fastcgi_temp_path ${folder}/scratch/fastcgi;
  proxy_temp_path ${folder}/scratch/proxy;
  uwsgi_temp_path ${folder}/scratch/uwsgi;
  scgi_temp_path ${folder}/scratch/scgi;
  client_max_body_size 0;
  server {
    listen 127.0.0.1:${port};
    location = /-/status { stub_status; access_log off; }
    location / {
      fastcgi_pass unix:${paths.socket};
      fastcgi_read_timeout 300s;
      fastcgi_param SCRIPT_FILENAME ${paths.backend};
      fastcgi_param GIT_PROJECT_ROOT ${paths.root};
      fastcgi_param GIT_HTTP_EXPORT_ALL 1;
      fastcgi_param GIT_PROTOCOL $http_git_protocol;
      fastcgi_param HOME ${folder};
      fastcgi_param PATH_INFO $uri;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
      fastcgi_param REMOTE_USER $http_x_remote_user;
      fastcgi_param REMOTE_ADDR $remote_addr;
    }
  }
}
`
}

// nginx counts a request as read or written from its first byte until it has written its log line; the
// question itself is the one that is left.
async function isIdle(url: string): Promise<true | undefined> {
  const status = await (await fetch(`${url}/-/status`, { headers: { connection: 'close' } })).text()
  return /Reading: 0 Writing: 1 /.test(status) ? true : undefined
}

function readLog(file: string): readonly GitRequest[] {
  const lines = readFileSync(file, 'utf8').split('\n')
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as GitRequest)
}
