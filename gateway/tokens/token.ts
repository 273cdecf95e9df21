// Tokens and their records. A token is a secret that only its holder has; every store keeps records by
// the SHA-256 digest of the secret, never the secret. Pure.

import { hash, randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'

/** All that is known of a token. Times are milliseconds since the epoch. */
export type TokenRecord = {
  /** UUIDv7. */
  readonly id: string
  readonly name: string | null
  readonly subject: string
  /** As stored: named scopes, path scopes (`METHOD /path`), `all`. */
  readonly scopes: readonly string[]
  readonly resources: Readonly<Record<string, readonly string[]>> | null
  readonly allowedIps: readonly string[] | null
  readonly createdAt: number
  readonly createdFrom: string | null
  readonly expiresAt: number | null
  readonly lastUsedAt: number | null
  readonly lastUsedFrom: string | null
  readonly lastUsedFor: 'rest' | 'git' | 'registry' | null
  readonly parentId: string | null
  readonly revokedAt: number | null
  readonly revokedBy: string | null
  /** Prefix and last four characters of the secret. */
  readonly hint: string
  /** Raised by every change but last use. */
  readonly version: number
}

/** What a lookup says of a presented secret. An outage is a GatewayError `lookup_unavailable`, never an answer. */
export type Lookup =
  | { readonly kind: 'active'; readonly record: TokenRecord }
  | { readonly kind: 'absent' }
  | { readonly kind: 'revoked'; readonly record: TokenRecord }
  | { readonly kind: 'expired'; readonly record: TokenRecord }

export type TokenState = 'active' | 'revoked' | 'expired'

const secretPrefix = 'sgt_'
const secretBodyLength = 32
const checksumLength = 6
const secretLength = secretPrefix.length + secretBodyLength + checksumLength
/** Longer values are refused without a lookup: no system issues tokens of such a length. */
export const secretLengthMax = 1024
const hintTailLength = 4

const base62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
/** Random bytes at or above this are drawn again, so that every character is equally likely. */
const unbiasedByteMax = 256 - (256 % base62.length)

/** A new secret: `sgt_`, 32 random base62 characters (190 bits), 6 of checksum. */
export function makeSecret(): string {
  let body = ''
  while (body.length < secretBodyLength) {
    for (const byte of randomBytes(secretBodyLength)) {
      if (byte < unbiasedByteMax && body.length < secretBodyLength) {
        body += base62[byte % base62.length]
      }
    }
  }
  const head = secretPrefix + body
  return head + writeChecksum(head)
}

/**
 * Is the value worth a lookup? With the prefix of this gateway's tokens, length and checksum must be
 * right; any other value may be a token that another system issued, and only has a bound.
 */
export function isWellFormed(secret: string): boolean {
  if (!secret.startsWith(secretPrefix)) return secret.length > 0 && secret.length <= secretLengthMax
  if (secret.length !== secretLength) return false
  const head = secret.slice(0, -checksumLength)
  return secret.slice(-checksumLength) === writeChecksum(head)
}

/** SHA-256 of the secret: what stores know it by. No slow hash: the secret has 190 bits. */
export function digestSecret(secret: string): Buffer {
  return Buffer.from(digestKey(secret), 'latin1')
}

/** The digest as a text of one character a byte: a key for maps, made in a third of the time. */
export function digestKey(secret: string): string {
  return hash('sha256', secret, 'latin1')
}

/** Prefix and last four characters, by which people recognise a token: `sgt_…abcd`. */
export function hintOf(secret: string): string {
  const prefix = secret.startsWith(secretPrefix) ? secretPrefix : ''
  const isLong = secret.length >= secretBodyLength
  return `${prefix}…${isLong ? secret.slice(-hintTailLength) : ''}`
}

/** A UUID of version 7 (RFC 9562 5.7) for a time in milliseconds: ids sort by creation. */
export function uuidv7(now: number): string {
  const bytes = randomBytes(16)
  bytes.writeUIntBE(now, 0, 6)
  bytes[6] = 0x70 | (bytes[6]! & 0x0f)
  bytes[8] = 0x80 | (bytes[8]! & 0x3f)
  const hex = bytes.toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

/** The state of a token at a time. Revoked says more than expired and wins. */
export function stateOf(record: TokenRecord, now: number): TokenState {
  if (record.revokedAt !== null) return 'revoked'
  return record.expiresAt !== null && record.expiresAt <= now ? 'expired' : 'active'
}

/** The record as people and programs see it: times in RFC 3339, UTC; never the version or a digest. */
export function writeRecord(record: TokenRecord): Record<string, unknown> {
  return {
    id: record.id,
    name: record.name,
    subject: record.subject,
    scopes: record.scopes,
    resources: record.resources,
    allowedIps: record.allowedIps,
    createdAt: writeTime(record.createdAt),
    createdFrom: record.createdFrom,
    expiresAt: writeTime(record.expiresAt),
    lastUsedAt: writeTime(record.lastUsedAt),
    lastUsedFrom: record.lastUsedFrom,
    lastUsedFor: record.lastUsedFor,
    parentId: record.parentId,
    revokedAt: writeTime(record.revokedAt),
    revokedBy: record.revokedBy,
    hint: record.hint,
  }
}

/** A time in milliseconds as RFC 3339, UTC; null stays null. */
export function writeTime(time: number | null): string | null {
  return time === null ? null : new Date(time).toISOString()
}

function writeChecksum(head: string): string {
  let rest = crc32(head)
  let written = ''
  for (let i = 0; i < checksumLength; i++) {
    written = base62[rest % base62.length] + written
    rest = Math.floor(rest / base62.length)
  }
  return written
}
