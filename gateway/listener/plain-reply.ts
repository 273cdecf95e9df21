// The reply to a plain request, written straight to its connection (RFC 9112 6, 7): what node:http's
// ServerResponse does for the gateway, without its layers. Head and first bytes leave in one write.

import type { Socket } from 'node:net'
import { type Writer, writeLater } from '../cohort.ts'
import { isNamed } from '../http1/field-lines.ts'
import { STATUS_CODES } from '../node-http.ts'
import { onePiece } from '../one-piece.ts'
import type { ReplyWriter } from './exchange.ts'

/** Names of tokens, values of visible signs, spaces and what is beyond ASCII: nothing that ends a line. */
const forbidden = /[^\t\x20-\x7e\x80-\xff]/
const statusLines = new Map<number, string>()
let date = ''
let dateSecond = 0

type Listener = () => void

export class PlainReply implements ReplyWriter, Writer {
  headersSent = false
  writableEnded = false
  writableFinished = false
  chunkedEncoding = false
  sendDate = true
  /** The connection ends with the reply. */
  closes: boolean
  readonly socket: Socket
  readonly #isHead: boolean
  readonly #keepAlive: string
  #hasBody = true
  /** The head that is still to be written. */
  #head = ''
  #trailers = ''
  #closeListeners: Listener[] | undefined
  #drainListeners: Listener[] | undefined

  /** `keepAlive`: the fields of a reply whose connection stays. */
  constructor(socket: Socket, isHead: boolean, closes: boolean, keepAlive: string) {
    this.socket = socket
    this.#isHead = isHead
    this.#keepAlive = keepAlive
    this.closes = closes
  }

  writeHead(status: number, fields: string[]): void {
    let head = statusLine(status)
    let hasLength = false
    let saysConnection = false
    for (let i = 0; i + 1 < fields.length; i += 2) {
      const name = fields[i] as string
      const value = fields[i + 1] as string
      if (forbidden.test(value)) throw new TypeError(`a value of ${name} cannot be sent`)
      head += `${name}: ${value}\r\n`
      if (isNamed(name, 'content-length')) hasLength = true
      if (name === 'Connection') {
        saysConnection = true
        this.closes ||= value === 'close'
      }
    }
    this.#hasBody = !this.#isHead && status !== 204 && status !== 304
    this.chunkedEncoding = this.#hasBody && !hasLength
    if (this.chunkedEncoding) head += 'Transfer-Encoding: chunked\r\n'
    if (this.sendDate) head += `Date: ${httpDate()}\r\n`
    if (!saysConnection) head += this.closes ? 'Connection: close\r\n' : this.#keepAlive
    this.#head = `${head}\r\n`
    this.headersSent = true
  }

  write(chunk: string | Buffer): boolean {
    const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk
    const socket = this.socket
    if (!this.#hasBody || bytes.length === 0) return this.#flushHead()
    socket.cork()
    this.#flushHead()
    if (this.chunkedEncoding) socket.write(`${bytes.length.toString(16)}\r\n`, 'latin1')
    let mayGoOn = socket.write(bytes)
    if (this.chunkedEncoding) mayGoOn = socket.write('\r\n', 'latin1')
    socket.uncork()
    return mayGoOn
  }

  writeLent(chunk: Buffer, taken: () => void): boolean {
    this.write(chunk)
    if (this.socket.writableLength === 0) return true
    this.socket.write('', taken)
    return false
  }

  /** `latin1`: one character a byte. */
  end(chunk: string | Buffer = '', encoding: 'latin1' | 'utf8' = 'latin1'): void {
    if (this.writableEnded || this.socket.destroyed) return
    this.writableEnded = true
    let tail = ''
    if (this.#hasBody) {
      const isBytes = typeof chunk === 'string' && encoding === 'latin1'
      const bytes = isBytes ? chunk : Buffer.from(chunk as string).toString('latin1')
      const isChunk = this.chunkedEncoding && bytes !== ''
      tail = isChunk ? `${bytes.length.toString(16)}\r\n${bytes}\r\n` : bytes
      if (this.chunkedEncoding) tail += `0\r\n${this.#trailers}\r\n`
    }
    const rest = this.#head + tail
    this.#head = ''
    if (rest === '') this.written()
    else writeLater(this, rest)
  }

  written(): void {
    // Of a connection that is gone its end is still to be told.
    if (this.socket.destroyed) return
    // The system has taken all of it, as a rule.
    if (this.socket.writableLength === 0) this.#finish()
    else {
      // Of a client that leaves first, the end of its connection is told.
      this.socket.write('', (error) => {
        if (!error) this.#finish()
      })
    }
  }

  flushHeaders(): void {
    this.#flushHead()
  }

  addTrailers(trailers: readonly (readonly [string, string])[]): void {
    for (const [name, value] of trailers) this.#trailers += `${name}: ${value}\r\n`
  }

  writeInformation(status: number, fields: string[]): void {
    let head = statusLine(status)
    for (let i = 0; i + 1 < fields.length; i += 2) head += `${fields[i]}: ${fields[i + 1]}\r\n`
    this.socket.write(`${head}\r\n`, 'latin1')
  }

  writeContinue(): void {
    this.writeInformation(100, [])
  }

  on(event: 'close', listener: Listener): void {
    this.once(event, listener)
  }

  once(event: 'close' | 'drain', listener: Listener): void {
    if (event === 'close') {
      this.#closeListeners ??= []
      this.#closeListeners.push(listener)
    } else {
      this.#drainListeners ??= []
      this.#drainListeners.push(listener)
    }
  }

  /** The connection takes more again. */
  drained(): void {
    const listeners = this.#drainListeners ?? []
    this.#drainListeners = undefined
    for (const listener of listeners) listener()
  }

  /** The reply has ended, or its connection. */
  closed(): void {
    this.writableEnded = true
    const listeners = this.#closeListeners ?? []
    this.#closeListeners = undefined
    for (const listener of listeners) listener()
  }

  #flushHead(): boolean {
    const head = this.#head
    if (head === '') return true
    this.#head = ''
    return this.socket.write(head, 'latin1')
  }

  #finish(): void {
    this.writableFinished = true
    this.closed()
  }
}

function statusLine(status: number): string {
  const known = statusLines.get(status)
  if (known !== undefined) return known
  const line = onePiece(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'unknown'}\r\n`)
  statusLines.set(status, line)
  return line
}

/** RFC 9110 5.6.7. */
function httpDate(): string {
  const second = Math.floor(Date.now() / 1000)
  if (second !== dateSecond) {
    dateSecond = second
    date = new Date(second * 1000).toUTCString()
  }
  return date
}
