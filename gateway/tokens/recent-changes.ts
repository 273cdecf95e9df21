// The changes that a process has seen of late: what it repeats to the shared cache, and the floor below
// which it takes nothing from there. Pure. It never forgets a change that a shared record may predate: what
// it can no longer judge, it calls outdated.
//
// Times across processes. A shared record carries when the authority was asked for it (`readAt`), by the
// wall clock of the process that asked; there is no other clock that two machines have in common. What a
// wrong clock can do is bounded thrice:
// - A record from more than `clockSkewMsMax` ahead is refused; so skew adds that much to `fresh` and `stale`.
// - Redis ends every value by its own clock, `sharedLifetimeMs` after it was written.
// - A record also carries the position in the change feed at which it was read. Positions come from the
//   authority: no clock moves them. A process takes a record only if it remembers every change since that
//   position and none of them was to this token. So a clock that jumps, back too, can make a record that is
//   still true look younger; it never brings back one that was changed.
// Within one process, ages are counted by the monotonic clock.

import type { TokenSettings } from '../configuration/configuration.ts'
import { lookupDeadlineMs } from './deadline.ts'
import type { TokenChange } from './store.ts'

/** How far the clocks of two machines may differ. */
export const clockSkewMsMax = 2_000
/** About 300 bytes each. */
export const changesRememberedMax = 100_000

/** How long Redis keeps a value: a tombstone outlives every older record that could still be written. */
export function sharedLifetimeMs({ freshMs, staleMs }: TokenSettings['cache']): number {
  return freshMs + staleMs + lookupDeadlineMs + clockSkewMsMax
}

type Seen = { readonly change: TokenChange; readonly at: number }

/** Changes in the order of the feed, each for `lifetimeMs` after it was seen (monotonic clock). */
export class RecentChanges {
  readonly #lifetimeMs: number
  readonly #limit: number
  #seen: Seen[] = []
  #first = 0
  readonly #latest = new Map<string, TokenChange>()
  /** Every change after this position is remembered. */
  #horizon = Number.POSITIVE_INFINITY

  constructor(lifetimeMs: number, limit = changesRememberedMax) {
    this.#lifetimeMs = lifetimeMs
    this.#limit = limit
  }

  /** The feed is read from this position on. */
  begin(position: number): void {
    this.#seen = []
    this.#first = 0
    this.#latest.clear()
    this.#horizon = position
  }

  /** In the order of the feed. A token's first version can outdate nothing and is not remembered. */
  add(change: TokenChange, at: number): void {
    this.#end(at)
    if (change.version <= 1) return
    const merged = mergeDigests(change, this.#latest.get(change.tokenId))
    this.#seen.push({ change: merged, at })
    this.#latest.set(change.tokenId, merged)
    if (this.#seen.length - this.#first > this.#limit) this.#dropFirst()
  }

  /** Was the token changed since, or can that not be told? */
  isOutdated(tokenId: string, version: number, position: number): boolean {
    if (position < this.#horizon) return true
    const latest = this.#latest.get(tokenId)
    return latest !== undefined && latest.version > version
  }

  /** Remembered changes after the position, the last of each token only, `limit` at most. */
  after(position: number, limit: number): TokenChange[] {
    const found: TokenChange[] = []
    for (let i = this.#indexAfter(position); i < this.#seen.length && found.length < limit; i++) {
      const { change } = this.#seen[i] as Seen
      if (this.#latest.get(change.tokenId) === change) found.push(change)
    }
    return found
  }

  #end(at: number): void {
    while (this.#first < this.#seen.length) {
      if (at - (this.#seen[this.#first] as Seen).at <= this.#lifetimeMs) break
      this.#dropFirst()
    }
  }

  #dropFirst(): void {
    const { change } = this.#seen[this.#first++] as Seen
    this.#horizon = change.seq
    if (this.#latest.get(change.tokenId) === change) this.#latest.delete(change.tokenId)
    if (this.#first * 2 < this.#seen.length) return
    this.#seen = this.#seen.slice(this.#first)
    this.#first = 0
  }

  #indexAfter(position: number): number {
    let low = this.#first
    let high = this.#seen.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#seen[middle] as Seen).change.seq <= position) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** A secret that an earlier change took from the token is not forgotten over a later one. */
function mergeDigests(change: TokenChange, earlier: TokenChange | undefined): TokenChange {
  if (earlier === undefined) return change
  const lost = earlier.digests.filter((old) => !change.digests.some((digest) => digest.equals(old)))
  return lost.length === 0 ? change : { ...change, digests: [...change.digests, ...lost] }
}
