// The product, everything on: decision, access log to a file, metrics, the tokens in its authority and in
// Redis as well. `NODE_ARGS` in the environment goes to its Node, as in NODE_ARGS=--cpu-prof.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { projectFolder } from '../../servers/gateway.ts'
import { until } from '../../servers/ready.ts'
import { fillAuthority } from '../authority.ts'
import { type Bench, scope, tokenField, writeScope } from '../scene.ts'
import type { Peer, Running } from './peer.ts'

export const cli = join(projectFolder, 'gateway', 'main.js')

export const scopegate: Peer = {
  name: 'Scopegate',
  does: 'everything on: decision for each token, access log, metrics, last use, Redis',
  decides: true,
  start: (scene) => startScopegate(scene),
}

export type ScopegateOptions = {
  /** Sections that stand in for those of the usual configuration. */
  readonly sections?: object
  /** A file to serve from, where its folder and the authority were made before. */
  readonly authority?: string
  /** Cores to run on. */
  readonly on?: string
}

let started = 0

export async function startScopegate(
  scene: Bench,
  { sections, authority, on }: ScopegateOptions = {},
): Promise<Running> {
  const folder = join(scene.folder, `scopegate-${started++}`)
  mkdirSync(folder)
  const file = join(folder, 'gateway.yaml')
  const tokens = authority ?? join(folder, 'tokens.db')
  writeFileSync(file, JSON.stringify({ ...usualConfiguration(scene, tokens), ...sections }))
  if (authority === undefined) await fillAuthority(tokens, scene.known.length, scene.known)
  const log = join(folder, 'access.log')
  // stdout is a file for as long as it runs: this process would keep all of a pipe.
  writeFileSync(log, '')
  const script = 'exec "$0" $NODE_ARGS "$1" serve --config "$2" > "$3"'
  const server = await scene.run('sh', ['-c', script, process.execPath, cli, file, log], {
    env: { HOME: folder, NODE_ARGS: process.env.NODE_ARGS ?? '' },
    ...(on !== undefined && { on }),
  })
  const url = await until('Scopegate listens', () => {
    if (server.child.exitCode !== null) throw new Error(`it ended at once: ${server.output()}`)
    const lines = readFileSync(log, 'utf8').split('\n')
    const line = lines.find(
      (text) => text.includes('"listening"') && !text.includes('"management"'),
    )
    return /"url":"([^"]+)"/.exec(line ?? '')?.[1]
  })
  return { url, groups: [server.pid], stop: async () => void (await server.stop()) }
}

function usualConfiguration(scene: Bench, authority: string): object {
  return {
    version: 1,
    listen: { host: '127.0.0.1', port: 0 },
    server: { limits: { connectionsPerAddress: 0 } },
    management: { port: 0 },
    tokens: { authority: `sqlite:${authority}`, redis: scene.redis.url },
    credentials: [{ header: tokenField }, { authorization: 'bearer' }, { authorization: 'basic' }],
    upstreams: { api: { url: `http://${scene.upstream}` } },
    scopes: { [scope]: 'Read items', [writeScope]: 'Write items' },
    routes: [{ path: '/api/{rest...}', upstream: 'api', allow: { GET: scope, PUT: writeScope } }],
  }
}
