// HAProxy with a token file (a map of token to scopes), one thread, its log on stdout.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { accepting, freePort } from '../../servers/ready.ts'
import { scope, tokenField, writeScope } from '../scene.ts'
import type { Peer } from './peer.ts'

export const haproxy: Peer = {
  name: 'HAProxy',
  does: 'scopes of the token from a file read at its start; method and path checked',
  decides: true,
  start: async (scene) => {
    const port = await freePort()
    const folder = join(scene.folder, `haproxy-${port}`)
    mkdirSync(folder)
    // A comma on both sides of each scope: then a substring is a whole scope.
    const lines = scene.known.map(({ secret, scopes }) => `${secret} ,${scopes.join(',')},`)
    writeFileSync(join(folder, 'tokens.map'), `${lines.join('\n')}\n`)
    writeFileSync(
      join(folder, 'haproxy.cfg'),
      `global
  nbthread 1
  maxconn 9000
  log stdout format raw local0 info
defaults
  mode http
  log global
  option httplog
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend gate
  bind 127.0.0.1:${port} backlog 4096
  unique-id-format %[uuid()]
  http-request set-var(txn.scopes) req.hdr(${tokenField}),map_str(${folder}/tokens.map)
  acl reading method GET HEAD
  http-request deny deny_status 401 unless { var(txn.scopes) -m found }
  http-request deny deny_status 404 unless { path_beg /api/ }
  http-request deny deny_status 403 if reading !{ var(txn.scopes) -m sub ,${scope}, }
  http-request deny deny_status 403 if !reading !{ var(txn.scopes) -m sub ,${writeScope}, }
  http-request del-header ${tokenField}
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Request-Id %[unique-id]
  option forwardfor
  default_backend api
backend api
  http-reuse always
  server api ${scene.upstream}
`,
    )
    // stdout is a file for as long as it runs: this process would keep all of a pipe.
    const script = 'exec haproxy -f haproxy.cfg > access.log'
    const server = await scene.run('sh', ['-c', `cd ${folder} && ${script}`])
    await accepting(server, port)
    return {
      url: `http://127.0.0.1:${port}`,
      groups: [server.pid],
      stop: async () => void (await server.stop()),
    }
  },
}
