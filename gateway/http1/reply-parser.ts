// Replies of an HTTP/1.1 server, read from their bytes as they come (RFC 9112 4 to 7). It takes what is
// written to the letter and throws WireError for the rest: whatever it takes, a well-kept parser takes with
// the same meaning (the tests compare them). Bodies pass in slices of what was read, never copied or held.

import { codeAt, readFieldLines, skipValue, WireError } from './field-lines.ts'

/** A longer head, or longer trailers, are refused. */
export const headBytesMax = 64 * 1024
/** A chunk's size with its extensions. */
const chunkLineBytesMax = 4 * 1024
const chunkSizePattern = /^([0-9a-f]{1,13})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r$/i
const statusLinePattern = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?= |\r)/
const statusLineStart = 'HTTP/1.'

const lineFeed = 0x0a
const carriageReturn = 0x0d
const headEnd = '\r\n\r\n'

export type ReplyEvents = {
  /** A head; of an informational reply (RFC 9110 15.2) nothing follows but the next head. */
  head(status: number, fields: string[]): void
  /** A part of the body. The bytes may be overwritten when the call has returned. */
  data(bytes: Buffer): void
  /** In place of it: a whole body that `takeText` found behind its head. */
  text(body: string): void
  /** The reply is whole. */
  end(trailers: string[]): void
}

type State = 'idle' | 'head' | 'length' | 'close' | 'size' | 'chunk' | 'chunk end' | 'trailers'

const noFields: string[] = []

export class ReplyParser {
  readonly #events: ReplyEvents
  #state: State = 'idle'
  #isHead = false
  /** Bytes of the body, or of the chunk, that are still to come. */
  #left = 0
  /** The beginning of a head, line or trailers that came in several reads. */
  #pending: Buffer | undefined
  /** Of the last head. */
  #fieldsBefore: readonly string[] = noFields
  #keepsAlive = false
  #keepAliveSeconds: number | undefined

  constructor(events: ReplyEvents) {
    this.#events = events
  }

  /** A reply is expected; `isHead`: to a HEAD request. */
  begin(isHead: boolean): void {
    this.#state = 'head'
    this.#isHead = isHead
  }

  /** May the connection be used again after the reply? */
  get keepsAlive(): boolean {
    return this.#keepsAlive
  }

  /** What the server said in Keep-Alive, of the last reply. */
  get keepAliveSeconds(): number | undefined {
    return this.#keepAliveSeconds
  }

  /** Nothing of the next head has come. */
  get isAtStart(): boolean {
    return this.#state === 'head' && this.#pending === undefined
  }

  /** Reads the next bytes of the connection, up to `end`. Throws WireError, and what the events throw. */
  take(bytes: Buffer, end: number = bytes.length): void {
    let at = 0
    while (at < end) at = this.#step(bytes, at, end)
  }

  /** As `take`, for what begins with a reply, one character a byte. */
  takeText(text: string): void {
    const headAt = text.indexOf(headEnd)
    if (!this.isAtStart || headAt < 0 || headAt > headBytesMax) {
      this.take(Buffer.from(text, 'latin1'))
      return
    }
    this.#readHead(text, headAt + 2)
    const body = text.slice(headAt + headEnd.length)
    if (body === '') return
    if (this.#state !== 'length' || this.#left !== body.length) {
      this.take(Buffer.from(body, 'latin1'))
      return
    }
    this.#left = 0
    this.#events.text(body)
    this.#end(noFields)
  }

