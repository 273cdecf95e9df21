// The field lines of requests that were read not long ago. A client sends the same ones with each of its
// requests, so what follows from them alone is found out once: the fields, whose token they present, the lines
// that are forwarded. Bounded in number and size; they hold secrets, so they are forgotten soon.

import { randomInt } from 'node:crypto'
import { codeAt } from './field-lines.ts'

/**
 * What follows from one block, each as it was found out last, with what else it depends on for comparison: a
 * client that goes back and forth between two upstreams has it found out anew.
 */
export type Facts = {
  credentials: unknown
  origin: unknown
  forwarded: unknown
  /** Of all blocks, where it was found out last. */
  readonly recent: { forwarded: unknown }
}

export type FieldBlock = {
  readonly fields: readonly string[]
  /** `Connection: close` was sent. */
  readonly closes: boolean
  /** Content-Length, in bytes. */
  readonly length: number | undefined
  /** `Transfer-Encoding: chunked` was sent. */
  readonly isChunked: boolean
  /** `Expect: 100-continue` was sent. */
  readonly expects: boolean
  readonly facts: Facts
}

/** Of each of the two generations: as many clients as a busy gateway serves in some seconds. */
export const blocksMax = 8_192
/** A longer block is read each time. */
const charsMax = 1_024
/** Of a block that is longer than this, some signs are passed over for its key. */
const keySigns = 32

type Kept = { readonly lines: string; readonly block: FieldBlock }

/**
 * By keys of our own: with a text as its key, a Map would first make it one of the texts that V8 has only once,
 * which costs more than the search. Of two blocks with the same key the later one is kept.
 */
export class FieldBlocks {
  #young = new Map<number, Kept>()
  #old = new Map<number, Kept>()
  /** Of a block that was kept lately: clients send their names in the same order. */
  #lastFields: readonly string[] = []
  readonly #recent: Facts['recent'] = { forwarded: undefined }
  /** What others send is not to be made out by keys. */
  readonly #seed = randomInt(2 ** 31)

  get lastFields(): readonly string[] {
    return this.#lastFields
  }

  find(lines: string): FieldBlock | undefined {
    const key = this.#keyOf(lines)
    const young = this.#young.get(key)
    if (young?.lines === lines) return young.block
    const old = this.#old.get(key)
    if (old?.lines !== lines) return undefined
    // Not the lines that were asked for: they are a view of what was just read.
    this.keep(old.lines, old.block)
    return old.block
  }

  /** Of a block that is read anew. */
  noFacts(): Facts {
    return { credentials: undefined, origin: undefined, forwarded: undefined, recent: this.#recent }
  }

  /** Are these lines short enough, and the generation not full? */
  hasRoomFor(lines: string): boolean {
    return lines.length <= charsMax && this.#young.size < blocksMax
  }

  /** Where there is no room the block is not remembered. */
  keep(lines: string, block: FieldBlock): void {
    if (!this.hasRoomFor(lines)) return
    this.#lastFields = block.fields
    this.#young.set(this.#keyOf(lines), { lines, block })
  }

  /** Forgets what was not used since this was called last. */
  age(): void {
    this.#old = this.#young
    this.#young = new Map()
    this.#lastFields = []
    this.#recent.forwarded = undefined
  }

  /** FNV-1a, of 30 bits: a small integer to V8. */
  #keyOf(lines: string): number {
    const { length } = lines
    const step = Math.max(1, Math.floor(length / keySigns))
    let hash = this.#seed
    for (let at = 0; at < length; at += step) {
      hash = Math.imul(hash ^ codeAt(lines, at), 0x01000193)
    }
    return hash >>> 2
  }
}
