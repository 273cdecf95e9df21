// What one process remembers of tokens: records by digest or id, and, bounded apart from them, what is
// known to be absent, so that a flood of unknown tokens cannot push out the known ones. It holds records,
// never decisions, and reading an entry never makes it younger.

import { LRUCache } from 'lru-cache'
import type { Lookup, TokenRecord } from './token.ts'

/** Unknown tokens remembered; each also ends after `absent` of the configuration. */
export const absentEntriesMax = 10_000
/** A record counts as used at its first read, and then at every so many. */
const readsPerUse = 16

/** A record, and when the authority was asked for it (monotonic clock, milliseconds). */
export type Known = {
  readonly record: TokenRecord
  readonly readAt: number
  /** Made once, so that a hit makes no object. */
  readonly active: Lookup
  /** While the authority fails, it is not asked again before this time. */
  askAgainAt: number
  /** It was read so often since it counted as used. */
  reads: number
}

export type Memory = {
  known(key: string): Known | undefined
  /** When the authority said that there is no such token. */
  absentSince(key: string): number | undefined
  /** The authority's own answer: it replaces what is remembered under the key. */
  remember(key: string, record: TokenRecord | undefined, readAt: number): void
  /** What a cache says: it replaces nothing that is newer, by version and then by `readAt`. */
  keepNewer(key: string, record: TokenRecord, readAt: number): void
  forget(key: string): void
  clear(): void
}

/** A memory for `entries` records at most. */
export function createMemory(entries: number): Memory {
  // By size: room for `max` entries would be laid out at once, and take longer than most of the start.
  const one = (): number => 1
  const records = new LRUCache<string, Known>({ maxSize: entries, sizeCalculation: one })
  const absents = new LRUCache<string, number>({ maxSize: absentEntriesMax, sizeCalculation: one })
  const set = (key: string, record: TokenRecord, readAt: number): void => {
    absents.delete(key)
    records.set(key, {
      record,
      readAt,
      active: { kind: 'active', record },
      askAgainAt: 0,
      reads: 0,
    })
  }
  return {
    known(key) {
      const known = records.peek(key)
      // To be moved to the front each time would cost a busy token more than it is worth.
      if (known !== undefined && known.reads++ % readsPerUse === 0) records.get(key)
      return known
    },
    absentSince: (key) => absents.get(key),
    remember(key, record, readAt) {
      if (record !== undefined) {
        set(key, record, readAt)
        return
      }
      records.delete(key)
      absents.set(key, readAt)
    },
    keepNewer(key, record, readAt) {
      const held = records.peek(key)
      const isOlder =
        held === undefined ||
        held.record.version < record.version ||
        (held.record.version === record.version && held.readAt < readAt)
      if (isOlder) set(key, record, readAt)
    },
    forget(key) {
      records.delete(key)
      absents.delete(key)
    },
    clear() {
      records.clear()
      absents.clear()
    },
  }
}
