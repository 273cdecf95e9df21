// Follows the authority's change feed: at a slow pace, and in a hurry for a moment when something hints at
// news. Hints only wake it; what has changed it reads from the feed alone, and tells of each change once.

import type { TokenChange, TokenStore } from './store.ts'

/** How often the change feed is read. A poll without news costs microseconds. */
export const followIntervalMs = 250
/** The pace after a hint: a commit shows a little later than its first write. */
export const hurryIntervalMs = 10
export const hurryMs = 100
const changesPerReadMax = 1_000

/** What the follower tells of. */
export type FollowerEvents = {
  /** The position is known for the first time, or anew; what was read before may have changed unseen. */
  began(position: number): void
  /** `isNew`: it was made after the following began. */
  changed(change: TokenChange, isNew: boolean): void
  /** A reading is over that brought news. */
  read(): void
  failed(error: unknown): void
  recovered(): void
}

/** One for each process and authority. */
export class Follower {
  readonly #store: TokenStore
  readonly #events: FollowerEvents
  readonly #clock: () => number
  readonly #beginAt: () => Promise<number>
  #position: number | undefined
  #newAfter = 0
  #readAt = Number.NEGATIVE_INFINITY
  #isFailing = false
  #reading: Promise<void> | undefined
  #next: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #unwatch: (() => void) | undefined
  #hurryUntil = Number.NEGATIVE_INFINITY
  #isClosed = false

  /** `clock` is monotonic; the first reading begins at the position that `beginAt` resolves with. */
  constructor(
    store: TokenStore,
    events: FollowerEvents,
    clock: () => number,
    beginAt: () => Promise<number> = () => store.lastChange(),
  ) {
    this.#store = store
    this.#events = events
    this.#clock = clock
    this.#beginAt = beginAt
  }

  /** Every change up to here was told of; undefined before the first reading. */
  get position(): number | undefined {
    return this.#position
  }

  /** When the last good reading began. */
  get readAt(): number {
    return this.#readAt
  }

  /** The timer does not keep the process alive. */
  start(): void {
    this.#unwatch = this.#store.watch(() => this.wake())
    this.#tick()
  }

  /** Something may have changed. */
  wake(): void {
    const isHurrying = this.#clock() < this.#hurryUntil
    this.#hurryUntil = this.#clock() + hurryMs
    if (!isHurrying && !this.#isClosed && this.#timer !== undefined) this.#schedule(0)
  }

  /** A reading that began after the call. Rejects as the store does. */
  poll(): Promise<void> {
    if (this.#reading === undefined) {
      this.#reading = this.#poll().finally(() => {
        this.#reading = undefined
      })
      return this.#reading
    }
    this.#next ??= this.#reading
      .catch(() => {})
      .then(() => {
        this.#next = undefined
        return this.poll()
      })
    return this.#next
  }

  close(): void {
    this.#isClosed = true
    this.#unwatch?.()
    clearTimeout(this.#timer)
  }

  #tick(): void {
    this.poll()
      .catch(() => {})
      .finally(() => {
        const isHurrying = this.#clock() < this.#hurryUntil
        this.#schedule(isHurrying ? hurryIntervalMs : followIntervalMs)
      })
  }

  #schedule(delayMs: number): void {
    clearTimeout(this.#timer)
    if (!this.#isClosed) this.#timer = setTimeout(() => this.#tick(), delayMs).unref()
  }

  async #poll(): Promise<void> {
    if (this.#isClosed) return
    const at = this.#clock()
    try {
      await this.#read()
      this.#readAt = at
    } catch (error) {
      if (!this.#isFailing) this.#events.failed(error)
      this.#isFailing = true
      throw error
    }
    if (this.#isFailing) this.#events.recovered()
    this.#isFailing = false
  }

  async #read(): Promise<void> {
    const last = await this.#store.lastChange()
    // An older database was restored: nothing that was read before it counts.
    if (this.#position !== undefined && last < this.#position) this.#position = undefined
    if (this.#position === undefined) {
      this.#newAfter = last
      this.#position = Math.min(await this.#beginAt(), this.#newAfter)
      this.#events.began(this.#position)
    }
    let hasNews = false
    while (!this.#isClosed) {
      const changes = await this.#store.changesSince(this.#position, changesPerReadMax)
      for (const change of changes) {
        this.#position = change.seq
        this.#events.changed(change, change.seq > this.#newAfter)
      }
      hasNews ||= changes.length > 0
      if (changes.length < changesPerReadMax) break
    }
    if (hasNews) this.#events.read()
  }
}