  /** The server has closed its side. Throws WireError where the reply is not whole then. */
  close(): void {
    if (this.#state === 'idle') return
    if (this.#state !== 'close') throw new WireError('the connection ended within a reply')
    this.#state = 'idle'
    this.#events.end(noFields)
  }

  #step(bytes: Buffer, at: number, end: number): number {
    switch (this.#state) {
      case 'head':
        return this.#takeHead(bytes, at, end)
      case 'length':
      case 'chunk':
        return this.#takeBody(bytes, at, end)
      case 'close':
        this.#events.data(bytes.subarray(at, end))
        return end
      case 'size':
        return this.#takeSize(bytes, at, end)
      case 'chunk end':
        return this.#takeChunkEnd(bytes, at)
      case 'trailers':
        return this.#takeTrailers(bytes, at, end)
      case 'idle':
        throw new WireError('bytes came that belong to no reply')
    }
  }

  #takeHead(bytes: Buffer, at: number, end: number): number {
    if (this.#pending === undefined) {
      const headAt = bytes.indexOf(headEnd, at, 'latin1')
      // What stands behind `end` is of an earlier read.
      if (headAt >= 0 && headAt + headEnd.length <= end && headAt - at <= headBytesMax) {
        this.#readHead(bytes.toString('latin1', at, headAt + 2), headAt + 2 - at)
        return headAt + headEnd.length
      }
    }
    const before = this.#pending?.length ?? 0
    const all = this.#append(bytes.subarray(at, end), headBytesMax)
    const headAt = all.indexOf(headEnd, Math.max(0, before - headEnd.length), 'latin1')
    if (headAt < 0) {
      refuseHopeless(all.toString('latin1'))
      return end
    }
    this.#pending = undefined
    this.#readHead(all.toString('latin1', 0, headAt + 2), headAt + 2)
    return at + headAt + headEnd.length - before
  }

  /** Up to `end`, with the end of its last line. */
  #readHead(text: string, end: number): void {
    const start = statusLinePattern.exec(text)
    const lineEnd = start === null ? -1 : skipValue(text, start[0].length)
    if (start === null || codeAt(text, lineEnd) !== carriageReturn) {
      throw new WireError('a reply has no status line of HTTP/1.1')
    }
    if (codeAt(text, lineEnd + 1) !== lineFeed) throw new WireError('a bare CR is in a head')
    const fields = readFieldLines(text, lineEnd + 2, end, this.#fieldsBefore)
    this.#fieldsBefore = fields
    const status = Number(start[2])
    if (status === 100 || status === 101) throw new WireError(`${status} came unasked`)
    this.#frame(status, fields, start[1] === '1')
  }

