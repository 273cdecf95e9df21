// When to stop asking what does not answer: after a few errors in a row, or one silence. Pure: who holds a
// breaker asks again by itself, and closes it when that went well.

/** Errors in a row that open it. */
export const errorsMax = 5
/** How often an open one is tried, give or take the jitter: many processes do not ask in step. */
export const probeIntervalMs = 1_000
export const probeJitter = 0.25

/** Open: nothing is asked. It begins open, for nothing has answered yet. */
export class Breaker {
  #errors = 0
  #isOpen = true

  get isOpen(): boolean {
    return this.#isOpen
  }

  succeeded(): void {
    this.#errors = 0
  }

  /** `silence`: no answer came in time, and the next question would wait as long. True: it opened now. */
  failed(kind: 'error' | 'silence'): boolean {
    this.#errors += kind === 'silence' ? errorsMax : 1
    if (this.#isOpen || this.#errors < errorsMax) return false
    this.#isOpen = true
    return true
  }

  open(): void {
    this.#isOpen = true
  }

  close(): void {
    this.#errors = 0
    this.#isOpen = false
  }
}

/** Time to the next try; `random` from 0 to 1. */
export function probeDelayMs(random: number): number {
  return probeIntervalMs * (1 + probeJitter * (2 * random - 1))
}
