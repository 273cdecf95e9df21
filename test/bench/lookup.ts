// Cost of a token lookup as the authority grows: cold (SQLite) and warm (memory), time and memory, for as
// many records as the arguments say. `node test/bench/lookup.ts 10000 1000000`

import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { TokenLookup } from '../../gateway/tokens/lookup.ts'
import { openSqliteStore, requestBusyMs } from '../../gateway/tokens/sqlite.ts'
import { digestSecret, hintOf, makeSecret, uuidv7 } from '../../gateway/tokens/token.ts'

const samples = 10_000
const cache = { entries: 100_000, freshMs: 60_000, staleMs: 60_000, absentMs: 5_000 }
const sizes = process.argv.slice(2).map(Number)

for (const size of sizes.length > 0 ? sizes : [10_000, 1_000_000]) await measure(size)

async function measure(size: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'scopegate-bench-'))
  try {
    const file = join(folder, 'tokens.db')
    await openSqliteStore(file, { busyMs: requestBusyMs }).close()
    const secrets = fill(file, size)
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

/** Inserts records straight into the tables, in the order of their keys; returns secrets spread evenly over them. */
function fill(file: string, size: number): string[] {
  const database = new DatabaseSync(file)
  database.exec('PRAGMA synchronous = OFF; DROP INDEX secrets_by_token')
  database.exec('CREATE TEMP TABLE unordered (digest BLOB, token_id TEXT)')
  const token = database.prepare(
    'INSERT INTO tokens (id, version, subject, scopes, created_at, hint) VALUES (?, 1, ?, ?, ?, ?)',
  )
  const secretRow = database.prepare('INSERT INTO unordered VALUES (?, ?)')
  const known = new Map<number, string>()
  for (let i = 0; i < samples; i++) known.set(Math.floor((i * size) / samples), makeSecret())
  const firstMadeAt = Date.now() - size
  database.exec('BEGIN')
  for (let i = 0; i < size; i++) {
    const id = uuidv7(firstMadeAt + i)
    const secret = known.get(i)
    const digest = secret === undefined ? randomDigest() : digestSecret(secret)
    const hint = secret === undefined ? 'sgt_…0000' : hintOf(secret)
    token.run(id, `user-${i % 1000}`, '["source:read","devices:read"]', firstMadeAt + i, hint)
    secretRow.run(digest, id)
  }
  database.exec('INSERT INTO secrets SELECT digest, token_id FROM unordered ORDER BY digest')
  database.exec('CREATE INDEX secrets_by_token ON secrets (token_id)')
  database.exec('COMMIT')
  database.close()
  return [...known.values()]
}

function randomDigest(): Buffer {
  return createHash('sha256').update(randomBytes(16)).digest()
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
