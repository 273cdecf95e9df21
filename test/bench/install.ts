// The programs of the benchmark: the peers, the load, and what pins them to cores. Run by itself as root on
// Debian and its relatives it installs what is missing; the benchmark itself only looks.

import { findMissing, install, type Need } from '../servers/install.ts'

const luaModule = '/usr/lib/nginx/modules/ngx_http_lua_module.so'
const luaRedis = '/usr/share/lua/5.1/nginx/redis.lua'

const benchNeeds: readonly Need[] = [
  need('wrk', 'wrk', 'the load at saturation'),
  need('nginx', 'nginx', 'a peer, and the upstream of all of them'),
  { ...need('nginx lua module', 'libnginx-mod-http-lua', 'decides in nginx'), path: luaModule },
  { ...need('lua-nginx-redis', 'lua-nginx-redis', 'Redis for nginx with Lua'), path: luaRedis },
  need('haproxy', 'haproxy', 'a peer'),
  need('caddy', 'caddy', 'a peer'),
  need('redis-server', 'redis-server', 'the tokens of several peers'),
  need('curl', 'curl', 'sends and fetches large bodies'),
  need('taskset', 'util-linux', 'pins each program to a core'),
]

/** `who` of the messages. */
export const benchName = 'The benchmarks'

/** What is not on this machine. */
export function missingPrograms(): Need[] {
  return findMissing(benchNeeds)
}

if (import.meta.main) process.exit(install(benchNeeds, benchName))

function need(program: string, debian: string, reason: string): Need {
  return { program, debian: [debian], homebrew: undefined, reason }
}
