// The shared cache: records that some process has read from the authority, in Redis, for every process.
// It caches records, never decisions and never absences: those would let a flood of unknown tokens push out
// the known ones, and a lie refuse a good token. Nothing here is ever an outage of the gateway: what Redis
// cannot tell is a miss, and the authority is asked.
//
// It is used only while it is known to hold no record older than a change that this process has seen: after
// every connection, every failed write of a change and every silence, the change feed is read and the
// changes of the last `sharedLifetimeMs` are written to it first. What is read is compared with them all the
// same (recent-changes.ts), because Redis may lose what was written to it.

import type { TokenSettings } from '../configuration/configuration.ts'
import { Breaker, probeDelayMs } from './breaker.ts'
import type { LookupObserver } from './observer.ts'
import { clockSkewMsMax, type RecentChanges, sharedLifetimeMs } from './recent-changes.ts'
import { commandTimeoutMs, RedisFailure, type RedisLink } from './redis-link.ts'
import { Repeater } from './repeater.ts'
import { type SharedRecord, SharedSeal, sharedValueBytesMax } from './shared-value.ts'
import type { TokenStore } from './store.ts'
import type { TokenRecord } from './token.ts'

/** Commands under way; beyond them Redis is not asked. */
export const commandsMax = 1_000
/** A silence this much longer than the timeout is this process's own: it was busy elsewhere. */
const ownDelayMs = 25
/** Tries without an answer until a connection that looks alive is given up. */
const silentProbesMax = 3

/** A record from the shared cache and how long ago the authority was asked for it. */
export type SharedAnswer = { readonly record: TokenRecord; readonly ageMs: number }

export type RedisCacheOptions = {
  readonly link: RedisLink
  readonly store: TokenStore
  readonly cache: TokenSettings['cache']
  readonly changes: RecentChanges
  /** Reads the change feed, from after the call. */
  readonly catchUp: () => Promise<void>
  /** Up to where the feed was read. */
  readonly position: () => number
  readonly observer: LookupObserver
  /** A message says that the feed has moved. */
  readonly wake: () => void
  /** Wall clock, milliseconds. */
  readonly now: () => number
}

/** One for each process and authority. */
export class RedisCache {
  readonly #options: RedisCacheOptions
  readonly #seal: SharedSeal
  readonly #channel: string
  readonly #lifetimeMs: number
  readonly #breaker = new Breaker()
  readonly #repeater: Repeater
  #inFlight = 0
  /** Counts connections: what was begun on an earlier one decides nothing. */
  #connection = 0
  #isRecovering = false
  #silentProbes = 0
  #heardPosition = 0
  #timer: NodeJS.Timeout | undefined
  #isUp: boolean | undefined
  #isClosed = false

  constructor(options: RedisCacheOptions) {
    const { store, cache } = options
    this.#options = options
    this.#seal = new SharedSeal(store.authorityId, store.cacheKey)
    this.#channel = `scopegate:${store.authorityId}`
    this.#lifetimeMs = sharedLifetimeMs(cache)
    this.#repeater = new Repeater(options, (digest, shared) => this.#write(digest, shared))
  }

