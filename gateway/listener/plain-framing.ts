// Where the body of a plain request ends (RFC 9112 6.3): after so many bytes, or with its last chunk.

import { ChunkedReader } from '../http1/chunked-reader.ts'

/** What a client may send beside the content, as chunk extensions and as trailers; nobody is told of either. */
const besideBytesMax = 16 * 1024

export type PlainFraming = {
  /** The body has ended. */
  readonly isWhole: boolean
  /** What was taken last goes on behind the body for so many bytes. */
  readonly bytesBehind: number
  /** Takes what was read next; returns what of it is content, which may have been moved within. Throws WireError. */
  take(bytes: Buffer): Buffer
}

export class LengthFraming implements PlainFraming {
  bytesBehind = 0
  #left: number

  constructor(length: number) {
    this.#left = length
  }

  get isWhole(): boolean {
    return this.#left === 0
  }

  take(bytes: Buffer): Buffer {
    const content = bytes.length > this.#left ? bytes.subarray(0, this.#left) : bytes
    this.#left -= content.length
    this.bytesBehind = bytes.length - content.length
    return content
  }
}

export class ChunkedFraming implements PlainFraming {
  bytesBehind = 0
  #parts: Buffer[] = []
  readonly #reader = new ChunkedReader(
    { data: (part) => void this.#parts.push(part), end: () => {} },
    besideBytesMax,
  )

  get isWhole(): boolean {
    return this.#reader.isWhole
  }

  take(bytes: Buffer): Buffer {
    this.bytesBehind = bytes.length - this.#reader.take(bytes, 0, bytes.length)
    const parts = this.#parts
    this.#parts = []
    return joinWithin(bytes, parts)
  }
}

/** The parts, which stand in `bytes` one behind the other, without the gaps. */
function joinWithin(bytes: Buffer, parts: readonly Buffer[]): Buffer {
  const [first] = parts
  if (first === undefined) return bytes.subarray(0, 0)
  const start = first.byteOffset - bytes.byteOffset
  let end = start
  for (const part of parts) {
    const from = part.byteOffset - bytes.byteOffset
    if (from > end) bytes.copyWithin(end, from, from + part.length)
    end += part.length
  }
  return bytes.subarray(start, end)
}
