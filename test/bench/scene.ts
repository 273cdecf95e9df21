// What every contender is given: an upstream with replies of several sizes, a Redis with the tokens, cores
// to run on, and a load. The process under test has its core to itself; the upstream, Redis and the load
// share the other.

import { mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { makeSecret } from '../../gateway/tokens/token.ts'
import { run } from '../servers/command.ts'
import {
  makeFolder,
  plainEnvironment,
  removeFolder,
  type Server,
  startServer,
} from '../servers/lifetime.ts'
import { accepting, freePort } from '../servers/ready.ts'
import { type RedisServer, startRedis } from '../servers/redis-server.ts'
import type { KnownToken } from './authority.ts'
import { processIds } from './cpu.ts'
import { luaModules, maybeAsRoot } from './peers/nginx.ts'

export const tokensCount = 1_000
/** Bytes of the small reply. */
export const replyBytes = 600
/** The scopes of the benchmark, and the field that carries its tokens. */
export const scope = 'items:read'
export const writeScope = 'items:write'
export const tokenField = 'X-Auth-Token'

export type Bench = {
  readonly folder: string
  /**
   * `127.0.0.1:PORT` of the upstream: PUT `/api/sink` takes any body (in chunks: of zeros), `/api/blob` is a
   * file of `blobBytes`, `/api/seen` says `NUMBER TOKEN`: which request of its connection this is, and the
   * token field that came with it. Everything else has a reply of `replyBytes`.
   */
  readonly upstream: string
  readonly redis: RedisServer
  /** With `scope`, for the load. */
  readonly tokens: readonly string[]
  /** With `scope` and `writeScope`. */
  readonly writer: string
  /** All of these, as an authority takes them. */
  readonly known: readonly KnownToken[]
  /** Starts a process of a contender, on the core of the process under test unless `on` names others. */
  run(command: string, args: readonly string[], options?: RunOptions): Promise<Server>
  /**
   * Moves the upstream, and the load that is started from now on, to these cores. One that `yields` runs when
   * the process under test on its core waits, or has had its share, and interrupts it for no packet.
   */
  moveLoad(on: string, manner?: 'yields'): Promise<void>
  stop(): Promise<void>
}

export type RunOptions = { readonly env?: NodeJS.ProcessEnv; readonly on?: string }

/** The core of the process under test, that of everything else, and both, as taskset takes them. */
export const cores =
  availableParallelism() > 1
    ? { tested: '0', others: '1', both: '0,1' }
    : { tested: '0', others: '0', both: '0' }

/** Starts what the contenders share. From here on, this process and what it starts are on the other core. */
export async function openScene(): Promise<Bench> {
  await move(process.pid, cores.others)
  const folder = makeFolder('bench')
  const redis = await startRedis()
  const tokens = Array.from({ length: tokensCount }, makeSecret)
  const writer = makeSecret()
  const known = [
    ...tokens.map((secret) => ({ secret, scopes: [scope] })),
    { secret: writer, scopes: [scope, writeScope] },
  ]
  const pipeline = redis.client.pipeline()
  for (const { secret, scopes } of known) pipeline.set(`token:${secret}`, scopes.join(' '))
  await pipeline.exec()
  const port = await freePort()
  const upstream = await startUpstream(folder, port)
  return {
    folder,
    redis,
    tokens,
    writer,
    known,
    upstream: `127.0.0.1:${port}`,
    run: (command, args, { env, on = cores.tested } = {}) =>
      startServer('taskset', ['-c', on, command, ...args], {
        env: plainEnvironment(env),
        cwd: folder,
      }),
    moveLoad: async (on, manner) => {
      // SCHED_BATCH (sched(7)), or the usual policy.
      const policy = manner === 'yields' ? '-b' : '-o'
      for (const pid of [process.pid, ...processIds([upstream.pid])]) {
        await move(pid, on)
        await run('chrt', ['-a', policy, '-p', '0', `${pid}`])
      }
    },
    stop: async () => {
      await upstream.stop()
      await redis.stop()
      removeFolder(folder)
    },
  }
}

async function move(pid: number, on: string): Promise<void> {
  // Its status is no matter: a thread may end while it is moved.
  await run('taskset', ['-a', '-c', '-p', on, `${pid}`])
}

async function startUpstream(folder: string, port: number): Promise<Server> {
  const root = join(folder, 'upstream')
  mkdirSync(join(root, 'temporary'), { recursive: true })
  const field = tokenField.toLowerCase().replaceAll('-', '_')
  writeFileSync(
    join(root, 'nginx.conf'),
    `${luaModules}
    ${maybeAsRoot} daemon off; worker_processes 1; pid nginx.pid; error_log stderr;
    events { worker_connections 15000; }
    http {
      access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; client_max_body_size 0;
      client_body_temp_path temporary; proxy_temp_path temporary; fastcgi_temp_path temporary;
      uwsgi_temp_path temporary; scgi_temp_path temporary; sendfile on;
      default_type application/json;
      server {
        listen 127.0.0.1:${port} backlog=4096;
        location / { return 200 '${'x'.repeat(replyBytes)}'; }
        location /api/seen { return 200 '$connection_requests $http_${field}'; }
        location /api/blob { alias ${root}/blob; }
        location /api/sink { content_by_lua_block {
          if ngx.var.http_transfer_encoding then
            local socket, tail = ngx.req.socket(true), ""
            while tail ~= "0\\r\\n\\r\\n" do
              local part, failure = socket:receiveany(262144)
              if not part then return end
              tail = (tail .. part:sub(-5)):sub(-5)
            end
            socket:send("HTTP/1.1 204 No Content\\r\\nConnection: close\\r\\n\\r\\n")
            return
          end
          local body = ngx.req.socket()
          while body do
            local block, failure, rest = body:receive(262144)
            if not block then break end
          end
          ngx.status = 204
        } }
      }
    }`,
  )
  const server = await startServer('nginx', ['-p', root, '-c', 'nginx.conf', '-e', 'stderr'])
  await accepting(server, port)
  return server
}
