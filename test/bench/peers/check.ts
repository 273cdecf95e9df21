// A contender must do what the table says of it before it is measured. Rejects with a sentence where not.

import { type Bench, replyBytes, tokenField } from '../scene.ts'
import type { Peer, Running } from './peer.ts'

/** Requests one after the other until one of them finds the upstream's connection used before. */
const reuseTriesMax = 5

export async function checkPeer(scene: Bench, peer: Peer, { url }: Running): Promise<void> {
  const [token = ''] = scene.tokens
  const good = await ask(url, 'GET', '/api/items/1', token)
  if (good.status !== 200 || good.body.length !== replyBytes) {
    throw new Error(`a good request gets ${good.status} and ${good.body.length} bytes`)
  }
  const seen = await seenByUpstream(url, token)
  if ((seen === token) === peer.decides) {
    throw new Error(`the upstream sees ${seen === '' ? 'no token' : 'the token'}`)
  }
  if (!peer.decides) return
  for (const [why, method, secret, statuses] of [
    ['without a token', 'GET', undefined, [401]],
    ['with an unknown token', 'GET', `${token.slice(0, -1)}_`, [401]],
    ['that its scope does not permit', 'PUT', token, [403]],
  ] as const) {
    const { status } = await ask(url, method, '/api/items/1', secret)
    if (!(statuses as readonly number[]).includes(status)) {
      throw new Error(`a request ${why} gets ${status}`)
    }
  }
  const written = await ask(url, 'PUT', '/api/sink', scene.writer)
  if (written.status !== 204) throw new Error(`a good PUT gets ${written.status}`)
}

/** The token field that arrives there; also makes sure that the peer keeps its connections. */
async function seenByUpstream(url: string, token: string): Promise<string> {
  for (let tries = 0; tries < reuseTriesMax; tries++) {
    const { body } = await ask(url, 'GET', '/api/seen', token)
    const [number, seen = ''] = body.split(' ')
    if (Number(number) > 1) return seen
  }
  throw new Error('each request has a new connection to the upstream')
}

async function ask(
  url: string,
  method: 'GET' | 'PUT',
  path: string,
  token: string | undefined,
): Promise<{ readonly status: number; readonly body: string }> {
  const reply = await fetch(`${url}${path}`, {
    method,
    headers: token === undefined ? {} : { [tokenField]: token },
    ...(method === 'PUT' && { body: 'content' }),
  })
  return { status: reply.status, body: await reply.text() }
}
