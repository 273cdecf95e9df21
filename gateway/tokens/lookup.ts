// From a presented secret to what is known of it: memory first, then the authority. Records are
// remembered, their state is judged on each call. It follows the authority's change feed, so that a
// change made by any process acts here within a second. It never takes an outage for an absence.

import type { TokenSettings } from '../configuration/configuration.ts'
import { GatewayError } from '../errors.ts'
import { createMemory, type Known, type Memory } from './memory.ts'
import type { TokenChange, TokenStore } from './store.ts'
import { digestSecret, isWellFormed, type Lookup, stateOf, type TokenRecord } from './token.ts'

/** How often the change feed is read. A poll without news costs microseconds. */
export const followIntervalMs = 250
const changesPerReadMax = 1_000
const askAgainAfterMs = 1_000
const readsPerLookupMax = 3
const idLength = 36

/** What the follower tells of: every change once, after memory forgot it; an outage of the feed and its end. */
export type FollowEvents = {
  changed?(change: TokenChange): void
  failed?(error: unknown): void
  recovered?(): void
}

type Flight = { readonly record: Promise<TokenRecord | undefined>; isSuperseded: boolean }

const absent: Lookup = { kind: 'absent' }

/** One for each process and authority. The store stays the caller's to close. */
export class TokenLookup {
  readonly #store: TokenStore
  readonly #cache: TokenSettings['cache']
  readonly #clock: () => number
  readonly #memory: Memory
  readonly #flights = new Map<string, Flight>()
  /** Under which key a record that was handed out is remembered. */
  readonly #keys = new WeakMap<TokenRecord, string>()
  #position: number | undefined
  #feedSeenAt = Number.NEGATIVE_INFINITY
  #isFeedFailing = false
  #timer: NodeJS.Timeout | undefined
  #isClosed = false

  /** `clock` is monotonic, in milliseconds: a jump of the wall clock makes nothing younger. */
  constructor(
    store: TokenStore,
    cache: TokenSettings['cache'],
    clock: () => number = () => performance.now(),
  ) {
    this.#store = store
    this.#cache = cache
    this.#clock = clock
    this.#memory = createMemory(cache.entries)
  }

  /**
   * What is known of a secret at the wall-clock time `now`; a value, not a promise, where memory has it.
   * Rejects with `lookup_unavailable` when the authority cannot say and memory does not know.
   */
  find(secret: string, now: number): Lookup | Promise<Lookup> {
    if (!isWellFormed(secret)) return absent
    return this.#find(digestSecret(secret).toString('latin1'), now)
  }

  /** As `find`, for the id of a token. */
  findById(id: string, now: number): Lookup | Promise<Lookup> {
    return id.length === idLength ? this.#find(id, now) : absent
  }

  /**
   * The record that stands now for one that was handed out, without asking anyone. Undefined: no longer
   * active, or changed or forgotten since; ask `findById` before the token is used further.
   */
  live(record: TokenRecord, now: number): TokenRecord | undefined {
    const key = this.#keys.get(record)
    const known = key === undefined ? undefined : this.#memory.known(key)
    if (known === undefined || stateOf(known.record, now) !== 'active') return undefined
    const at = this.#clock()
    const isCurrent = this.#isFollowing(at) || at - known.readAt < this.#cache.freshMs
    return isCurrent ? known.record : undefined
  }

  /** Begins to follow the change feed. The timer does not keep the process alive. */
  follow(events: FollowEvents = {}): void {
    void this.#poll(events)
  }

