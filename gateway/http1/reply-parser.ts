// Replies of an HTTP/1.1 server, read from their bytes as they come (RFC 9112 4 to 7). It takes what is
// written to the letter and throws WireError for the rest: whatever it takes, a well-kept parser takes with
// the same meaning (the tests compare them). Bodies pass in slices of what was read, never copied or held.

import { type ChunkEvents, ChunkedReader } from './chunked-reader.ts'
import {
  codeAt,
  hasBareFeed,
  headEnd,
  isNamed,
  joinPending,
  readFieldLines,
  skipValue,
  WireError,
} from './field-lines.ts'

/** A longer head, or longer trailers, are refused. */
export const headBytesMax = 64 * 1024
const statusLineStart = 'HTTP/1.'
const minorAt = statusLineStart.length
const statusAt = minorAt + 2
const statusEnd = statusAt + 3

const lineFeed = 0x0a
const carriageReturn = 0x0d
const space = 0x20
const zero = 0x30
const one = 0x31

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

type State = 'idle' | 'head' | 'length' | 'close' | 'chunked'

const noFields: string[] = []

export class ReplyParser {
  readonly #events: ReplyEvents
  readonly #chunkEvents: ChunkEvents
  #state: State = 'idle'
  #isHead = false
  /** Bytes of a body of a known length that are still to come. */
  #left = 0
  #chunked: ChunkedReader | undefined
  /** The beginning of a head that came in several reads. */
  #pending: Buffer | undefined
  /** Of the last head. */
  #fieldsBefore: readonly string[] = noFields
  #keepsAlive = false
  #keepAliveSeconds: number | undefined

  constructor(events: ReplyEvents) {
    this.#events = events
    this.#chunkEvents = {
      data: (bytes, from, to) => events.data(bytes.subarray(from, to)),
      end: (trailers) => this.#end(trailers),
    }
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
        return this.#takeBody(bytes, at, end)
      case 'chunked':
        return this.#chunked!.take(bytes, at, end)
      case 'close':
        this.#events.data(bytes.subarray(at, end))
        return end
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
    const all = joinPending(this.#pending, bytes.subarray(at, end), headBytesMax)
    const headAt = all.indexOf(headEnd, Math.max(0, before - headEnd.length), 'latin1')
    if (headAt < 0) {
      this.#pending = all
      refuseHopeless(all.toString('latin1'))
      return end
    }
    this.#pending = undefined
    this.#readHead(all.toString('latin1', 0, headAt + 2), headAt + 2)
    return at + headAt + headEnd.length - before
  }

  /** Up to `end`, with the end of its last line. */
  #readHead(text: string, end: number): void {
    const status = readStatus(text)
    const lineEnd = skipValue(text, statusEnd)
    if (status === undefined || codeAt(text, lineEnd) !== carriageReturn) {
      throw new WireError('a reply has no status line of HTTP/1.1')
    }
    if (codeAt(text, lineEnd + 1) !== lineFeed) throw new WireError('a bare CR is in a head')
    const fields = readFieldLines(text, lineEnd + 2, end, this.#fieldsBefore)
    this.#fieldsBefore = fields
    if (status === 100 || status === 101) throw new WireError(`${status} came unasked`)
    this.#frame(status, fields, codeAt(text, minorAt) === one)
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
      this.#state = 'chunked'
      this.#chunked = new ChunkedReader(this.#chunkEvents, headBytesMax)
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
    if (this.#left === 0) this.#end(noFields)
    return partEnd
  }

  #end(trailers: string[]): void {
    this.#state = 'idle'
    this.#events.end(trailers)
  }
}

/** Of `HTTP/1.0` or `HTTP/1.1` and three digits, with a space or the end of the line behind them (RFC 9112 4). */
function readStatus(text: string): number | undefined {
  if (!text.startsWith(statusLineStart)) return undefined
  const minor = codeAt(text, minorAt)
  if ((minor !== zero && minor !== one) || codeAt(text, minorAt + 1) !== space) return undefined
  const behind = codeAt(text, statusEnd)
  if (behind !== space && behind !== carriageReturn) return undefined
  let status = 0
  for (let at = statusAt; at < statusEnd; at++) {
    const digit = codeAt(text, at) - zero
    if (!(digit >= 0 && digit <= 9)) return undefined
    status = 10 * status + digit
  }
  return status >= 100 ? status : undefined
}

/** A head that can become none: its sender may wait for ever. */
function refuseHopeless(text: string): void {
  if (!statusLineStart.startsWith(text.slice(0, statusLineStart.length))) {
    throw new WireError('a reply does not begin as HTTP/1.1')
  }
  if (hasBareFeed(text)) throw new WireError('a bare LF is in a head')
}

/** Is it one of the tokens between commas? */
function lists(values: string, token: string): boolean {
  if (!values.includes(token)) return false
  return values.split(',').some((value) => value.trim() === token)
}

function readTimeout(value: string): number | undefined {
  const seconds = /(?:^|[,; \t])timeout=([0-9]{1,9})/i.exec(value)?.[1]
  return seconds === undefined ? undefined : Number(seconds)
}
