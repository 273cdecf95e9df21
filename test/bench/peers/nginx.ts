// nginx in its three usual forms: alone, with Lua and a shared dictionary in front of Redis, and with
// auth_request to a service that knows the tokens. All of them write a buffered access log.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { accepting, freePort } from '../../servers/ready.ts'
import { type Bench, cores, scope, tokenField, writeScope } from '../scene.ts'
import { startNodePeer } from './node.ts'
import type { Peer, Running } from './peer.ts'

/** Debian loads them in its own nginx.conf, which is not read here. */
export const luaModules = `load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;`

/** Otherwise the workers of root become another user, who may not enter the benchmark's folder. */
export const maybeAsRoot = process.getuid?.() === 0 ? 'user root;' : ''

export const nginxAlone: Peer = {
  name: 'nginx',
  does: 'proxy_pass',
  decides: false,
  start: (scene) => startNginx(scene, 'nginx', { location: '' }),
}

export const nginxLua: Peer = {
  name: 'nginx + Lua + Redis',
  does: 'scopes of the token from a shared dictionary, then Redis; method and path checked',
  decides: true,
  start: (scene) => startNginxLua(scene),
}

export function startNginxLua(scene: Bench, on?: CoresAndWorkers): Promise<Running> {
  const parts = {
    top: luaModules,
    http: `lua_shared_dict tokens 16m; lua_package_path "/usr/share/lua/5.1/?.lua;;";
      init_by_lua_block { redis = require "nginx.redis" }`,
    location: `access_by_lua_block { ${luaDecision(scene.redis.port)} }
      proxy_set_header ${tokenField} "";`,
  }
  return startNginx(scene, 'lua', parts, on)
}

export const nginxAuthRequest: Peer = {
  name: 'nginx auth_request',
  does: 'asks a service in Node; both processes count',
  decides: true,
  start: async (scene) => {
    const service = await startNodePeer(scene, 'auth-service.ts')
    const nginx = await startNginx(scene, 'auth', {
      http: `upstream service { server ${new URL(service.url).host}; keepalive 64;
        keepalive_requests 1000000000; }`,
      location: `auth_request /decide; proxy_set_header ${tokenField} "";`,
      server: `location = /decide { internal; proxy_pass http://service/decide;
        proxy_pass_request_body off; proxy_http_version 1.1; proxy_set_header Connection "";
        proxy_set_header Content-Length ""; proxy_set_header X-Original-Method $request_method;
        proxy_set_header X-Original-URI $request_uri; }`,
    })
    return {
      url: nginx.url,
      groups: [...nginx.groups, ...service.groups],
      stop: async () => {
        await nginx.stop()
        await service.stop()
      },
    }
  },
}

function luaDecision(redisPort: number): string {
  return `
    local token = ngx.var.http_${tokenField.toLowerCase().replaceAll('-', '_')}
    if not token then return ngx.exit(401) end
    local tokens = ngx.shared.tokens
    local scopes = tokens:get(token)
    if not scopes then
      local link = redis:new()
      link:set_timeout(500)
      if not link:connect("127.0.0.1", ${redisPort}) then return ngx.exit(503) end
      scopes = link:get("token:" .. token)
      link:set_keepalive(60000, 64)
      if scopes == ngx.null or not scopes then return ngx.exit(401) end
      tokens:set(token, scopes, 30)
    end
    local method = ngx.req.get_method()
    local needed
    if string.sub(ngx.var.uri, 1, 5) == "/api/" then
      if method == "GET" or method == "HEAD" then needed = "${scope}" else needed = "${writeScope}" end
    end
    if not needed then return ngx.exit(404) end
    for held in string.gmatch(scopes, "[^ ]+") do
      if held == needed then return end
    end
    return ngx.exit(403)`
}

type Parts = {
  readonly top?: string
  readonly http?: string
  readonly server?: string
  readonly location: string
}

export type CoresAndWorkers = { readonly cores: string; readonly workers: number }

async function startNginx(
  scene: Bench,
  name: string,
  parts: Parts,
  { cores: on, workers }: CoresAndWorkers = { cores: cores.tested, workers: 1 },
): Promise<Running> {
  const port = await freePort()
  const folder = join(scene.folder, `${name}-${port}`)
  mkdirSync(join(folder, 'temporary'), { recursive: true })
  writeFileSync(
    join(folder, 'nginx.conf'),
    `${parts.top ?? ''}
    ${maybeAsRoot} daemon off; worker_processes ${workers}; pid nginx.pid; error_log stderr;
    events { worker_connections 15000; }
    http {
      access_log access.log combined buffer=64k flush=1s;
      keepalive_requests 1000000000; keepalive_timeout 1h; client_max_body_size 0;
      client_body_temp_path temporary; proxy_temp_path temporary; fastcgi_temp_path temporary;
      uwsgi_temp_path temporary; scgi_temp_path temporary;
      upstream api { server ${scene.upstream}; keepalive 128; keepalive_requests 1000000000; }
      ${parts.http ?? ''}
      server {
        listen 127.0.0.1:${port} backlog=4096;
        ${parts.server ?? ''}
        location / {
          ${parts.location}
          proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
          proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;
          proxy_set_header X-Request-Id $request_id;
          proxy_buffering off; proxy_request_buffering off;
          proxy_pass http://api;
        }
      }
    }`,
  )
  const server = await scene.run('nginx', ['-p', folder, '-c', 'nginx.conf', '-e', 'stderr'], {
    on,
  })
  await accepting(server, port)
  return {
    url: `http://127.0.0.1:${port}`,
    groups: [server.pid],
    stop: async () => void (await server.stop()),
  }
}
