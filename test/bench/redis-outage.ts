// What cold lookups cost while Redis is well, silent (SIGSTOP) and dead (SIGKILL): the first after the
// outage began, and those behind it. `node test/bench/redis-outage.ts`

import { once } from 'node:events'
import { join } from 'node:path'
import { parseRedisUrl } from '../../gateway/configuration/redis-url.ts'
import { TokenLookup } from '../../gateway/tokens/lookup.ts'
import { createRedisLink } from '../../gateway/tokens/redis-link.ts'
import { commandBusyMs, openSqliteStore, requestBusyMs } from '../../gateway/tokens/sqlite.ts'
import { makeFolder } from '../servers/lifetime.ts'
import { startRedis } from '../servers/redis-server.ts'
import { makeToken } from '../tokens/records.ts'

const lookups = 2_000
const cache = { entries: 100_000, freshMs: 60_000, staleMs: 60_000, absentMs: 5_000 }

const server = await startRedis()
const settings = parseRedisUrl(server.url)
if (typeof settings === 'string') throw new Error(settings)
const file = join(makeFolder('bench'), 'tokens.db')
const writer = openSqliteStore(file, { busyMs: commandBusyMs })
const secrets: string[] = []
for (let i = 0; i < 3 * lookups; i++) {
  const { secret, record, digest } = makeToken()
  await writer.create(record, [digest])
  secrets.push(secret)
}
const store = openSqliteStore(file, { busyMs: requestBusyMs })
const up = new EventTarget()
const lookup = new TokenLookup(store, cache, {
  redis: createRedisLink(settings),
  observer: { dependency: (_name, isUp) => isUp && up.dispatchEvent(new Event('up')) },
})
const ready = once(up, 'up')
lookup.follow()
await ready

await measure('well')
server.pause()
await measure('silent')
server.resume()
await once(up, 'up')
await server.kill()
await measure('dead')
lookup.close()
await store.close()
await writer.close()
await server.stop()

async function measure(state: string): Promise<void> {
  const taken: number[] = []
  for (const secret of secrets.splice(0, lookups)) {
    const at = performance.now()
    const found = await lookup.find(secret, Date.now())
    if (found.kind !== 'active') throw new Error(`${state}: ${found.kind}`)
    taken.push(performance.now() - at)
  }
  const [first = 0, ...others] = taken
  others.sort((a, b) => a - b)
  const at = (part: number): string =>
    (others[Math.min(others.length - 1, Math.floor(others.length * part))] ?? 0).toFixed(2)
  process.stdout.write(
    `Redis ${state}: first ${first.toFixed(2)} ms, others p50 ${at(0.5)} p99 ${at(0.99)} max ${at(1)} ms\n`,
  )
}
