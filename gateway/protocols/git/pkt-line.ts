// The pkt-line format (gitprotocol-common, "pkt-line Format"): four hex digits of length, then data. Read
// strictly from a body that comes in chunks of any size, and written. It never repairs: upper-case
// digits, the special lengths 0001 to 0003 and the empty 0004 are refused with `bad_request`.

import { GatewayError } from '../../errors.ts'
import type { RequestBody } from '../protocol.ts'

/** A pkt-line's data, or the flush-pkt. */
export type PktLine = 'flush' | Buffer

/** Longest pkt-line, its four digits included. */
export const pktLineBytesMax = 65_520
const lengthBytes = 4

/** Reads pkt-lines from the start of a body; what stands behind them is left for `unread`. */
export class PktLineReader {
  readonly #source: Pick<RequestBody, 'next'>
  readonly #bytesMax: number
  #chunks: Buffer[] = []
  #held = 0
  #consumed = 0
  #ended = false

  /** `bytesMax` bounds all pkt-lines together. */
  constructor(source: Pick<RequestBody, 'next'>, bytesMax: number) {
    this.#source = source
    this.#bytesMax = bytesMax
  }

  /** Bytes of the pkt-lines read so far. */
  get consumed(): number {
    return this.#consumed
  }

  /** The next pkt-line. Throws GatewayError `bad_request` for what is none, and at the end of the body. */
  async next(): Promise<PktLine> {
    const length = readLength(await this.peek(lengthBytes))
    const bytes = length === 0 ? lengthBytes : length
    if (this.#consumed + bytes > this.#bytesMax) {
      refuse(`the command list is longer than ${this.#bytesMax} bytes; push fewer refs at a time`)
    }
    const line = await this.peek(bytes)
    if (line.length < bytes) refuse('the body ends inside a pkt-line')
    this.#drop(bytes)
    return length === 0 ? 'flush' : line.subarray(lengthBytes)
  }

  /** The next `count` bytes without taking them; fewer only at the end of the body. */
  async peek(count: number): Promise<Buffer> {
    while (this.#held < count && !this.#ended) {
      const chunk = await this.#source.next()
      if (chunk === undefined) this.#ended = true
      else if (chunk.length > 0) this.#chunks.push(chunk)
      this.#held += chunk?.length ?? 0
    }
    if (this.#held === 0) return Buffer.alloc(0)
    // Joined only once enough is there, so that a body of tiny chunks is copied once a line.
    if (this.#chunks[0]!.length < count) this.#chunks = [Buffer.concat(this.#chunks)]
    return this.#chunks[0]!.subarray(0, count)
  }

  /** What was received but not read as pkt-lines. */
  unread(): readonly Buffer[] {
    return this.#chunks
  }

  #drop(count: number): void {
    const first = this.#chunks[0]!
    if (first.length === count) this.#chunks.shift()
    else this.#chunks[0] = first.subarray(count)
    this.#held -= count
    this.#consumed += count
  }
}

/** One pkt-line. The caller keeps within `pktLineBytesMax`. */
export function writePktLine(data: string | Buffer): Buffer {
  const bytes = typeof data === 'string' ? Buffer.from(data) : data
  const length = lengthBytes + bytes.length
  if (length > pktLineBytesMax) throw new Error(`a pkt-line of ${length} bytes`)
  return Buffer.concat([Buffer.from(length.toString(16).padStart(lengthBytes, '0')), bytes])
}

/** The flush-pkt. */
export const flushPkt = Buffer.from('0000')

/** Refuses what is not to the letter; the sentence says what it is. */
export function refuse(sentence: string): never {
  throw new GatewayError('bad_request', `the push was not understood: ${sentence}`)
}

// 0 for the flush-pkt, else the length of the whole pkt-line.
function readLength(digits: Buffer): number {
  if (digits.length < lengthBytes) refuse('the body ends before the flush-pkt of the command list')
  const text = digits.toString('latin1')
  if (!/^[0-9a-f]{4}$/.test(text)) {
    refuse('a pkt-line begins with its length as four lower-case hex digits')
  }
  const length = Number.parseInt(text, 16)
  if (length > 0 && length <= lengthBytes) refuse(`the pkt-line ${text} has no place in a push`)
  if (length > pktLineBytesMax) refuse(`a pkt-line has ${pktLineBytesMax} bytes at most`)
  return length
}
