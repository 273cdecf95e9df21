// From a presented secret to what is known of it: memory first, then the shared cache, then the authority.
// Records are remembered, their state is judged on each call. It follows the authority's change feed, so
// that a change made by any process acts here within a second. It never takes an outage for an absence.
//
// A record older than `fresh` is asked for again. Where the feed was read just now and told of no change of
// the token, that is done beside the requests, which go on with the record that is known, until `stale` ends.

import { performance } from 'node:perf_hooks'
import type { TokenSettings } from '../configuration/configuration.ts'
import { inTime, late, lookupDeadlineMs, unavailable } from './deadline.ts'
import { type Flight, Flights } from './flights.ts'
import { Follower } from './follower.ts'
import { createMemory, type Known, type Memory } from './memory.ts'
import type { LookupObserver } from './observer.ts'
import { RecentChanges, sharedLifetimeMs } from './recent-changes.ts'
import { RedisCache } from './redis.ts'
import type { RedisLink } from './redis-link.ts'
import { Renewals } from './renewals.ts'
import type { TokenChange, TokenStore } from './store.ts'
import {
  digestKey,
  isWellFormed,
  type Lookup,
  secretLengthMax,
  stateOf,
  type TokenRecord,
} from './token.ts'

const askAgainAfterMs = 1_000
/** For so long after it was read, and no longer than `fresh`, the feed speaks for what it calls unchanged. */
const feedSpeaksForMs = 1_000
const readsPerLookupMax = 3
const idLength = 36

/** What the follower tells of: every change once, after memory forgot it; an outage of the feed and its end. */
export type FollowEvents = {
  changed?(change: TokenChange): void
  /** An older state of the authority was restored: any token may have changed. */
  restarted?(): void
  failed?(error: unknown): void
  recovered?(): void
}

export type LookupOptions = {
  /** Monotonic, in milliseconds: a jump of the wall clock makes nothing younger. */
  readonly clock?: () => number
  /** Wall clock, milliseconds since the epoch: what is shared is dated by it. */
  readonly now?: () => number
  /** The shared cache; it is connected when the following begins, and closed with the lookup. */
  readonly redis?: RedisLink | undefined
  readonly observer?: LookupObserver
  /**
   * Part of `fresh` by which the authority's answers count as older, at random: tokens that were read at one
   * time, as after a start, are not all read again at one time. 0: none.
   */
  readonly spread?: number
}

/** Asked before a lookup that memory cannot answer; where it rejects, nobody is asked. */
export type Admit = () => Promise<void>

/** How the tiers behind memory are asked. */
type Asking = {
  readonly admit?: Admit | undefined
  /** Leaves out the shared cache. */
  readonly authorityOnly?: boolean
}

const absent: Lookup = { kind: 'absent' }

/** One for each process and authority. The store stays the caller's to close. */
export class TokenLookup {
  readonly #store: TokenStore
  readonly #cache: TokenSettings['cache']
  readonly #clock: () => number
  readonly #observer: LookupObserver
  readonly #spreadMs: number
  readonly #memory: Memory
  readonly #shared: RedisCache | undefined
  readonly #changes: RecentChanges
  readonly #follower: Follower
  readonly #flights = new Flights<TokenRecord | undefined>()
  readonly #renewals = new Renewals((key) => this.#renew(key))
  /** Under which key a record that was handed out is remembered. */
  readonly #keys = new WeakMap<TokenRecord, string>()
  #events: FollowEvents = {}
  #hasBegun = false

  constructor(store: TokenStore, cache: TokenSettings['cache'], options: LookupOptions = {}) {
    const { clock = () => performance.now(), now = Date.now, redis, observer = {} } = options
    this.#spreadMs = (options.spread ?? 0) * cache.freshMs
    this.#store = store
    this.#cache = cache
    this.#clock = clock
    this.#observer = observer
    this.#memory = createMemory(cache.entries)
    this.#changes = new RecentChanges(sharedLifetimeMs(cache))
    const beginAt = redis && (() => store.positionBefore(now() - sharedLifetimeMs(cache)))
    this.#follower = new Follower(store, this.#followed(), clock, beginAt)
    this.#shared =
      redis &&
      new RedisCache({
        link: redis,
        store,
        cache,
        changes: this.#changes,
        catchUp: () => this.#follower.poll(),
        position: () => this.#position,
        observer,
        wake: () => this.#follower.wake(),
        now,
      })
  }

