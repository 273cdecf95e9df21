// A connection as long as all that its client sends are plain requests, one after the other: they are read and
// answered without the layers of node:http, which small requests would pay for most. At the first byte that is
// something else the connection is handed over, with that byte, and does not come back.

import type { IncomingHttpHeaders } from 'node:http'
import type { Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { nextTick } from 'node:process'
import { workInTurn } from '../cohort.ts'
import type { FieldBlock, FieldBlocks } from '../http1/field-blocks.ts'
import { headEnd, WireError } from '../http1/field-lines.ts'
import { readPlainHead } from '../http1/plain-head.ts'
import { quickReadBytes, returnOwnBuffer, takeOwnBuffer } from '../own-buffers.ts'
import { Exchange } from './exchange.ts'
import { PlainBody } from './plain-body.ts'
import { ChunkedFraming, type Framed, LengthFraming } from './plain-framing.ts'
import { PlainReply } from './plain-reply.ts'
import { sharedBuffer, shareReads, unshareReads } from './shared-read.ts'

const nothing = Buffer.alloc(0)
/** Where more was read at once, a body is not looked at as a text. */
const textBytesMax = 4 * 1024
/** What a client may send ahead while a request of its is served; beyond it, it is not read. */
const aheadBytesMax = 16 * 1024

export type PlainHost = {
  readonly headBytesMax: number
  readonly fieldsMax: number
  readonly blocks: FieldBlocks
  /** The fields of a reply whose connection stays. */
  readonly keepAlive: string
  serve(exchange: Exchange): void
  /** What came within the body of its request cannot be of one. */
  malformed(socket: Socket, error: WireError): void
  /** It is no plain connection any more; `bytes` were read of it. */
  handOver(connection: PlainConnection, bytes: Buffer): void
}

export class PlainConnection {
  readonly socket: Socket
  /** Of the request under way; a connection without one has the listener's limits. */
  idleMs = 0
  /** Something was sent or taken last (monotonic milliseconds), as far as that was looked at. */
  activeAt: number
  /** A request was served on it. */
  wasUsed = false
  readonly #host: PlainHost
  #reply: PlainReply | undefined
  /** Was read, and is still to be looked at. */
  #held: string | undefined
  /** What came behind it, where that is not in it. */
  #heldBody: Buffer = nothing
  /** Of the request under way, until all of it has come. */
  #body: PlainBody | undefined
  /** By the last read. */
  #bytesRead = 0
  /** What a long body is read into, and written from. */
  #ownBuffer: Buffer | undefined
  /** What was read into it last may still be in use. */
  #isOwnLent = false
  /** It ends: what still comes, of a body that nobody wants too, is no request, and dropped. */
  #isOver = false
  #ahead: Buffer[] = []
  #aheadBytes = 0
  #bytesPassed = 0

  constructor(socket: Socket, host: PlainHost) {
    this.socket = socket
    this.#host = host
    this.activeAt = performance.now()
    if (!shareReads(socket, this.#takeShared, this.#nextBuffer)) socket.on('data', this.#take)
    socket.on('end', this.#left)
    socket.on('error', this.#left)
    socket.on('drain', this.#drained)
    socket.on('close', this.#closed)
  }

  /** A request is under way. */
  get isBusy(): boolean {
    return this.#reply !== undefined || this.#held !== undefined
  }

  /** Has nothing passed in either direction for so long? Asked now and then. */
  isIdleFor(ms: number, now: number): boolean {
    const { bytesRead, bytesWritten, writableLength } = this.socket
    const passed = bytesRead + bytesWritten - writableLength
    if (passed !== this.#bytesPassed) {
      this.#bytesPassed = passed
      this.activeAt = now
    }
    return now - this.activeAt >= ms
  }

  /** Lets go of the socket. */
  leave(): void {
    const { socket } = this
    // The socket goes on to read into it.
    this.#isOwnLent = true
    if (this.#ownBuffer !== undefined) this.#letGoOfBuffer(this.#ownBuffer)
    unshareReads(socket)
    socket.off('data', this.#take).off('end', this.#left).off('error', this.#left)
    socket.off('drain', this.#drained).off('close', this.#closed)
  }

  readonly #takeShared = (bytes: number, buffer: Buffer): boolean => {
    this.#bytesRead = bytes
    if (this.#isOver) return true
    if (this.#body !== undefined && buffer === this.#ownBuffer) {
      this.#takeBody(this.#body, buffer.subarray(0, bytes), true)
    } else if (this.isBusy || bytes > textBytesMax) {
      this.#take(Buffer.from(buffer.subarray(0, bytes)))
    } else {
      this.#hold(buffer.toString('latin1', 0, bytes))
    }
    return true
  }

  readonly #nextBuffer = (): Buffer | undefined => {
    const own = this.#ownBuffer
    const body = this.#body
    if (own === undefined) {
      const isQuick = this.#bytesRead >= quickReadBytes
      if (body === undefined || !isQuick || !body.isDirect) return undefined
      this.#ownBuffer = takeOwnBuffer()
      return this.#ownBuffer
    }
    if (body !== undefined) return undefined
    this.#letGoOfBuffer(own)
    return sharedBuffer
  }

  #letGoOfBuffer(own: Buffer): void {
    this.#ownBuffer = undefined
    returnOwnBuffer(own, this.#isOwnLent)
  }

  readonly #take = (chunk: Buffer): void => {
    if (this.#isOver) return
    if (this.#body !== undefined) this.#takeBody(this.#body, chunk)
    else if (this.isBusy) this.#keepAhead(chunk)
    else if (chunk.length <= textBytesMax) this.#hold(chunk.toString('latin1'))
    else this.#takeLarge(chunk)
  }

  #takeLarge(chunk: Buffer): void {
    const at = chunk.indexOf(headEnd, 0, 'latin1') + headEnd.length
    if (at < headEnd.length || at > this.#host.headBytesMax) {
      this.#handOverSoon(chunk)
      return
    }
    this.#heldBody = chunk.subarray(at)
    this.#hold(chunk.toString('latin1', 0, at))
  }

  #takeBody(body: PlainBody, chunk: Buffer, isLent = false): void {
    let behind: Buffer | undefined
    try {
      behind = body.take(chunk, isLent)
    } catch (error) {
      if (!(error instanceof WireError)) throw error
      this.#isOver = true
      this.#host.malformed(this.socket, error)
      return
    }
    this.#isOwnLent = isLent && body.isLent
    if (body.isWhole && this.#body === body) this.#body = undefined
    if (behind !== undefined) this.#keepAhead(isLent ? Buffer.from(behind) : behind)
  }

  #keepAhead(chunk: Buffer): void {
    this.#ahead.push(chunk)
    this.#aheadBytes += chunk.length
    if (this.#aheadBytes > aheadBytesMax) this.socket.pause()
  }

  #hold(text: string): void {
    this.#held = text
    workInTurn(this)
  }

  /** Serves what was read. */
  work(): void {
    const text = this.#held as string
    const heldBody = this.#heldBody
    this.#held = undefined
    this.#heldBody = nothing
    if (this.socket.destroyed || this.#isOver) return
    const { fieldsMax, headBytesMax, blocks } = this.#host
    const end = text.indexOf(headEnd) + headEnd.length
    const hasHead = end >= headEnd.length && end <= headBytesMax
    const head = hasHead
      ? readPlainHead(end === text.length ? text : text.slice(0, end), fieldsMax, blocks)
      : undefined
    const hasBody = head !== undefined && (head.block.isChunked || (head.block.length ?? 0) > 0)
    const body = hasBody ? this.#beginBody(head.block, text.slice(end), heldBody) : undefined
    const isPlain = hasBody ? body !== undefined : text.length + heldBody.length === end
    if (head === undefined || !isPlain) {
      this.#handOverSoon(Buffer.from(text, 'latin1'), heldBody)
      return
    }
    const { block } = head
    const isHead = head.method === 'HEAD'
    const reply = new PlainReply(this.socket, isHead, block.closes, this.#host.keepAlive)
    this.#reply = reply
    this.wasUsed = true
    const request = {
      method: head.method,
      url: head.target,
      httpVersion: '1.1',
      rawHeaders: block.fields,
      headers: framingFields(block),
      socket: this.socket,
      // As it is now.
      complete: body === undefined || body.isWhole,
      facts: block.facts,
    }
    const exchange = new Exchange(request, reply, this)
    exchange.awaitsContinue = block.expects
    exchange.incoming = body
    reply.on('close', () => this.#ended(reply))
    this.#host.serve(exchange)
  }

  /** Undefined: what was read goes on behind the body, or cannot be of one. */
  #beginBody(
    { length = 0, isChunked }: FieldBlock,
    inText: string,
    heldBody: Buffer,
  ): PlainBody | undefined {
    const framing = isChunked ? new ChunkedFraming() : new LengthFraming(length)
    // What chunks hold may be moved, and be needed as it was.
    const held = isChunked ? Buffer.from(heldBody) : heldBody
    const first = held.length > 0 ? held : Buffer.from(inText, 'latin1')
    // More may have been read since.
    const read = this.#ahead.length > 0 ? Buffer.concat([first, ...this.#ahead]) : first
    let framed: Framed
    try {
      framed = framing.take(read)
    } catch (error) {
      if (error instanceof WireError) return undefined
      throw error
    }
    if (framed.behind !== undefined) return undefined
    if (this.#ahead.length > 0) {
      this.#ahead = []
      this.#aheadBytes = 0
      this.socket.resume()
    }
    const body = new PlainBody(this.socket, framing, framed.content)
    if (!body.isWhole) this.#body = body
    return body
  }

  #ended(reply: PlainReply): void {
    this.#reply = undefined
    const isUnread = this.#body !== undefined
    this.#body = undefined
    const { socket } = this
    if (socket.destroyed) return
    if (!reply.writableFinished || reply.closes || isUnread) {
      this.#isOver = true
      socket.destroySoon()
      return
    }
    this.activeAt = performance.now()
    if (this.#ahead.length > 0) this.#handOver()
  }

  /** When the read that this is part of is over. */
  #handOverSoon(...first: Buffer[]): void {
    // What comes before then waits behind it.
    this.#held = ''
    nextTick(() => this.#handOver(...first))
  }

  #handOver(...first: Buffer[]): void {
    if (this.socket.destroyed) return
    this.#host.handOver(this, Buffer.concat([...first, ...this.#ahead]))
  }

  // A client that shuts its sending side before the reply counts as gone.
  readonly #left = (): void => {
    this.socket.destroy()
  }

  readonly #drained = (): void => this.#reply?.drained()

  readonly #closed = (): void => {
    const body = this.#body
    this.#reply?.closed()
    body?.fail()
    if (this.#ownBuffer !== undefined) this.#letGoOfBuffer(this.#ownBuffer)
  }
}

/** Those that say how a body is framed: few plain requests have one. */
function framingFields({ length, isChunked }: FieldBlock): IncomingHttpHeaders {
  if (isChunked) return chunkedFields
  return length === undefined ? noFields : { 'content-length': `${length}` }
}

const noFields = {}
const chunkedFields = { 'transfer-encoding': 'chunked' }
