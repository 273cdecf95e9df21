// Questions under way: however many ask the same at one time, it is asked once.

/** One question; superseded: something has changed since it was asked, so that its answer may be old. */
export type Flight = { isSuperseded: boolean }

type Running<T> = { readonly flight: Flight; readonly answer: Promise<T> }

/** Questions by key. */
export class Flights<T> {
  readonly #running = new Map<string, Running<T>>()

  /** The answer of the question that runs already, or of `ask`. */
  join(key: string, ask: (flight: Flight) => Promise<T>): Promise<T> {
    const running = this.#running.get(key)
    if (running !== undefined) return running.answer
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const flight: Flight = { isSuperseded: false }
    this.#running.set(key, { flight, answer: promise })
    ask(flight)
      .finally(() => this.#running.delete(key))
      .then(resolve, reject)
    return promise
  }

  supersede(key: string): void {
    const running = this.#running.get(key)
    if (running !== undefined) running.flight.isSuperseded = true
  }

  supersedeAll(): void {
    for (const { flight } of this.#running.values()) flight.isSuperseded = true
  }
}
