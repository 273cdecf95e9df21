// One connection to an HTTP/1.1 server without TLS: one request at a time, its reply parsed as it comes. It
// tells the reply's handler what undici would, in fewer steps: no object, copy or timer that a small request
// does not need.

import net, { type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import type { Dispatcher } from 'undici'
import { workInTurn } from '../cohort.ts'
import { WireError } from '../http1/field-lines.ts'
import { type ReplyEvents, ReplyParser } from '../http1/reply-parser.ts'
import { quickReadBytes, returnOwnBuffer, takeOwnBuffer } from '../own-buffers.ts'
import { Call } from './call.ts'
import type { ConnectionAware, SentRequest } from './transport.ts'

/** All connections read into it, one after the other, unless a long body has one of its own. */
const sharedBuffer = Buffer.allocUnsafeSlow(256 * 1024)
/** A reply that begins in a larger read is not kept for later. */
const heldBytesMax = 16 * 1024
const keepAliveMs = 4_000
/** A server that says how long it keeps a connection may count from earlier. */
const keepAliveMarginMs = 2_000
const keepAliveMsMax = 600_000
const probeDelayMs = 60_000

type ReplyHandler = Dispatcher.DispatchHandler & ConnectionAware

export type ConnectionOptions = {
  readonly host: string
  readonly port: number
  readonly connectMs: number
  /** It may carry another request until `reusableUntil`. */
  readonly onIdle: (connection: Connection) => void
  readonly onClosed: (connection: Connection) => void
  readonly onConnected: (isConnected: boolean) => void
}

export class Connection implements ReplyEvents {
  readonly socket: Socket
  readonly reusesBytes = true
  deadline: number
  /** Monotonic milliseconds; 0: it carries no other request. */
  reusableUntil = 0
  readonly #options: ConnectionOptions
  readonly #parser: ReplyParser
  #call: Call | undefined
  #isConnected = false
  /** Was read, and is still to be looked at. */
  #held: string | undefined
  /** The reply was whole, and the connection may carry another request. */
  #mayRest = false
  /** What is read into: the shared one, or one of its own for that call. */
  #buffer: Buffer = sharedBuffer
  #bufferOf: Call | undefined
  /** By the last read. */
  #bytesRead = 0
  /** The last part of the last reply has not been taken. */
  #isLent = false

  constructor(options: ConnectionOptions) {
    this.#options = options
    this.#parser = new ReplyParser(this)
    this.deadline = performance.now() + options.connectMs
    this.socket = net.connect({
      host: options.host,
      port: options.port,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: probeDelayMs,
      onread: { buffer: () => this.#nextBuffer(), callback: (bytes) => this.#take(bytes) },
    })
    this.socket.on('connect', () => this.#connected())
    this.socket.on('end', () => this.#ended())
    this.socket.on('error', (error) => {
      if (!this.#isConnected) options.onConnected(false)
      this.work()
      this.fail(error)
    })
    this.socket.on('close', () => {
      this.work()
      this.fail(lost())
      this.#letGoOfBuffer()
      options.onClosed(this)
    })
  }

  get lendsBytes(): boolean {
    return this.#buffer !== sharedBuffer && this.#bufferOf === this.#call
  }

  /** Sends a request, once it is connected; nothing else may be under way. */
  dispatch(request: SentRequest, handler: ReplyHandler): void {
    this.#call = new Call(this, request, handler)
    if (this.#isConnected) this.#start()
  }

  /** Ends the connection, and what is under way on it. */
  fail(error: Error): void {
    const call = this.#call
    this.#call = undefined
    this.#isLent ||= call?.paused === true
    this.#held = undefined
    this.deadline = Number.POSITIVE_INFINITY
    this.reusableUntil = 0
    this.socket.destroy()
    if (call === undefined) return
    call.release()
    if (!call.isSent) dropBody(call, error)
    call.handler.onResponseError?.(call, error)
  }

  head(status: number, fields: string[]): void {
    const call = this.#call
    if (call === undefined) return
    call.rawHeaders = fields
    if (status >= 200) call.hasHead = true
    call.handler.onResponseStart?.(call, status, {}, '')
  }

  data(bytes: Buffer): void {
    const call = this.#call
    if (call === undefined) return
    call.handler.onResponseData?.(call, bytes)
  }

  text(body: string): void {
    const call = this.#call
    if (call === undefined) return
    if (call.handler.onResponseText === undefined) this.data(Buffer.from(body, 'latin1'))
    else call.handler.onResponseText(call, body)
  }

  end(trailers: string[]): void {
    const call = this.#call
    if (call === undefined) return
    call.rawTrailers = trailers
    this.#isLent = call.paused
    call.release()
    this.#call = undefined
    this.deadline = Number.POSITIVE_INFINITY
    this.#mayRest = call.isSent && call.request.reset !== true && this.#parser.keepsAlive
    if (!this.#mayRest) this.socket.destroy()
    if (!call.isSent) dropBody(call, new Error('the reply came before the end of the body'))
    call.handler.onResponseEnd?.(call, {})
  }

  #rest(): void {
    this.#mayRest = false
    const { keepAliveSeconds } = this.#parser
    const ms =
      keepAliveSeconds === undefined
        ? keepAliveMs
        : Math.min(keepAliveSeconds * 1000 - keepAliveMarginMs, keepAliveMsMax)
    if (ms <= 0) {
      this.socket.destroy()
      return
    }
    this.reusableUntil = performance.now() + ms
    this.socket.resume()
    this.#options.onIdle(this)
  }

  #connected(): void {
    this.#isConnected = true
    this.deadline = Number.POSITIVE_INFINITY
    this.#options.onConnected(true)
    if (this.#call !== undefined) this.#start()
  }

  #start(): void {
    const call = this.#call!
    this.reusableUntil = 0
    this.#parser.begin(call.request.method === 'HEAD')
    try {
      call.handler.onRequestStart?.(call, {})
      call.send()
    } catch (error) {
      this.fail(error as Error)
    }
  }

  /** Small replies wait for their turn with what else is ready; what comes within one is passed on at once. */
  #take(bytes: number): boolean {
    this.#bytesRead = bytes
    this.work()
    if (bytes <= heldBytesMax && this.#parser.isAtStart) {
      this.#held = this.#buffer.toString('latin1', 0, bytes)
      workInTurn(this)
    } else {
      this.#read(bytes)
    }
    return true
  }

  /** A long body is read into a buffer of its own, and written from there. */
  #nextBuffer(): Buffer {
    const call = this.#call
    // The next request may be under way already.
    if (call !== this.#bufferOf) this.#letGoOfBuffer()
    const isQuick = this.#bytesRead >= quickReadBytes
    if (isQuick && this.#buffer === sharedBuffer && call?.handler.takesLent === true) {
      this.#buffer = takeOwnBuffer() ?? sharedBuffer
      this.#bufferOf = call
      this.#isLent = false
    }
    return this.#buffer
  }

  #letGoOfBuffer(): void {
    const isLent = this.#isLent || this.#call?.paused === true
    if (this.#buffer !== sharedBuffer) returnOwnBuffer(this.#buffer, isLent)
    this.#buffer = sharedBuffer
    this.#bufferOf = undefined
  }

  /** Reads what is held. */
  work(): void {
    const held = this.#held
    if (held === undefined) return
    this.#held = undefined
    this.#read(held)
  }

  // So many bytes of the buffer, or what was held. What the handler throws ends the request too: a reply that
  // cannot be passed on.
  #read(read: number | string): void {
    try {
      if (typeof read === 'string') this.#parser.takeText(read)
      else this.#parser.take(this.#buffer, read)
      // Not before: bytes behind a reply must not be taken for the answer to what is sent next.
      if (this.#mayRest) this.#rest()
      const call = this.#call
      if (call?.hasHead === true) this.#awaitBody(call)
      call?.handler.onReadEnd?.()
    } catch (error) {
      this.fail(error as Error)
    }
  }

  #ended(): void {
    this.work()
    try {
      this.#parser.close()
    } catch (error) {
      // Nothing of a reply came: the server may have closed the connection before it saw the request.
      this.fail(
        error instanceof WireError && this.#call?.hasHead !== true ? lost() : (error as Error),
      )
    }
    this.socket.destroy()
  }

  #awaitBody(call: Call): void {
    const { bodyTimeout } = call.request
    this.deadline = bodyTimeout ? performance.now() + bodyTimeout : Number.POSITIVE_INFINITY
  }

  /** Called now and then: ends what waits for too long. A reader that is held back makes nobody late. */
  checkDeadline(now: number): void {
    if (now <= this.deadline || this.#call?.paused === true) return
    if (!this.#isConnected) this.#options.onConnected(false)
    this.fail(Object.assign(new Error('the server took too long'), { code: 'ETIMEDOUT' }))
  }
}

function dropBody(call: Call, error: Error): void {
  const { body } = call.request
  if (body !== null && typeof body === 'object' && 'destroy' in body) {
    ;(body as { destroy(error: Error): void }).destroy(error)
  }
}

function lost(): Error {
  return Object.assign(new Error('the server closed the connection'), { code: 'ECONNRESET' })
}
