// Time from the commit of a revocation, in this process, to the last request that a gateway process still
// permitted, under load: with SQLite alone, and with Redis where `--redis URL` names one.
// `node test/bench/revocation.ts [--rounds 200] [--redis redis://127.0.0.1:6379]`

import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Pool } from 'undici'
import { commandBusyMs, openSqliteStore } from '../../gateway/tokens/sqlite.ts'
import type { TokenStore } from '../../gateway/tokens/store.ts'
import { startGateway } from '../servers/gateway.ts'
import { startRecorder } from '../servers/recorder.ts'
import { makeToken } from '../tokens/records.ts'

const loadConnections = 8
const giveUpMs = 5_000

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '200' }, redis: { type: 'string' } },
})
const rounds = Number(values.rounds)
await measure('SQLite alone', {})
if (values.redis !== undefined) await measure('with Redis', { redis: values.redis })

async function measure(name: string, tokens: object): Promise<void> {
  const upstream = await startRecorder()
  const gateway = await startGateway({
    tokens: { authority: 'sqlite:tokens.db', ...tokens },
    upstreams: { api: { url: upstream.url } },
    scopes: { read: 'Read' },
    routes: [{ path: '/{rest...}', upstream: 'api', allow: 'read' }],
  })
  const store = openSqliteStore(join(gateway.folder, 'tokens.db'), { busyMs: commandBusyMs })
  const pool = new Pool(gateway.url, { connections: loadConnections + 1 })
  const load = startLoad(pool, await addToken(store))
  const taken: number[] = []
  for (let i = 0; i < rounds; i++) taken.push(await round(pool, store))
  const requests = await load()
  taken.sort((a, b) => a - b)
  const at = (part: number): string =>
    (taken[Math.min(taken.length - 1, Math.floor(taken.length * part))] ?? 0).toFixed(1)
  process.stdout.write(
    `${name}: ${rounds} rounds, ${requests} other requests   p50 ${at(0.5)} ms   p99 ${at(0.99)} ms   max ${at(1)} ms\n`,
  )
  await pool.close()
  await store.close()
  await gateway.stop()
  await upstream.stop()
}

/** Milliseconds from the revocation to the start of the last permitted request; 0: none was. */
async function round(pool: Pool, store: TokenStore): Promise<number> {
  const { record, secret } = await addToken(store)
  if ((await ask(pool, secret)) !== 200) throw new Error('the token does not work')
  await store.revoke({ id: record.id }, { at: Date.now(), by: 'bench' })
  const revokedAt = performance.now()
  let last = revokedAt
  for (;;) {
    const startedAt = performance.now()
    if ((await ask(pool, secret)) !== 200) return last - revokedAt
    last = startedAt
    if (last - revokedAt > giveUpMs) throw new Error('the revocation was never seen')
  }
}

function startLoad(pool: Pool, { secret }: { readonly secret: string }): () => Promise<number> {
  let isRunning = true
  let requests = 0
  const workers = Array.from({ length: loadConnections }, async () => {
    for (; isRunning; requests++) await ask(pool, secret)
  })
  return async () => {
    isRunning = false
    await Promise.all(workers)
    return requests
  }
}

async function ask(pool: Pool, secret: string): Promise<number> {
  const { statusCode, body } = await pool.request({
    method: 'GET',
    path: '/x',
    headers: { 'OSF-TOKEN': secret },
  })
  await body.dump()
  return statusCode
}

async function addToken(store: TokenStore): Promise<ReturnType<typeof makeToken>> {
  const made = makeToken({ scopes: ['read'] })
  await store.create(made.record, [made.digest])
  return made
}