  /** Connects. */
  open(): void {
    this.#options.link.open(this.#channel, {
      ready: () => {
        this.#connection += 1
        this.#silentProbes = 0
        this.#suspend('')
        void this.#recover()
      },
      lost: (reason) => {
        this.#connection += 1
        this.#suspend(reason)
      },
      message: (text) => this.#hear(text),
    })
  }

  /** Does it make sense to ask? */
  get isUsable(): boolean {
    return !this.#breaker.isOpen && this.#options.link.isReady && this.#inFlight < commandsMax
  }

  /** The record of a digest, younger than `fresh` and `stale` together; undefined: ask the authority. */
  async find(digest: Buffer): Promise<SharedAnswer | undefined> {
    const { link, observer } = this.#options
    const key = this.#seal.keyOf(digest)
    const beganAt = performance.now()
    const durationMs = () => performance.now() - beganAt
    let value: Buffer | undefined
    try {
      value = await this.#command(() => link.read(key))
    } catch {
      observer.lookup?.('redis', 'error', durationMs())
      return undefined
    }
    const answer = value === undefined ? 'miss' : this.#judge(key, value)
    observer.lookup?.('redis', typeof answer === 'string' ? answer : 'hit', durationMs())
    if (answer === 'invalid') this.#drop(key, value as Buffer)
    return typeof answer === 'string' ? undefined : answer
  }

  /**
   * Shares an answer that the authority has just given, asked at a position of the feed; its age counts from
   * `ageMs` ago. Nobody waits for it.
   */
  fill(digest: Buffer, record: TokenRecord, ageMs: number, position: number): void {
    if (!this.isUsable) return
    const readAt = Math.round(this.#options.now() - ageMs)
    const shared = { record, version: record.version, readAt, position }
    this.#write(digest, shared).catch(() => {})
  }

  /** The feed has brought changes: they are written to Redis, and other processes woken. */
  changed(): void {
    if (this.#breaker.isOpen || !this.#options.link.isReady) return
    const position = this.#options.position()
    // A message may claim anything; the feed has been read, and says what is true.
    if (this.#heardPosition > position) this.#heardPosition = 0
    if (position > this.#heardPosition) {
      this.#heardPosition = position
      this.#command(() => this.#options.link.publish(this.#channel, String(position))).catch(
        () => {},
      )
    }
    this.#repeater.writeNew().catch((error) => this.#fail(error))
  }

  /** An older state of the authority was restored: what was written and heard since means nothing. */
  restarted(): void {
    this.#heardPosition = 0
    if (!this.#breaker.isOpen && this.#options.link.isReady) {
      this.#repeater.writeAll().catch((error) => this.#fail(error))
    }
  }

  close(): void {
    this.#isClosed = true
    this.#breaker.open()
    clearTimeout(this.#timer)
    this.#options.link.close()
  }

  /** An answer, or the word for why there is none. */
  #judge(key: string, value: Buffer): SharedAnswer | 'miss' | 'invalid' {
    if (value.length > sharedValueBytesMax) return 'invalid'
    const shared = this.#seal.unseal(key, value.toString('utf8'))
    if (shared === 'foreign') return 'miss'
    if (shared === 'forged') return 'invalid'
    const { record, version, readAt, position } = shared
    const { cache, changes, now } = this.#options
    const ageMs = now() - readAt
    if (ageMs < -clockSkewMsMax) return 'invalid'
    if (record === null || ageMs >= cache.freshMs + cache.staleMs) return 'miss'
    if (changes.isOutdated(record.id, version, position)) return 'miss'
    return { record, ageMs: Math.max(0, ageMs) }
  }

  #drop(key: string, value: Buffer): void {
    if (!this.isUsable) return
    this.#command(() => this.#options.link.drop(key, value)).catch(() => {})
  }

  async #write(digest: Buffer, shared: SharedRecord): Promise<void> {
    const key = this.#seal.keyOf(digest)
    const value = this.#seal.seal(key, shared)
    const { version, readAt } = shared
    await this.#command(() =>
      this.#options.link.keepNewer(key, value, version, readAt, this.#lifetimeMs),
    )
  }

  /** Runs a command; what it says of Redis goes to the breaker. */
  async #command<T>(run: () => Promise<T>): Promise<T> {
    const connection = this.#connection
    const beganAt = performance.now()
    this.#inFlight += 1
    try {
      const reply = await run()
      if (connection === this.#connection) this.#breaker.succeeded()
      return reply
    } catch (error) {
      if (connection === this.#connection) {
        const isOwn = performance.now() - beganAt > commandTimeoutMs + ownDelayMs
        const kind = error instanceof RedisFailure && !isOwn ? error.kind : 'error'
        if (this.#breaker.failed(kind)) this.#suspend(reasonOf(error))
      }
      throw error
    } finally {
      this.#inFlight -= 1
    }
  }

  /** Nothing is asked of Redis until it has recovered, which is tried in a second. */
  #suspend(reason: string): void {
    this.#breaker.open()
    if (reason !== '') this.#tell(false, reason)
    if (this.#isClosed) return
    clearTimeout(this.#timer)
    const delayMs = probeDelayMs(Math.random())
    this.#timer = setTimeout(() => void this.#recover(), delayMs).unref()
  }

  #fail(error: unknown): void {
    this.#suspend(reasonOf(error))
  }

  /** Opens it for use when it takes writes and has been told of every change. Never rejects. */
  async #recover(): Promise<void> {
    const { link, catchUp } = this.#options
    if (this.#isClosed || this.#isRecovering || !link.isReady) return
    this.#isRecovering = true
    const connection = this.#connection
    try {
      await this.#probe()
      await catchUp()
      await this.#repeater.writeAll()
      if (connection !== this.#connection || this.#isClosed) return
      clearTimeout(this.#timer)
      this.#silentProbes = 0
      this.#breaker.close()
      this.#tell(true)
    } catch (error) {
      if (connection === this.#connection) this.#fail(error)
    } finally {
      this.#isRecovering = false
      // A connection that came meanwhile found this one at work.
      if (connection !== this.#connection) void this.#recover()
    }
  }

  /** Who takes no writes (a replica, a full server) cannot be told of changes. */
  async #probe(): Promise<void> {
    try {
      const at = Math.round(this.#options.now())
      await this.#options.link.keepNewer(`${this.#channel}:probe`, '', 0, at, this.#lifetimeMs)
    } catch (error) {
      const isSilent = error instanceof RedisFailure && error.kind === 'silence'
      this.#silentProbes = isSilent ? this.#silentProbes + 1 : 0
      if (this.#silentProbes >= silentProbesMax) {
        this.#silentProbes = 0
        this.#options.link.reconnect()
      }
      throw error
    }
  }

  #hear(text: string): void {
    const position = Number(text)
    if (text !== '' && !Number.isSafeInteger(position)) return
    if (text !== '' && position <= this.#options.position()) return
    // Not told again when the feed has been read up to there.
    if (position > this.#heardPosition) this.#heardPosition = position
    this.#options.wake()
  }

  #tell(isUp: boolean, reason?: string): void {
    if (isUp === this.#isUp || this.#isClosed) return
    this.#isUp = isUp
    this.#options.observer.dependency?.('redis', isUp, reason)
  }
}

function reasonOf(error: unknown): string {
  return error instanceof RedisFailure ? error.message : 'the authority cannot be read'
}
