// The decision as a small service of Node's makes it: token to scopes from memory, then Redis; then method
// and path.

import { Redis } from 'ioredis'
import { LRUCache } from 'lru-cache'
import { scope, writeScope } from '../scene.ts'

/** Resolves with the status to answer with: 200 permits. What is in memory is answered at once. */
export type Check = (
  token: string | undefined,
  method: string,
  path: string,
) => number | Promise<number>

const freshMs = 30_000
const entriesMax = 100_000

export function makeCheck(redisPort: number): Check {
  const redis = new Redis({ port: redisPort, host: '127.0.0.1' })
  const known = new LRUCache<string, readonly string[]>({ max: entriesMax, ttl: freshMs })
  return (token, method, path) => {
    if (token === undefined) return 401
    const scopes = known.get(token)
    if (scopes !== undefined) return judge(scopes, method, path)
    return redis.get(`token:${token}`).then((text) => {
      if (text === null) return 401
      const found = text.split(' ')
      known.set(token, found)
      return judge(found, method, path)
    })
  }
}

function judge(scopes: readonly string[], method: string, path: string): number {
  if (!path.startsWith('/api/')) return 404
  const needed = method === 'GET' || method === 'HEAD' ? scope : writeScope
  return scopes.includes(needed) ? 200 : 403
}
