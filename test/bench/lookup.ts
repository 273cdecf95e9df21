// Cost of a token lookup as the authority grows: cold (SQLite) and warm (memory), time and memory, for as
// many records as the arguments say. `node test/bench/lookup.ts 10000 1000000`

import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { TokenLookup } from '../../gateway/tokens/lookup.ts'
import { openSqliteStore, requestBusyMs } from '../../gateway/tokens/sqlite.ts'
import { makeSecret } from '../../gateway/tokens/token.ts'
import { fillAuthority } from './authority.ts'

const samples = 10_000
const cache = { entries: 100_000, freshMs: 60_000, staleMs: 60_000, absentMs: 5_000 }
const sizes = process.argv.slice(2).map(Number)

for (const size of sizes.length > 0 ? sizes : [10_000, 1_000_000]) await measure(size)

async function measure(size: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'scopegate-bench-'))
  try {
    const file = join(folder, 'tokens.db')
    const secrets = Array.from({ length: Math.min(samples, size) }, makeSecret)
    const scopes = ['source:read', 'devices:read']
    await fillAuthority(
      file,
      size,
      secrets.map((secret) => ({ secret, scopes })),
    )
    const store = openSqliteStore(file, { busyMs: requestBusyMs })
    const lookup = new TokenLookup(store, cache)
    const before = process.memoryUsage().rss
    const cold = await time(secrets, async (secret) => lookup.find(secret, Date.now()))
    const warm = await time(secrets, async (secret) => {
      const found = lookup.find(secret, Date.now())
      if (found instanceof Promise || found.kind !== 'active') throw new Error('not warm')
    })
    const grown = (process.memoryUsage().rss - before) / 2 ** 20
    lookup.close()
    await store.close()
    const megabytes = statSync(file).size / 2 ** 20
    const columns = [
      `${size} records`,
      `file ${megabytes.toFixed(0)} MiB`,
      `cold p50 ${cold.p50} p99 ${cold.p99} us`,
      `warm p50 ${warm.p50} p99 ${warm.p99} us`,
      `memory +${grown.toFixed(0)} MiB for ${samples} cached`,
    ]
    process.stdout.write(`${columns.join('   ')}\n`)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function time(
  secrets: readonly string[],
  work: (secret: string) => Promise<unknown>,
): Promise<{ readonly p50: string; readonly p99: string }> {
  const taken: number[] = []
  for (const secret of secrets) {
    const at = performance.now()
    await work(secret)
    taken.push((performance.now() - at) * 1000)
  }
  taken.sort((a, b) => a - b)
  const at = (part: number): string => (taken[Math.floor(taken.length * part)] ?? 0).toFixed(1)
  return { p50: at(0.5), p99: at(0.99) }
}
