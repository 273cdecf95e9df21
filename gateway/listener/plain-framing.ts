// Where the body of a plain request ends (RFC 9112 6.3): after so many bytes, or with its last chunk.

import { ChunkedReader } from '../http1/chunked-reader.ts'

/** Nobody is told of them. */
const trailerBytesMax = 16 * 1024

/** Of what was read: the content, and what is behind the body. */
export type Framed = { readonly content: Buffer; readonly behind: Buffer | undefined }

export type PlainFraming = {
  /** The body has ended. */
  readonly isWhole: boolean
  /** Takes what was read next. Its content may be moved within. Throws WireError. */
  take(bytes: Buffer): Framed
}

export class LengthFraming implements PlainFraming {
  #left: number

  constructor(length: number) {
    this.#left = length
  }

  get isWhole(): boolean {
    return this.#left === 0
  }

  take(bytes: Buffer): Framed {
    const end = this.#left
    if (bytes.length <= end) {
      this.#left -= bytes.length
      return { content: bytes, behind: undefined }
    }
    this.#left = 0
    return { content: bytes.subarray(0, end), behind: bytes.subarray(end) }
  }
}

export class ChunkedFraming implements PlainFraming {
  /** Where the content of the last read is, moved together. */
  #from = 0
  #to = 0
  readonly #reader = new ChunkedReader(
    { data: (bytes, from, to) => this.#join(bytes, from, to), end: () => {} },
    trailerBytesMax,
  )

  get isWhole(): boolean {
    return this.#reader.isWhole
  }

  take(bytes: Buffer): Framed {
    this.#from = 0
    this.#to = 0
    const end = this.#reader.take(bytes, 0, bytes.length)
    const content = bytes.subarray(this.#from, this.#to)
    return { content, behind: end < bytes.length ? bytes.subarray(end) : undefined }
  }

  #join(bytes: Buffer, from: number, to: number): void {
    if (this.#to === 0) {
      this.#from = from
      this.#to = to
      return
    }
    bytes.copyWithin(this.#to, from, to)
    this.#to += to - from
  }
}
