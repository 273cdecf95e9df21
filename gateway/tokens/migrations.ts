// The tables of the SQLite authority, as numbered steps, and how a database gets from one to the next.
// Steps that were released are never edited: a change is a further step. It never touches a database
// that a newer program wrote, or one that is not Scopegate's.

import { randomBytes, randomUUID } from 'node:crypto'
import { closeSync, openSync } from 'node:fs'
import type { DatabaseSync } from 'node:sqlite'

const first = `
CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  name TEXT,
  subject TEXT NOT NULL,
  scopes TEXT NOT NULL,
  resources TEXT,
  allowed_ips TEXT,
  created_at INTEGER NOT NULL,
  created_from TEXT,
  expires_at INTEGER,
  last_used_at INTEGER,
  last_used_from TEXT,
  last_used_for TEXT,
  parent_id TEXT REFERENCES tokens (id),
  revoked_at INTEGER,
  revoked_by TEXT,
  hint TEXT NOT NULL
) STRICT;
CREATE INDEX tokens_by_subject ON tokens (subject, id);
CREATE INDEX tokens_by_parent ON tokens (parent_id) WHERE parent_id IS NOT NULL;
CREATE TABLE secrets (
  digest BLOB PRIMARY KEY CHECK (length(digest) = 32),
  token_id TEXT NOT NULL REFERENCES tokens (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX secrets_by_token ON secrets (token_id);
CREATE TABLE changes (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  token_id TEXT NOT NULL,
  digests BLOB NOT NULL,
  version INTEGER NOT NULL,
  changed_at INTEGER NOT NULL
) STRICT;
`

/** Step N leads from version N - 1 to version N. */
export const migrations: readonly string[] = [first]

/**
 * Brings a database to the version of this program. An older one is copied beside its file before;
 * a newer one, or one of another program, is refused with an Error that says so.
 */
export function migrate(database: DatabaseSync, file: string, steps = migrations): void {
  const found = readVersion(database, file)
  if (found === steps.length) return
  refuseNewer(found, steps.length, file)
  if (found > 0) backUp(database, file, found)
  database.exec('BEGIN IMMEDIATE')
  try {
    // Another process may have migrated while this one waited for the lock.
    const current = readVersion(database, file)
    refuseNewer(current, steps.length, file)
    if (current === 0) createMeta(database)
    for (const step of steps.slice(current)) database.exec(step)
    writeMeta(database, 'schema version', String(steps.length))
    database.exec('COMMIT')
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}

/** A value that the database keeps about itself: `authority id`, `cache key`, `grant key`, `schema version`. */
export function readMeta(database: DatabaseSync, key: string): string | undefined {
  const row = database.prepare('SELECT value FROM meta WHERE key = $1').get({ 1: key })
  return row === undefined ? undefined : String(row.value)
}

/** The value of a key that is kept from its first use on: whoever asks gets the one that was made first. */
export function keepMeta(database: DatabaseSync, key: string, make: () => string): string {
  const kept = readMeta(database, key)
  if (kept !== undefined) return kept
  const sql = 'INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING'
  database.prepare(sql).run({ 1: key, 2: make() })
  return String(readMeta(database, key))
}

function createMeta(database: DatabaseSync): void {
  database.exec('CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT')
  writeMeta(database, 'authority id', randomUUID())
  // Shared caches will sign what they hold under this key, so that who writes to them gains nothing.
  writeMeta(database, 'cache key', randomBytes(32).toString('base64'))
}

function writeMeta(database: DatabaseSync, key: string, value: string): void {
  const sql =
    'INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = $2'
  database.prepare(sql).run({ 1: key, 2: value })
}

/** 0: a database without any table. */
function readVersion(database: DatabaseSync, file: string): number {
  const tables = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all()
  if (tables.length === 0) return 0
  const hasMeta = tables.some((table) => table.name === 'meta')
  const version = Number(hasMeta ? readMeta(database, 'schema version') : undefined)
  if (Number.isSafeInteger(version) && version > 0) return version
  throw new Error(
    `${file} is a database of another program; name a file of its own under tokens.authority`,
  )
}

function refuseNewer(found: number, known: number, file: string): void {
  if (found <= known) return
  throw new Error(
    `${file} has schema version ${found}, and this program knows versions up to ${known}; ` +
      'use the newer program, or the backup that it left beside the file',
  )
}

/** VACUUM INTO takes a consistent copy, and accepts an empty file: so the copy is never readable by others. */
function backUp(database: DatabaseSync, file: string, version: number): void {
  const stamp = new Date().toISOString().replaceAll(/[-:.]/g, '')
  const backup = `${file}.v${version}-${stamp}-${process.pid}.backup`
  closeSync(openSync(backup, 'wx', 0o600))
  database.prepare('VACUUM INTO $1').run({ 1: backup })
}
