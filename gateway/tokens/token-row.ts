// A token's record as a row of the authority, and back (SQLite now, with names that suit Postgres).
// Reading is strict: a row that does not say what a token may do is an error, never a token with other
// rights than were stored.

import type { TokenRecord } from './token.ts'

/** Column names in the order of `writeRow`'s values. */
export const tokenColumns =
  'id, version, name, subject, scopes, resources, allowed_ips, created_at, created_from, expires_at, ' +
  'last_used_at, last_used_from, last_used_for, parent_id, revoked_at, revoked_by, hint'

export type Row = Readonly<Record<string, unknown>>

/** The record's values in the order of `tokenColumns`. */
export function writeRow(record: TokenRecord): (string | number | null)[] {
  return [
    record.id,
    record.version,
    record.name,
    record.subject,
    JSON.stringify(record.scopes),
    record.resources === null ? null : JSON.stringify(record.resources),
    record.allowedIps === null ? null : JSON.stringify(record.allowedIps),
    record.createdAt,
    record.createdFrom,
    record.expiresAt,
    record.lastUsedAt,
    record.lastUsedFrom,
    record.lastUsedFor,
    record.parentId,
    record.revokedAt,
    record.revokedBy,
    record.hint,
  ]
}

/** Throws an Error that names the token and the column of a row that makes no sense. */
export function readRow(row: Row): TokenRecord {
  return {
    id: text(row, 'id'),
    version: integer(row, 'version'),
    name: orNull(row, 'name', text),
    subject: text(row, 'subject'),
    scopes: texts(row, 'scopes'),
    resources: orNull(row, 'resources', limits),
    allowedIps: orNull(row, 'allowed_ips', texts),
    createdAt: integer(row, 'created_at'),
    createdFrom: orNull(row, 'created_from', text),
    expiresAt: orNull(row, 'expires_at', integer),
    lastUsedAt: orNull(row, 'last_used_at', integer),
    lastUsedFrom: orNull(row, 'last_used_from', text),
    lastUsedFor: orNull(row, 'last_used_for', protocol),
    parentId: orNull(row, 'parent_id', text),
    revokedAt: orNull(row, 'revoked_at', integer),
    revokedBy: orNull(row, 'revoked_by', text),
    hint: text(row, 'hint'),
  }
}

type Reader<T> = (row: Row, column: string) => T

function orNull<T>(row: Row, column: string, read: Reader<T>): T | null {
  return row[column] === null ? null : read(row, column)
}

function text(row: Row, column: string): string {
  const value = row[column]
  return typeof value === 'string' ? value : corrupt(row, column)
}

function integer(row: Row, column: string): number {
  const value = row[column]
  return Number.isSafeInteger(value) ? (value as number) : corrupt(row, column)
}

function protocol(row: Row, column: string): 'rest' | 'git' | 'registry' {
  const value = row[column]
  return value === 'rest' || value === 'git' || value === 'registry' ? value : corrupt(row, column)
}

function texts(row: Row, column: string): string[] {
  const value = json(row, column)
  return isTexts(value) ? value : corrupt(row, column)
}

function limits(row: Row, column: string): Record<string, string[]> {
  const value = json(row, column)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) corrupt(row, column)
  const entries = Object.entries(value as object)
  return entries.every(([, allowed]) => isTexts(allowed))
    ? (value as Record<string, string[]>)
    : corrupt(row, column)
}

function json(row: Row, column: string): unknown {
  try {
    return JSON.parse(text(row, column))
  } catch {
    return corrupt(row, column)
  }
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === 'string')
}

function corrupt(row: Row, column: string): never {
  throw new Error(`the stored record of token ${String(row.id)} is corrupt in ${column}`)
}
