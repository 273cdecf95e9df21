// The chunked transfer coding (RFC 9112 7.1), read from its bytes as they come. It takes what is written to the
// letter and throws WireError for the rest: whatever it takes, a well-kept parser takes with the same meaning
// (the tests compare them). Content is passed where it was read, never copied or held.

import { hasBareFeed, headEnd, joinPending, readFieldLines, WireError } from './field-lines.ts'

/** A chunk's size with its extensions. */
const sizeBytesMax = 4 * 1024
const token = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+"
const quoted =
  '"(?:[\\t\\x20\\x21\\x23-\\x5b\\x5d-\\x7e\\x80-\\xff]|\\\\[\\t\\x20-\\x7e\\x80-\\xff])*"'
const sizePattern = new RegExp(
  `^(0*[0-9a-f]{1,13})(?:;${token}(?:=(?:${token}|${quoted}))?)*\\r$`,
  'i',
)
/** What would say again how long the body is. */
const neverTrailers: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding'])

const lineFeed = 0x0a
const carriageReturn = 0x0d

export type ChunkEvents = {
  /** A part of the content. The bytes may be overwritten when the call has returned, and up to `to` within it. */
  data(bytes: Buffer, from: number, to: number): void
  /** The last chunk, and the trailers behind it, were read. */
  end(trailers: string[]): void
}

type State =
  | 'size'
  | 'data'
  | 'data end'
  | 'data feed'
  | 'last line'
  | 'last feed'
  | 'trailers'
  | 'whole'

const noFields: string[] = []

export class ChunkedReader {
  readonly #events: ChunkEvents
  readonly #trailerBytesMax: number
  #state: State = 'size'
  /** Bytes of the chunk that are still to come. */
  #left = 0
  /** The beginning of a size, or of trailers, that came in several reads. */
  #pending: Buffer | undefined

  constructor(events: ChunkEvents, trailerBytesMax: number) {
    this.#events = events
    this.#trailerBytesMax = trailerBytesMax
  }

  get isWhole(): boolean {
    return this.#state === 'whole'
  }

  /**
   * Reads from `at` up to `end`, or to the end of the coding: returns where it stopped. Throws WireError, and what
   * the events throw.
   */
  take(bytes: Buffer, at: number, end: number): number {
    let next = at
    while (next < end && this.#state !== 'whole') next = this.#step(bytes, next, end)
    return next
  }

  #step(bytes: Buffer, at: number, end: number): number {
    switch (this.#state) {
      case 'size':
        return this.#takeSize(bytes, at, end)
      case 'data':
        return this.#takeData(bytes, at, end)
      case 'data end':
        return this.#takeSign(bytes, at, carriageReturn, 'data feed')
      case 'data feed':
        return this.#takeSign(bytes, at, lineFeed, 'size')
      case 'last line':
        if (bytes[at] === carriageReturn) {
          this.#state = 'last feed'
          return at + 1
        }
        this.#state = 'trailers'
        return at
      case 'last feed':
        this.#takeSign(bytes, at, lineFeed, 'whole')
        this.#events.end(noFields)
        return at + 1
      case 'trailers':
        return this.#takeTrailers(bytes, at, end)
      case 'whole':
        return at
    }
  }

  #takeSize(bytes: Buffer, at: number, end: number): number {
    // What stands behind `end` is of an earlier read.
    const found = bytes.indexOf(lineFeed, at)
    const feed = found < end ? found : -1
    const isWhole = feed >= 0 && this.#pending === undefined && feed - at <= sizeBytesMax
    const line = isWhole
      ? bytes.toString('latin1', at, feed)
      : this.#append(bytes.subarray(at, feed < 0 ? end : feed), sizeBytesMax).toString('latin1')
    if (feed < 0) return end
    this.#pending = undefined
    const size = sizePattern.exec(line)?.[1]
    if (size === undefined) throw new WireError('a chunk has no size')
    this.#left = Number.parseInt(size, 16)
    this.#state = this.#left === 0 ? 'last line' : 'data'
    return feed + 1
  }

  #takeData(bytes: Buffer, at: number, end: number): number {
    const to = Math.min(end, at + this.#left)
    this.#left -= to - at
    if (this.#left === 0) this.#state = 'data end'
    this.#events.data(bytes, at, to)
    return to
  }

  #takeSign(bytes: Buffer, at: number, sign: number, next: State): number {
    if (bytes[at] !== sign) throw new WireError('a chunk does not end where its size says')
    this.#state = next
    return at + 1
  }

  /** Field lines, then an empty one. */
  #takeTrailers(bytes: Buffer, at: number, end: number): number {
    const before = this.#pending?.length ?? 0
    const all = this.#append(bytes.subarray(at, end), this.#trailerBytesMax)
    const endAt = all.indexOf(headEnd, Math.max(0, before - headEnd.length), 'latin1')
    if (endAt < 0) {
      if (hasBareFeed(all.toString('latin1'))) throw new WireError('a bare LF is in the trailers')
      return end
    }
    const trailers = readFieldLines(all.toString('latin1', 0, endAt + 2), 0)
    for (let i = 0; i < trailers.length; i += 2) {
      const name = trailers[i] as string
      if (neverTrailers.has(name.toLowerCase()))
        throw new WireError(`${name} is among the trailers`)
    }
    this.#pending = undefined
    this.#state = 'whole'
    this.#events.end(trailers)
    return at + endAt + headEnd.length - before
  }

  #append(fresh: Buffer, bytesMax: number): Buffer {
    this.#pending = joinPending(this.#pending, fresh, bytesMax)
    return this.#pending
  }
}
