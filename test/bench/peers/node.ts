// Contenders that are programs of Node's: each a script beside this file, which prints its port.

import { join } from 'node:path'
import { until } from '../../servers/ready.ts'
import type { Bench } from '../scene.ts'
import type { Peer, Running } from './peer.ts'

export const httpProxy3: Peer = {
  name: 'http-proxy-3',
  does: 'alone, no log',
  decides: false,
  start: (scene) => startNodePeer(scene, 'http-proxy-3.ts'),
}

export const fastifyProxy: Peer = {
  name: '@fastify/http-proxy',
  does: 'scopes of the token from memory, then Redis, in a preHandler; no log',
  decides: true,
  start: (scene) => startNodePeer(scene, 'fastify.ts'),
}

/** Starts a script of this folder with the upstream's address and Redis's port as its arguments. */
export async function startNodePeer(scene: Bench, script: string): Promise<Running> {
  const server = await scene.run(process.execPath, [
    join(import.meta.dirname, script),
    scene.upstream,
    `${scene.redis.port}`,
  ])
  const port = await until(`${script} listens`, () => {
    if (server.child.exitCode !== null) throw new Error(`${script} ended: ${server.output()}`)
    return /^port (\d+)$/m.exec(server.output())?.[1]
  })
  return {
    url: `http://127.0.0.1:${port}`,
    groups: [server.pid],
    stop: async () => void (await server.stop()),
  }
}