  /** Ends the following and forgets everything. */
  close(): void {
    this.#isClosed = true
    clearTimeout(this.#timer)
    this.#memory.clear()
  }

  #find(key: string, now: number): Lookup | Promise<Lookup> {
    const at = this.#clock()
    const known = this.#memory.known(key)
    if (known !== undefined) {
      if (at - known.readAt < this.#cache.freshMs) return judgeKnown(known, now)
      if (at < known.askAgainAt && this.#mayServe(known, at)) return judgeKnown(known, now)
    } else {
      const since = this.#memory.absentSince(key)
      if (since !== undefined && at - since < this.#cache.absentMs) return absent
    }
    return this.#ask(key, now)
  }

  async #ask(key: string, now: number): Promise<Lookup> {
    try {
      const record = await this.#fly(key)
      return record === undefined ? absent : judge(record, now)
    } catch (error) {
      // A change that was seen meanwhile has removed the entry: then there is nothing to serve.
      const known = this.#memory.known(key)
      const at = this.#clock()
      if (known === undefined || !this.#mayServe(known, at)) throw error
      known.askAgainAt = at + askAgainAfterMs
      return judgeKnown(known, now)
    }
  }

  /** However many ask for one key at one time, the authority is asked once. */
  #fly(key: string): Promise<TokenRecord | undefined> {
    const running = this.#flights.get(key)
    if (running !== undefined) return running.record
    const { promise, resolve, reject } = Promise.withResolvers<TokenRecord | undefined>()
    const flight: Flight = { record: promise, isSuperseded: false }
    this.#flights.set(key, flight)
    this.#read(key, flight)
      .finally(() => this.#flights.delete(key))
      .then(resolve, reject)
    return promise
  }

  async #read(key: string, flight: Flight): Promise<TokenRecord | undefined> {
    for (let reads = 0; reads < readsPerLookupMax; reads++) {
      flight.isSuperseded = false
      const readAt = this.#clock()
      const record = await (key.length === idLength
        ? this.#store.get(key)
        : this.#store.find(Buffer.from(key, 'latin1')))
      // Asked before a change of this token was seen, the answer may be older than the change.
      if (flight.isSuperseded) continue
      if (record !== undefined) this.#keys.set(record, key)
      this.#memory.remember(key, record, readAt)
      return record
    }
    throw new GatewayError(
      'lookup_unavailable',
      'The token changes faster than it can be read; try again in a second',
      { retryAfter: 1 },
    )
  }

  /** May a record be served although the authority does not answer? Until `stale` ends. */
  #mayServe(known: Known, at: number): boolean {
    return at - known.readAt < this.#cache.freshMs + this.#cache.staleMs
  }

  #isFollowing(at: number): boolean {
    return at - this.#feedSeenAt <= this.#cache.freshMs
  }

  async #poll(events: FollowEvents): Promise<void> {
    const at = this.#clock()
    try {
      await this.#readChanges(events)
      this.#feedSeenAt = at
      if (this.#isFeedFailing) events.recovered?.()
      this.#isFeedFailing = false
    } catch (error) {
      if (!this.#isFeedFailing) events.failed?.(error)
      this.#isFeedFailing = true
    }
    if (this.#isClosed) return
    this.#timer = setTimeout(() => void this.#poll(events), followIntervalMs).unref()
  }

  async #readChanges(events: FollowEvents): Promise<void> {
    if (this.#position === undefined) {
      this.#position = await this.#store.lastChange()
      // What was read before the following began may have changed unseen.
      this.#memory.clear()
      for (const flight of this.#flights.values()) flight.isSuperseded = true
    }
    while (!this.#isClosed) {
      const changes = await this.#store.changesSince(this.#position, changesPerReadMax)
      for (const change of changes) {
        this.#forget(change)
        this.#position = change.seq
        events.changed?.(change)
      }
      if (changes.length < changesPerReadMax) return
    }
  }

  #forget(change: TokenChange): void {
    for (const key of [change.tokenId, ...change.digests.map((d) => d.toString('latin1'))]) {
      this.#memory.forget(key)
      const flight = this.#flights.get(key)
      if (flight !== undefined) flight.isSuperseded = true
    }
  }
}

function judgeKnown(known: Known, now: number): Lookup {
  return stateOf(known.record, now) === 'active' ? known.active : judge(known.record, now)
}

function judge(record: TokenRecord, now: number): Lookup {
  return { kind: stateOf(record, now), record }
}
