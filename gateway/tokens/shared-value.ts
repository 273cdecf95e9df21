// What stands in Redis: a token's record with when it was read, sealed. One line of numbers, then the record
// as JSON: `SCHEMA VERSION READ_AT POSITION HMAC\n[…]`. The HMAC (SHA-256, RFC 2104) covers the key and all
// the rest, under a key that only the authority holds: whoever can write to Redis can neither make a record
// nor move one to another token. The first three numbers keep their places in every schema, because the
// script of redis-script.ts compares them. Pure; it never throws for what it reads.

import { createHmac, timingSafeEqual } from 'node:crypto'
import type { TokenRecord } from './token.ts'
import { readRow, tokenColumns, writeRow } from './token-row.ts'

/** Raised when the form or the columns change: programs of two versions may share a Redis. */
export const sharedSchema = 1
/** A longer value is not read to its end. A record has a few hundred bytes. */
export const sharedValueBytesMax = 64 * 1024

/** A record as the tiers share it. */
export type SharedRecord = {
  /** null: the secret does not find this token any more; a tombstone that is never an answer. */
  readonly record: TokenRecord | null
  readonly version: number
  /** When the authority was asked, wall clock, milliseconds. */
  readonly readAt: number
  /** The change feed was read up to here when the authority was asked. */
  readonly position: number
}

/** `foreign`: of a program of another version, to be left alone; `forged`: whatever does not verify. */
export type Unsealed = SharedRecord | 'foreign' | 'forged'

const columns = tokenColumns.split(', ')
const anySchema = /^(\d{1,9}) \d{1,15} \d{1,15} /
const form = /^\d{1,9} (\d{1,15}) (\d{1,15}) (\d{1,15}) ([A-Za-z0-9_-]{43})\n/

/** Writes and reads the values of one authority. */
export class SharedSeal {
  readonly #prefix: string
  readonly #secret: Buffer

  /** `secret`: the authority's cache key. */
  constructor(authorityId: string, secret: Buffer) {
    this.#prefix = `scopegate:${authorityId}:`
    this.#secret = secret
  }

  /** The key of a secret's digest in Redis. */
  keyOf(digest: Buffer): string {
    return this.#prefix + digest.toString('hex')
  }

  seal(key: string, { record, version, readAt, position }: SharedRecord): string {
    const numbers = `${sharedSchema} ${version} ${readAt} ${position}`
    const json = JSON.stringify(record && writeRow(record))
    return `${numbers} ${this.#mac(key, numbers, json).toString('base64url')}\n${json}`
  }

  unseal(key: string, value: string): Unsealed {
    const schema = anySchema.exec(value)?.[1]
    if (schema !== undefined && Number(schema) !== sharedSchema) return 'foreign'
    const [head, version, readAt, position, mac] = (form.exec(value) ?? []) as string[]
    if (head === undefined || mac === undefined) return 'forged'
    const json = value.slice(head.length)
    const expected = this.#mac(key, `${sharedSchema} ${version} ${readAt} ${position}`, json)
    if (!timingSafeEqual(expected, Buffer.from(mac, 'base64url'))) return 'forged'
    const record = readJson(json)
    if (record === undefined || (record !== null && record.version !== Number(version))) {
      return 'forged'
    }
    return {
      record,
      version: Number(version),
      readAt: Number(readAt),
      position: Number(position),
    }
  }

  #mac(key: string, numbers: string, json: string): Buffer {
    return createHmac('sha256', this.#secret).update(`${key}\n${numbers}\n${json}`).digest()
  }
}

/** Reads as strictly as a row of the authority. */
function readJson(json: string): TokenRecord | null | undefined {
  try {
    const values: unknown = JSON.parse(json)
    if (values === null) return null
    if (!Array.isArray(values) || values.length !== columns.length) return undefined
    return readRow(Object.fromEntries(columns.map((column, i) => [column, values[i]])))
  } catch {
    return undefined
  }
}
