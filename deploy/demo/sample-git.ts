// A git server without a web server: `git http-backend` as CGI (RFC 3875, git-http-backend(1)) behind
// node:http, over one folder of bare repositories. It asks for no password: that is the gateway's work.

import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { runToEnd } from './child.ts'

export type Upstream = { readonly url: string; stop(): Promise<void> }

/** Serves the repositories below `folder`; makes `acme/hello.git` there, with one commit. */
export async function startGit(folder: string): Promise<Upstream> {
  // The settings of whoever runs the demo stay out of it.
  const env = { PATH: process.env.PATH, HOME: folder, GIT_CONFIG_NOSYSTEM: '1' }
  makeRepository(join(folder, 'acme', 'hello.git'), env)
  const backend = join(runToEnd('git', ['--exec-path'], { env }), 'git-http-backend')
  const server = http.createServer((req, res) => runBackend(backend, { ...env, folder }, req, res))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function makeRepository(path: string, env: NodeJS.ProcessEnv): void {
  mkdirSync(path, { recursive: true })
  runToEnd('git', ['init', '--quiet', '--bare', path], { env })
  runToEnd('git', ['symbolic-ref', 'HEAD', 'refs/heads/main'], { cwd: path, env })
  runToEnd('git', ['config', 'http.receivepack', 'true'], { cwd: path, env })
  runToEnd('git', ['fast-import', '--quiet'], { cwd: path, env, input: firstCommit })
}

const firstCommit = `commit refs/heads/main
committer Ada <ada@example.com> ${Math.floor(Date.now() / 1000)} +0000
data <<END
Say hello
END
M 100644 inline README.md
data <<END
# hello

A sample repository, served through Scopegate.
END
`

function runBackend(
  backend: string,
  env: NodeJS.ProcessEnv,
  req: http.IncomingMessage,
  res: http.ServerResponse,
): void {
  const target = req.url ?? '/'
  const mark = target.indexOf('?')
  const child = spawn(backend, {
    env: {
      ...env,
      GIT_PROJECT_ROOT: env.folder,
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_PROTOCOL: String(req.headers['git-protocol'] ?? ''),
      REQUEST_METHOD: req.method,
      PATH_INFO: decodeURIComponent(mark < 0 ? target : target.slice(0, mark)),
      QUERY_STRING: mark < 0 ? '' : target.slice(mark + 1),
      CONTENT_TYPE: req.headers['content-type'] ?? '',
      // Absent for a chunked body: the backend then reads to the end.
      ...(req.headers['content-length'] && { CONTENT_LENGTH: req.headers['content-length'] }),
      HTTP_CONTENT_ENCODING: String(req.headers['content-encoding'] ?? ''),
      REMOTE_USER: String(req.headers['x-remote-user'] ?? ''),
      REMOTE_ADDR: req.socket.remoteAddress,
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  child.on('error', () => res.destroy())
  child.stdin.on('error', () => {})
  req.pipe(child.stdin)
  res.on('close', () => child.kill())
  let head = Buffer.alloc(0)
  child.stdout.on('data', function read(chunk: Buffer) {
    head = Buffer.concat([head, chunk])
    const end = head.indexOf('\r\n\r\n')
    if (end < 0) return
    child.stdout.off('data', read)
    writeHead(res, head.toString('latin1', 0, end))
    res.write(head.subarray(end + 4))
    child.stdout.pipe(res)
  })
  child.stdout.on('end', () => {
    if (!res.headersSent) res.writeHead(500).end()
  })
}

// CGI writes the status as a field of its own (RFC 3875, 6.3.3).
function writeHead(res: http.ServerResponse, head: string): void {
  let status = 200
  for (const line of head.split('\r\n')) {
    const [, name = '', value = ''] = /^([^:]+): *(.*)$/.exec(line) ?? []
    if (name === 'Status') status = Number.parseInt(value, 10)
    else if (name !== '') res.setHeader(name, value)
  }
  res.writeHead(status)
}
