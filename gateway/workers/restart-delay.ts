// How long to wait before a worker that died is replaced. One that dies of what it is asked to do again and
// again must not take the machine with it; one that died once is missed no longer than it takes to start.

/** Doubles with each death, up to the maximum. */
export const restartDelayMinMs = 100
export const restartDelayMaxMs = 30_000
/** A worker that accepted for so long died of something new. */
export const steadyMs = 60_000

/** One for each worker and all who replace it. */
export class RestartDelay {
  #nextMs = restartDelayMinMs

  /** Milliseconds to wait after the death of a worker that had accepted for `acceptedMs`. */
  after(acceptedMs: number): number {
    if (acceptedMs >= steadyMs) this.#nextMs = restartDelayMinMs
    const delayMs = this.#nextMs
    this.#nextMs = Math.min(2 * delayMs, restartDelayMaxMs)
    return delayMs
  }
}