  /**
   * What is known of a secret at the wall-clock time `now`; a value, not a promise, where memory has it.
   * Rejects with `lookup_unavailable` when the authority cannot say and memory does not know, and as
   * `admit` does: it is called where memory knows nothing and nobody else asks already.
   */
  find(secret: string, now: number, admit?: Admit): Lookup | Promise<Lookup> {
    if (!isWellFormed(secret)) return absent
    return this.#find(digestKey(secret), now, admit)
  }

  /** What memory knows of a secret, whose digest may be known; undefined: it must be asked for with `find`. */
  recall(secret: string, now: number, key?: string): Lookup | undefined {
    // What is known needs no look at its checksum.
    if (secret.length > secretLengthMax) return undefined
    const found = key ?? digestKey(secret)
    const known = this.#memory.known(found)
    if (known === undefined || !this.#isServed(found, known, this.#clock())) return undefined
    this.#observer.lookup?.('memory', 'hit', 0)
    return judgeKnown(known, now)
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
    const isCurrent =
      this.#isFollowing(at) ||
      at - known.readAt < this.#cache.freshMs ||
      (at < known.askAgainAt && this.#mayServe(known, at))
    return isCurrent ? known.record : undefined
  }

  /** Begins to follow the change feed. Its timers do not keep the process alive. */
  follow(events: FollowEvents = {}): void {
    this.#events = events
    this.#follower.start()
    this.#shared?.open()
  }

  /** Reads the change feed now. Rejects as the authority does. */
  catchUp(): Promise<void> {
    return this.#follower.poll()
  }

  /** Ends the following, leaves the shared cache and forgets everything. */
  close(): void {
    this.#follower.close()
    this.#shared?.close()
    this.#renewals.close()
    this.#memory.clear()
  }

  #find(key: string, now: number, admit?: Admit): Lookup | Promise<Lookup> {
    const at = this.#clock()
    const known = this.#memory.known(key)
    if (known !== undefined && this.#isServed(key, known, at)) {
      this.#observer.lookup?.('memory', 'hit', 0)
      return judgeKnown(known, now)
    }
    const since = known === undefined ? this.#memory.absentSince(key) : undefined
    if (since !== undefined && at - since < this.#cache.absentMs) {
      this.#observer.lookup?.('memory', 'absent', 0)
      return absent
    }
    this.#observer.lookup?.('memory', 'miss', 0)
    return this.#ask(key, now, { admit: known === undefined ? admit : undefined })
  }

  /** Is it served without waiting for a question? While the authority fails, it is asked once in a while only. */
  #isServed(key: string, known: Known, at: number): boolean {
    if (at - known.readAt < this.#cache.freshMs) return true
    if (!this.#mayServe(known, at)) return false
    if (at < known.askAgainAt) return true
    if (!this.#feedSpeaks(at)) return false
    this.#renewals.add(key)
    return true
  }

  /** Was the change feed read just now? Then what memory knows has not changed. */
  #feedSpeaks(at: number): boolean {
    return at - this.#follower.readAt < Math.min(feedSpeaksForMs, this.#cache.freshMs)
  }

  async #renew(key: string): Promise<void> {
    const known = this.#memory.known(key)
    const at = this.#clock()
    if (known === undefined || at - known.readAt < this.#cache.freshMs) return
    // Its feed has just been read, so it is there to be asked; Redis would cost more than it does. Where it is
    // gone since, a question that nobody waits for is none: each may wait for a lock.
    if (this.#feedSpeaks(at)) await this.#ask(key, Date.now(), { authorityOnly: true })
  }

  async #ask(key: string, now: number, asking: Asking): Promise<Lookup> {
    try {
      const record = await this.#flights.join(key, (flight) => this.#read(key, flight, asking))
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

  async #read(
    key: string,
    flight: Flight,
    { admit, authorityOnly = false }: Asking,
  ): Promise<TokenRecord | undefined> {
    let isAdmitted = false
    for (let reads = 0; reads < readsPerLookupMax; reads++) {
      flight.isSuperseded = false
      const mayShare = !authorityOnly && this.#mayShare(key)
      const shared = mayShare ? await this.#askShared(key, flight) : undefined
      // Asked before a change of this token was seen, the answer may be older than the change.
      if (flight.isSuperseded) continue
      if (shared !== undefined) return shared
      if (admit !== undefined && !isAdmitted) await admit()
      isAdmitted = true
      flight.isSuperseded = false
      const position = this.#position
      const readAt = this.#clock()
      const record = await this.#askAuthority(key, readAt)
      if (flight.isSuperseded) continue
      if (record !== undefined) this.#keys.set(record, key)
      const countsFrom = record === undefined ? readAt : readAt - Math.random() * this.#spreadMs
      this.#memory.remember(key, record, countsFrom)
      if (record !== undefined && key.length !== idLength) {
        const digest = Buffer.from(key, 'latin1')
        this.#shared?.fill(digest, record, this.#clock() - countsFrom, position)
      }
      return record
    }
    throw unavailable('the token changes faster than it can be read; try again in a second')
  }

  /** Redis knows tokens by their digests only. */
  #mayShare(key: string): boolean {
    return key.length !== idLength && this.#shared?.isUsable === true
  }

  /** A fresh record; one that is only good for an outage is remembered, and the authority asked. */
  async #askShared(key: string, flight: Flight): Promise<TokenRecord | undefined> {
    const answer = await this.#shared?.find(Buffer.from(key, 'latin1'))
    if (answer === undefined || flight.isSuperseded) return undefined
    const at = this.#clock()
    this.#keys.set(answer.record, key)
    this.#memory.keepNewer(key, answer.record, at - answer.ageMs)
    const known = this.#memory.known(key)
    const isFresh = known !== undefined && at - known.readAt < this.#cache.freshMs
    return isFresh ? known.record : undefined
  }

  /** An answer that comes too late is none: it may be older than a change that everyone has seen. */
  async #askAuthority(key: string, readAt: number): Promise<TokenRecord | undefined> {
    const beganAt = performance.now()
    const told = (result: 'hit' | 'absent' | 'error'): void =>
      this.#observer.lookup?.('authority', result, performance.now() - beganAt)
    try {
      const record = await inTime(
        key.length === idLength
          ? this.#store.get(key)
          : this.#store.find(Buffer.from(key, 'latin1')),
      )
      if (this.#clock() - readAt > lookupDeadlineMs) throw late()
      told(record === undefined ? 'absent' : 'hit')
      return record
    } catch (error) {
      told('error')
      throw error
    }
  }

  /** May a record be served although the authority does not answer? Until `stale` ends. */
  #mayServe(known: Known, at: number): boolean {
    return at - known.readAt < this.#cache.freshMs + this.#cache.staleMs
  }

