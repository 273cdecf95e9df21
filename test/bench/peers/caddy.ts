// Caddy with forward_auth to a service that knows the tokens, on one processor, with an access log.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { accepting, freePort } from '../../servers/ready.ts'
import { tokenField } from '../scene.ts'
import { startNodePeer } from './node.ts'
import type { Peer } from './peer.ts'

export const caddy: Peer = {
  name: 'Caddy forward_auth',
  does: 'asks a service in Node; both processes count',
  decides: true,
  start: async (scene) => {
    const service = await startNodePeer(scene, 'auth-service.ts')
    const port = await freePort()
    const folder = join(scene.folder, `caddy-${port}`)
    mkdirSync(folder)
    writeFileSync(
      join(folder, 'Caddyfile'),
      `{
  admin off
  auto_https off
  log default {
    output stderr
    level ERROR
  }
}
http://127.0.0.1:${port} {
  log {
    output file ${folder}/access.log {
      roll_disabled
    }
  }
  forward_auth ${new URL(service.url).host} {
    uri /decide
    transport http {
      keepalive_idle_conns_per_host 128
    }
  }
  reverse_proxy ${scene.upstream} {
    header_up -${tokenField}
    flush_interval -1
    transport http {
      keepalive_idle_conns_per_host 128
    }
  }
}
`,
    )
    const args = ['run', '--adapter', 'caddyfile', '--config', join(folder, 'Caddyfile')]
    const env = { HOME: folder, GOMAXPROCS: '1' }
    const server = await scene.run('caddy', args, { env })
    await accepting(server, port)
    return {
      url: `http://127.0.0.1:${port}`,
      groups: [server.pid, ...service.groups],
      stop: async () => {
        await server.stop()
        await service.stop()
      },
    }
  },
}
