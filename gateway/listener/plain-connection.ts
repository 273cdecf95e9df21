// A connection as long as all that its client sends are plain requests, one after the other: they are read and
// answered without the layers of node:http, which small requests would pay for most. At the first byte that is
// something else the connection is handed over, with that byte, and does not come back.

import type { Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { workLater } from '../cohort.ts'
import type { FieldBlocks } from '../http1/field-blocks.ts'
import { readPlainHead } from '../http1/plain-head.ts'
import { Exchange } from './exchange.ts'
import { PlainReply } from './plain-reply.ts'
import { sharedBuffer, shareReads, unshareReads } from './shared-read.ts'

const headEnd = '\r\n\r\n'
/** What a client may send ahead while a request of its is served; beyond it, it is not read. */
const aheadBytesMax = 16 * 1024

export type PlainHost = {
  readonly headBytesMax: number
  readonly fieldsMax: number
  readonly blocks: FieldBlocks
  /** The fields of a reply whose connection stays. */
  readonly keepAlive: string
  serve(exchange: Exchange): void
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
  #ahead: Buffer[] = []
  #aheadBytes = 0
  #bytesPassed = 0

  constructor(socket: Socket, host: PlainHost) {
    this.socket = socket
    this.#host = host
    this.activeAt = performance.now()
    if (!shareReads(socket, this.#takeShared)) socket.on('data', this.#take)
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
    unshareReads(socket)
    socket.off('data', this.#take).off('end', this.#left).off('error', this.#left)
    socket.off('drain', this.#drained).off('close', this.#closed)
  }

  readonly #takeShared = (bytes: number): boolean => {
    if (this.isBusy || bytes > this.#host.headBytesMax) {
      this.#take(Buffer.from(sharedBuffer.subarray(0, bytes)))
    } else {
      this.#hold(sharedBuffer.toString('latin1', 0, bytes))
    }
    return true
  }

  readonly #take = (chunk: Buffer): void => {
    if (this.isBusy) {
      this.#ahead.push(chunk)
      this.#aheadBytes += chunk.length
      if (this.#aheadBytes > aheadBytesMax) this.socket.pause()
    } else if (chunk.length > this.#host.headBytesMax) {
      this.#handOver(chunk)
    } else {
      this.#hold(chunk.toString('latin1'))
    }
  }

  #hold(text: string): void {
    this.#held = text
    workLater(this)
  }

  /** Serves what was read. */
  work(): void {
    const text = this.#held as string
    this.#held = undefined
    if (this.socket.destroyed) return
    const isOneHead = text.indexOf(headEnd) === text.length - headEnd.length
    const { fieldsMax, blocks } = this.#host
    const head = isOneHead ? readPlainHead(text, fieldsMax, blocks) : undefined
    if (head === undefined) {
      this.#handOver(Buffer.from(text, 'latin1'))
      return
    }
    const isHead = head.method === 'HEAD'
    const reply = new PlainReply(this.socket, isHead, head.block.closes, this.#host.keepAlive)
    this.#reply = reply
    this.wasUsed = true
    const request = {
      method: head.method,
      url: head.target,
      httpVersion: '1.1',
      rawHeaders: head.block.fields,
      headers: noHeaders,
      socket: this.socket,
      complete: true,
      facts: head.block.facts,
    }
    const exchange = new Exchange(request, reply, this)
    reply.on('close', () => this.#ended(reply))
    this.#host.serve(exchange)
  }

  #ended(reply: PlainReply): void {
    this.#reply = undefined
    const { socket } = this
    if (socket.destroyed) return
    if (!reply.writableFinished || reply.closes) {
      socket.destroySoon()
      return
    }
    this.activeAt = performance.now()
    if (this.#ahead.length > 0) this.#handOver()
  }

  #handOver(...first: Buffer[]): void {
    this.#host.handOver(this, Buffer.concat([...first, ...this.#ahead]))
  }

  // A client that shuts its sending side before the reply counts as gone.
  readonly #left = (): void => {
    this.socket.destroy()
  }

  readonly #drained = (): void => this.#reply?.drained()

  readonly #closed = (): void => this.#reply?.closed()
}

/** Those that say how a body is framed, or expect something: a plain request has none of them. */
const noHeaders = {}