  #isFollowing(at: number): boolean {
    return at - this.#follower.readAt <= this.#cache.freshMs
  }

  get #position(): number {
    return this.#follower.position ?? 0
  }

  #followed(): ConstructorParameters<typeof Follower>[1] {
    return {
      began: (position) => {
        this.#changes.begin(position)
        if (this.#hasBegun) {
          this.#shared?.restarted()
          this.#events.restarted?.()
        }
        this.#hasBegun = true
        // What was read before the following began may have changed unseen.
        this.#memory.clear()
        this.#flights.supersedeAll()
      },
      changed: (change, isNew) => {
        if (this.#shared !== undefined) this.#changes.add(change, this.#clock())
        this.#forget(change)
        if (isNew) this.#events.changed?.(change)
      },
      read: () => this.#shared?.changed(),
      failed: (error) => {
        this.#events.failed?.(error)
        this.#observer.dependency?.('authority', false, 'the change feed cannot be read')
      },
      recovered: () => {
        this.#events.recovered?.()
        this.#observer.dependency?.('authority', true)
      },
    }
  }

  #forget(change: TokenChange): void {
    for (const key of [change.tokenId, ...change.digests.map((d) => d.toString('latin1'))]) {
      this.#memory.forget(key)
      this.#flights.supersede(key)
    }
  }
}

function judgeKnown(known: Known, now: number): Lookup {
  return stateOf(known.record, now) === 'active' ? known.active : judge(known.record, now)
}

function judge(record: TokenRecord, now: number): Lookup {
  return { kind: stateOf(record, now), record }
}
