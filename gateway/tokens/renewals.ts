// Records that are asked for again beside the requests that use them. A few at a time: a load that comes
// back after a while finds all of its records too old at once, and would wait for every one of them.

/** Between two turns, in which a small part of what is due is begun. */
const turnMs = 5
/** A record waits about this many turns, two seconds. */
const turnsToWait = 400
const perTurnMax = 16
/** Questions under way; beyond them the others wait. */
const underWayMax = 64

/** Keys that are due or under way, each once. */
export class Renewals {
  readonly #renew: (key: string) => Promise<unknown>
  readonly #due = new Set<string>()
  readonly #underWay = new Set<string>()
  #timer: NodeJS.Timeout | undefined

  /** `renew` asks for one; whether it resolves or rejects is the same here. */
  constructor(renew: (key: string) => Promise<unknown>) {
    this.#renew = renew
  }

  /** The timer does not keep the process alive. */
  add(key: string): void {
    if (this.#underWay.has(key)) return
    this.#due.add(key)
    this.#timer ??= setTimeout(() => this.#turn(), turnMs).unref()
  }

  close(): void {
    clearTimeout(this.#timer)
    this.#due.clear()
  }

  #turn(): void {
    const part = Math.min(perTurnMax, Math.ceil(this.#due.size / turnsToWait))
    const count = Math.min(part, underWayMax - this.#underWay.size)
    for (const key of this.#due.values().take(count)) this.#begin(key)
    this.#timer = undefined
    if (this.#due.size > 0) this.#timer = setTimeout(() => this.#turn(), turnMs).unref()
  }

  #begin(key: string): void {
    this.#due.delete(key)
    this.#underWay.add(key)
    const ended = () => void this.#underWay.delete(key)
    this.#renew(key).then(ended, ended)
  }
}
