// The statements of the authority. Parameters are `$1`, `$2` …, and no function is one database's alone,
// so that Postgres can run the same text.

import type { SQLInputValue } from 'node:sqlite'
import { tokenColumns } from './token-row.ts'

const columnCount = tokenColumns.split(', ').length
const placeholders = Array.from({ length: columnCount }, (_, i) => `$${i + 1}`).join(', ')

/** By what they do; TokenStore says the meaning. */
export const sql = {
  find: 'SELECT t.* FROM secrets s JOIN tokens t ON t.id = s.token_id WHERE s.digest = $1',
  get: 'SELECT * FROM tokens WHERE id = $1',
  ofSubject: 'SELECT * FROM tokens WHERE subject = $1 ORDER BY id',
  insert: `INSERT INTO tokens (${tokenColumns}) VALUES (${placeholders})`,
  insertSecret: 'INSERT INTO secrets (digest, token_id) VALUES ($1, $2)',
  digests: 'SELECT digest FROM secrets WHERE token_id = $1 ORDER BY digest',
  insertChange:
    'INSERT INTO changes (token_id, digests, version, changed_at) VALUES ($1, $2, $3, $4)',
  list: `SELECT * FROM tokens
    WHERE (CAST($1 AS TEXT) IS NULL OR subject = $1)
      AND (CAST($2 AS TEXT) IS NULL OR $2 = CASE
        WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= $3 THEN 'expired' ELSE 'active' END)
      AND (coalesce(revoked_at, expires_at) IS NULL OR coalesce(revoked_at, expires_at) > $4)
      AND (CAST($5 AS TEXT) IS NULL OR id > $5)
    ORDER BY id LIMIT $6`,
  revoke: `WITH RECURSIVE family (id) AS (
      SELECT id FROM tokens WHERE id = $1
      UNION SELECT t.id FROM tokens t JOIN family f ON t.parent_id = f.id)
    UPDATE tokens SET version = version + 1, revoked_at = $2, revoked_by = $3
    WHERE revoked_at IS NULL AND id IN (SELECT id FROM family) RETURNING *`,
  recordUse: `UPDATE tokens SET last_used_at = $2, last_used_from = $3, last_used_for = $4
    WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)`,
  pruneTokens: `DELETE FROM tokens WHERE coalesce(revoked_at, expires_at) <= $1
    AND NOT EXISTS (SELECT 1 FROM tokens c WHERE c.parent_id = tokens.id)`,
  // The newest stays: positions never go back, but where an older database was restored.
  pruneChanges:
    'DELETE FROM changes WHERE changed_at <= $1 AND seq < (SELECT max(seq) FROM changes)',
  lastChange: 'SELECT coalesce(max(seq), 0) AS seq FROM changes',
  // Read from the newest back to the first that is older: it looks at no more than is asked for.
  positionBefore: 'SELECT coalesce(max(seq), 0) AS seq FROM changes WHERE changed_at < $1',
  changesSince:
    'SELECT seq, token_id, digests, version FROM changes WHERE seq > $1 ORDER BY seq LIMIT $2',
} as const

export type StatementName = keyof typeof sql

/** `$1` is bound as the bare name `1`: node:sqlite does not take it by position. */
export function bind(values: readonly SQLInputValue[]): Record<string, SQLInputValue> {
  const bound: Record<string, SQLInputValue> = {}
  for (let i = 0; i < values.length; i++) bound[i + 1] = values[i] as SQLInputValue
  return bound
}
