// The field lines of requests that were read not long ago. A client sends the same ones with each of its
// requests, so what follows from them alone is found out once: the fields, whose token they present, the lines
// that are forwarded. Bounded in number and size; they hold secrets, so they are forgotten soon.

/** What follows from one block, by who found it out; with what else it depends on, for comparison. */
export type Facts = Map<object, unknown>

export type FieldBlock = {
  readonly fields: readonly string[]
  /** `Connection: close` was sent. */
  readonly closes: boolean
  readonly facts: Facts
}

/** Of each of the two generations. */
const blocksMax = 2_048
/** A longer block is read each time. */
const charsMax = 1_024

export class FieldBlocks {
  #young = new Map<string, FieldBlock>()
  #old = new Map<string, FieldBlock>()

  find(lines: string): FieldBlock | undefined {
    const young = this.#young.get(lines)
    if (young !== undefined) return young
    const old = this.#old.get(lines)
    if (old !== undefined) this.keep(lines, old)
    return old
  }

  /** Where a generation is full the block is not remembered. */
  keep(lines: string, block: FieldBlock): void {
    if (lines.length <= charsMax && this.#young.size < blocksMax) this.#young.set(lines, block)
  }

  /** Forgets what was not used since this was called last. */
  age(): void {
    this.#old = this.#young
    this.#young = new Map()
  }
}
