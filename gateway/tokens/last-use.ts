// Last use of tokens: when, from which address and for which protocol a token last permitted a request. A
// use counts when the token was active and the request was permitted, git's ref updates included; what the
// upstream made of it does not matter. Requests only note it; a timer writes what was noted, many tokens a
// transaction, each at most every minute, so that a busy token costs no more than one that is used at times.
// The latest use is never lost to that: it waits, and is written when its time has come, or at the end. A
// failure keeps what was noted for the next time. Nothing here fails a request or delays it.

import { setTimeout as pause } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import type { TokenStore, TokenUse } from './store.ts'

/** A token's use is written at most so often. */
export const useIntervalMs = 60_000
/** How often what was noted is written. */
export const writeIntervalMs = 2_000
/** A transaction of so many holds the authority's lock for a millisecond or two. */
export const usesPerWriteMax = 100
/** Between two transactions requests and other processes have their turn: all tokens that are remembered are written in time. */
const writeGapMs = 50
/** Tokens remembered, written or not; beyond them the one that was used longest ago is forgotten. */
export const tokensMax = 50_000

const closeTriesMax = 10
const closeRetryMs = 100

/** What the writer tells of: the first failure after a success, and the first success after it. */
export type LastUseEvents = { failed?(error: unknown): void; recovered?(): void }

type Entry = { -readonly [Key in keyof TokenUse]: TokenUse[Key] } & {
  writtenAt: number
  /** Used since it was written. A flag: a Set of them would cost each use another search. */
  isDue: boolean
  isForgotten: boolean
}

/** One for each process and authority. The store stays the caller's to close. */
export class LastUse {
  readonly #store: Pick<TokenStore, 'recordUse'>
  readonly #clock: () => number
  readonly #entries: LRUCache<string, Entry>
  /**
   * By their ids, and so by their places in the authority: what is written together stands together there,
   * a third of the work. Those that are new stand at the end; where the rest is in order, a sort is one look.
   */
  #ordered: Entry[] = []
  #writing: Promise<void> = Promise.resolve()
  #isFailing = false
  #gapMs = writeGapMs
  #timer: NodeJS.Timeout | undefined

  /** `clock` is monotonic, in milliseconds. */
  constructor(
    store: Pick<TokenStore, 'recordUse'>,
    clock: () => number = () => performance.now(),
    tokens = tokensMax,
  ) {
    this.#store = store
    this.#clock = clock
    // By size, as in memory.ts: with `max` the cache keeps its order in typed arrays, without in plain ones, and
    // where the process has both, V8 compiles neither (a microsecond a use).
    this.#entries = new LRUCache({
      maxSize: tokens,
      sizeCalculation: () => 1,
      dispose: (entry) => {
        entry.isForgotten = true
      },
    })
  }

  /** Notes a use; takes no time to speak of. `at`: the wall clock's milliseconds. */
  note(tokenId: string, address: string, protocol: TokenUse['protocol'], at: number): void {
    let entry = this.#entries.get(tokenId)
    if (entry === undefined) {
      entry = {
        tokenId,
        at,
        address,
        protocol,
        writtenAt: Number.NEGATIVE_INFINITY,
        isDue: true,
        isForgotten: false,
      }
      this.#entries.set(tokenId, entry)
      this.#ordered.push(entry)
    } else {
      entry.at = at
      entry.address = address
      entry.protocol = protocol
      entry.isDue = true
    }
  }

  /** Begins to write. The timer does not keep the process alive. */
  start(events: LastUseEvents = {}): void {
    this.#timer = setTimeout(async () => {
      await this.writeDue(events)
      if (this.#timer !== undefined) this.start(events)
    }, writeIntervalMs).unref()
  }

  /** Writes what is due now. Never rejects. */
  writeDue(events: LastUseEvents = {}): Promise<void> {
    const at = this.#clock()
    this.#ordered = this.#ordered.filter(({ isForgotten }) => !isForgotten).sort(byId)
    const due = this.#ordered.filter(
      ({ isDue, writtenAt }) => isDue && at - writtenAt >= useIntervalMs,
    )
    this.#writing = this.#write(due).then(
      () => {
        if (this.#isFailing) events.recovered?.()
        this.#isFailing = false
      },
      (error: unknown) => {
        if (!this.#isFailing) events.failed?.(error)
        this.#isFailing = true
      },
    )
    return this.#writing
  }

  /** Writes all that was noted, and no more. Resolves with the number of tokens whose use was lost. */
  async close(): Promise<number> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#gapMs = 0
    await this.#writing
    let left = this.#unwritten()
    for (let tries = 1; left.length > 0 && tries <= closeTriesMax; tries++) {
      if (tries > 1) await pause(closeRetryMs)
      await this.#write(left).catch(() => {})
      left = this.#unwritten()
    }
    return left.length
  }

  #unwritten(): Entry[] {
    return this.#ordered.filter(({ isDue, isForgotten }) => isDue && !isForgotten)
  }

  async #write(entries: readonly Entry[]): Promise<void> {
    for (let first = 0; first < entries.length; first += usesPerWriteMax) {
      if (first > 0) await pause(this.#gapMs)
      await this.#writeSome(entries.slice(first, first + usesPerWriteMax))
    }
  }

  async #writeSome(entries: readonly Entry[]): Promise<void> {
    // What is noted while the store writes stays for the next time.
    const uses = entries.map(({ tokenId, at, address, protocol }) => {
      return { tokenId, at, address, protocol }
    })
    for (const entry of entries) entry.isDue = false
    try {
      await this.#store.recordUse(uses)
      const at = this.#clock()
      for (const entry of entries) entry.writtenAt = at
    } catch (error) {
      for (const entry of entries) entry.isDue = true
      throw error
    }
  }
}

function byId({ tokenId: one }: Entry, { tokenId: other }: Entry): number {
  return one < other ? -1 : 1
}
