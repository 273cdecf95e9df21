// One request on a connection of our own to an HTTP/1.1 server: its head and body on the way out, streamed
// with back-pressure, and the controller of its reply. Speaks undici's vocabulary (Dispatcher), so that what
// handles replies need not know who carries them.

import type { Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { type Writer, writeLater } from '../cohort.ts'
import { BodyStream } from '../listener/body.ts'
import { expectsBody } from './expects-body.ts'
import type { ConnectionAware, SentRequest } from './transport.ts'

/** A body in one buffer leaves with the head in one write up to this size. */
const joinedBytesMax = 16 * 1024

const forbiddenInTarget = /[^\x21-\xff]/

export type Carrier = {
  readonly socket: Socket
  /** When what is waited for is late (monotonic milliseconds); Infinity: nothing is. */
  deadline: number
  /** Ends the connection and with it the request. */
  fail(error: Error): void
}

export class Call implements Dispatcher.DispatchController, Writer {
  readonly socket: Socket
  readonly request: SentRequest
  readonly handler: Dispatcher.DispatchHandler & ConnectionAware
  rawHeaders: string[] = []
  rawTrailers: string[] = []
  aborted = false
  reason: Error | null = null
  paused = false
  /** All of the request was handed to the socket. */
  isSent = false
  /** The final head has come. */
  hasHead = false
  #carrier: Carrier | undefined

  constructor(
    carrier: Carrier,
    request: SentRequest,
    handler: Dispatcher.DispatchHandler & ConnectionAware,
  ) {
    this.#carrier = carrier
    this.socket = carrier.socket
    this.request = request
    this.handler = handler
  }

  /** Nothing that is done with it reaches the connection any more. */
  release(): void {
    this.#carrier = undefined
  }

  abort(reason: Error): void {
    if (this.#carrier === undefined) return
    this.aborted = true
    this.reason = reason
    this.#carrier.fail(reason)
  }

  pause(): void {
    this.paused = true
    this.#carrier?.socket.pause()
  }

  resume(): void {
    this.paused = false
    this.#carrier?.socket.resume()
  }

  /** Sends the request. Throws for what is no HTTP. */
  send(): void {
    const carrier = this.#carrier
    if (carrier === undefined) return
    const { body } = this.request
    const length = this.#declaredLength()
    const isStream = body instanceof Readable
    const head = this.#head(isStream, length)
    const { socket } = carrier
    if (isStream) {
      socket.cork()
      socket.write(head, 'latin1')
      this.#stream(body, length, carrier)
      process.nextTick(() => socket.uncork())
      return
    }
    if (Buffer.isBuffer(body) && body.length > 0) {
      if (body.length <= joinedBytesMax) {
        writeLater(this, head + body.toString('latin1'))
        return
      }
      socket.cork()
      socket.write(head, 'latin1')
      socket.write(body)
      socket.uncork()
    } else {
      writeLater(this, head)
      return
    }
    this.written()
  }

  #declaredLength(): number | undefined {
    const { body, method, head } = this.request
    if (body === null && !expectsBody.has(method)) return undefined
    return head.length
  }

  #head(isStream: boolean, length: number | undefined): string {
    const { method, path, body, reset, head } = this.request
    if (forbiddenInTarget.test(path) || !path.startsWith('/')) {
      throw new Error('the path of a request holds what no request line can')
    }
    let lines = head.lines()
    if (length === undefined) {
      if (isStream) lines += 'Transfer-Encoding: chunked\r\n'
      else if (head.length === undefined && (body !== null || expectsBody.has(method))) {
        lines += `Content-Length: ${Buffer.isBuffer(body) ? body.length : 0}\r\n`
      }
    }
    const connection = reset === true ? 'close' : 'keep-alive'
    return `${method} ${path} HTTP/1.1\r\n${lines}Connection: ${connection}\r\n\r\n`
  }

  // The server is late only while it takes nothing: a client that sends slowly is waited for elsewhere.
  #stream(body: Readable, length: number | undefined, carrier: Carrier): void {
    const { socket } = carrier
    const write = length === undefined ? writeChunk : writePlain
    let bytes = 0
    const resume = (): void => {
      if (!this.hasHead) carrier.deadline = Number.POSITIVE_INFINITY
      body.resume()
    }
    /** Is it still to be sent? */
    const counts = (chunk: Buffer): boolean => {
      if (this.#carrier === undefined || chunk.length === 0) return false
      bytes += chunk.length
      if (length === undefined || bytes <= length) return true
      carrier.fail(lengthMismatch())
      return false
    }
    if (body instanceof BodyStream) {
      const taken = (): void => {
        // With the last part the wait for the reply has begun.
        if (this.#carrier === undefined || this.isSent) return
        if (!this.hasHead) carrier.deadline = Number.POSITIVE_INFINITY
        body.taken()
      }
      body.direct = (chunk) => {
        if (!counts(chunk)) return true
        write(socket, chunk)
        if (socket.writableLength === 0) return true
        if (!this.hasHead) this.#awaitHead(carrier)
        socket.write('', taken)
        return false
      }
    }
    body.on('data', (chunk: Buffer) => {
      if (!counts(chunk)) return
      if (write(socket, chunk)) return
      body.pause()
      if (!this.hasHead) this.#awaitHead(carrier)
      socket.once('drain', resume)
    })
    body.on('end', () => {
      if (this.#carrier === undefined) return
      if (length === undefined) socket.write('0\r\n\r\n', 'latin1')
      else if (bytes !== length) {
        carrier.fail(lengthMismatch())
        return
      }
      socket.off('drain', resume)
      this.written()
    })
    body.on('error', (error) => this.#carrier?.fail(error))
    body.on('close', () => {
      if (!this.isSent) this.#carrier?.fail(new Error('the body ended early'))
    })
  }

  /** All of the request. */
  written(): void {
    this.isSent = true
    if (this.#carrier !== undefined && !this.hasHead) this.#awaitHead(this.#carrier)
  }

  #awaitHead(carrier: Carrier): void {
    const { headersTimeout } = this.request
    if (headersTimeout) carrier.deadline = performance.now() + headersTimeout
  }
}

function writePlain(socket: Socket, bytes: Buffer): boolean {
  return socket.write(bytes)
}

/** RFC 9112 7.1. */
function writeChunk(socket: Socket, chunk: Buffer): boolean {
  socket.cork()
  socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1')
  socket.write(chunk)
  const mayGoOn = socket.write('\r\n', 'latin1')
  socket.uncork()
  return mayGoOn
}

function lengthMismatch(): Error {
  return Object.assign(new Error('the body is not as long as Content-Length says'), {
    code: 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH',
  })
}
