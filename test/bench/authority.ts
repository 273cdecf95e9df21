// A SQLite authority with as many tokens as a benchmark asks for, made in seconds.

import { randomBytes } from 'node:crypto'
import { DatabaseSync } from 'node:sqlite'
import { openSqliteStore, requestBusyMs } from '../../gateway/tokens/sqlite.ts'
import { digestSecret, hintOf, uuidv7 } from '../../gateway/tokens/token.ts'

/** A token that a load sends. */
export type KnownToken = { readonly secret: string; readonly scopes: readonly string[] }

const subjects = 1_000

/**
 * Makes the database and inserts `size` records straight into its tables, in the order of their keys. The
 * known tokens are spread evenly over them; of the other records nobody knows the secret.
 */
export async function fillAuthority(
  file: string,
  size: number,
  known: readonly KnownToken[],
): Promise<void> {
  await openSqliteStore(file, { busyMs: requestBusyMs }).close()
  const database = new DatabaseSync(file)
  database.exec('PRAGMA synchronous = OFF; DROP INDEX secrets_by_token')
  database.exec('CREATE TEMP TABLE unordered (digest BLOB, token_id TEXT)')
  const token = database.prepare(
    'INSERT INTO tokens (id, version, subject, scopes, created_at, hint) VALUES (?, 1, ?, ?, ?, ?)',
  )
  const secretRow = database.prepare('INSERT INTO unordered VALUES (?, ?)')
  const places = new Map(known.map((one, i) => [Math.floor((i * size) / known.length), one]))
  const firstMadeAt = Date.now() - size
  const usual = JSON.stringify(known[0]?.scopes ?? [])
  database.exec('BEGIN')
  for (let i = 0; i < size; i++) {
    const id = uuidv7(firstMadeAt + i)
    const one = places.get(i)
    const scopes = one === undefined ? usual : JSON.stringify(one.scopes)
    const hint = one === undefined ? 'sgt_…0000' : hintOf(one.secret)
    token.run(id, `user-${i % subjects}`, scopes, firstMadeAt + i, hint)
    secretRow.run(one === undefined ? randomBytes(32) : digestSecret(one.secret), id)
  }
  database.exec('INSERT INTO secrets SELECT digest, token_id FROM unordered ORDER BY digest')
  database.exec('CREATE INDEX secrets_by_token ON secrets (token_id)')
  database.exec('COMMIT')
  database.close()
}