  /** RFC 9112 6.3: where the body ends, and whether the connection lives on (9.3). */
  #frame(status: number, fields: string[], is11: boolean): void {
    let length: string | undefined
    let coding: string | undefined
    let connection = ''
    this.#keepAliveSeconds = undefined
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i] as string
      const value = fields[i + 1] as string
      switch (name.length) {
        case 10:
          if (isNamed(name, 'connection')) connection += `,${value.toLowerCase()}`
          else if (isNamed(name, 'keep-alive')) this.#keepAliveSeconds = readTimeout(value)
          break
        case 14:
          if (!isNamed(name, 'content-length')) break
          if (length !== undefined) throw new WireError('a reply has two lengths')
          length = value
          break
        case 17:
          if (!isNamed(name, 'transfer-encoding')) break
          if (coding !== undefined) throw new WireError('a reply has two codings')
          coding = value.toLowerCase()
      }
    }
    if (length !== undefined && coding !== undefined) {
      throw new WireError('a reply has a length and a coding')
    }
    if (length !== undefined && !/^[0-9]{1,15}$/.test(length)) {
      throw new WireError('a length is no number of bytes')
    }
    if (coding !== undefined && (coding !== 'chunked' || !is11)) {
      throw new WireError('a reply has a coding that is not chunked')
    }
    this.#keepsAlive = is11 ? !lists(connection, 'close') : lists(connection, 'keep-alive')
    if (status < 200) {
      if (!this.#keepsAlive) throw new WireError('a reply ends the connection before the final one')
      this.#events.head(status, fields)
      return
    }
    const isBodiless = this.#isHead || status === 204 || status === 304
    if (isBodiless || length !== undefined) {
      this.#left = isBodiless ? 0 : Number(length)
      this.#state = 'length'
    } else if (coding !== undefined) {
      this.#state = 'size'
    } else {
      this.#keepsAlive = false
      this.#state = 'close'
    }
    this.#events.head(status, fields)
    if (this.#state === 'length' && this.#left === 0) this.#end(noFields)
  }

  #takeBody(bytes: Buffer, at: number, end: number): number {
    const partEnd = Math.min(end, at + this.#left)
    this.#left -= partEnd - at
    this.#events.data(bytes.subarray(at, partEnd))
    if (this.#left > 0) return partEnd
    if (this.#state === 'length') this.#end(noFields)
    else if (this.#state === 'chunk') this.#state = 'chunk end'
    return partEnd
  }

  #takeSize(bytes: Buffer, at: number, end: number): number {
    const found = bytes.indexOf(lineFeed, at)
    const feed = found < end ? found : -1
    const isWhole = feed >= 0 && this.#pending === undefined && feed - at <= chunkLineBytesMax
    const line = isWhole
      ? bytes.toString('latin1', at, feed)
      : this.#append(bytes.subarray(at, feed < 0 ? end : feed), chunkLineBytesMax).toString(
          'latin1',
        )
    if (feed < 0) return end
    this.#pending = undefined
    const size = chunkSizePattern.exec(line)?.[1]
    if (size === undefined) throw new WireError('a chunk has no size')
    this.#left = Number.parseInt(size, 16)
    this.#state = this.#left === 0 ? 'trailers' : 'chunk'
    return feed + 1
  }

  #takeChunkEnd(bytes: Buffer, at: number): number {
    const expected = this.#pending === undefined ? carriageReturn : lineFeed
    if (bytes[at] !== expected) throw new WireError('a chunk is longer than its size')
    if (expected === lineFeed) {
      this.#pending = undefined
      this.#state = 'size'
    } else {
      this.#pending = Buffer.of(carriageReturn)
    }
    return at + 1
  }

  /** Field lines, then an empty one; usually that alone. */
  #takeTrailers(bytes: Buffer, at: number, end: number): number {
    const before = this.#pending?.length ?? 0
    const all = this.#append(bytes.subarray(at, end), headBytesMax)
    const isEmpty = all.length >= 2 && all[0] === carriageReturn && all[1] === lineFeed
    const endAt = isEmpty ? 0 : all.indexOf(headEnd, Math.max(0, before - headEnd.length), 'latin1')
    if (endAt < 0) {
      if (hasBareFeed(all.toString('latin1'))) throw new WireError('a bare LF is in the trailers')
      return end
    }
    this.#pending = undefined
    this.#end(isEmpty ? noFields : readFieldLines(all.toString('latin1', 0, endAt + 2), 0))
    return at + endAt + (isEmpty ? 2 : headEnd.length) - before
  }

  /** What is pending with more bytes behind it, which become pending. */
  #append(fresh: Buffer, bytesMax: number): Buffer {
    const all = Buffer.concat(this.#pending === undefined ? [fresh] : [this.#pending, fresh])
    // A body may follow in the same read: it is not counted where the head's end is found.
    if (all.length > bytesMax && all.subarray(0, bytesMax + 4).indexOf(headEnd, 0, 'latin1') < 0) {
      throw new WireError(`a head or line is longer than ${bytesMax} bytes`)
    }
    this.#pending = all
    return all
  }

  #end(trailers: string[]): void {
    this.#state = 'idle'
    this.#events.end(trailers)
  }
}

/** A head that can become none: its sender may wait for ever. */
function refuseHopeless(text: string): void {
  if (!statusLineStart.startsWith(text.slice(0, statusLineStart.length))) {
    throw new WireError('a reply does not begin as HTTP/1.1')
  }
  if (hasBareFeed(text)) throw new WireError('a bare LF is in a head')
}

function hasBareFeed(text: string): boolean {
  return /(?:^|[^\r])\n/.test(text)
}

/** Is it one of the tokens between commas? */
function lists(values: string, token: string): boolean {
  if (!values.includes(token)) return false
  return values.split(',').some((value) => value.trim() === token)
}

function isNamed(name: string, lower: string): boolean {
  return name === lower || name.toLowerCase() === lower
}

function readTimeout(value: string): number | undefined {
  const seconds = /(?:^|[,; \t])timeout=([0-9]{1,9})/i.exec(value)?.[1]
  return seconds === undefined ? undefined : Number(seconds)
}
