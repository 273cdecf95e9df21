// The body of a plain request: so many bytes as its head has said (RFC 9112 6.3), taken as they are read.

import type { Socket } from 'node:net'
import { type BodySource, type ClientBody, clientLeft } from './body.ts'

export class PlainBody implements BodySource {
  readonly #socket: Socket
  /** Bytes that are still to come. */
  #left: number
  /** What was read with the head. */
  #read: readonly Buffer[]
  #body: ClientBody | undefined
  #isPaused = false
  #isLent = false

  /** `read` is no longer than the body. */
  constructor(socket: Socket, length: number, read: readonly Buffer[]) {
    this.#socket = socket
    this.#read = read
    this.#left = length
    for (const bytes of read) this.#left -= bytes.length
  }

  /** All of it was read. */
  get isWhole(): boolean {
    return this.#left === 0
  }

  /** The last chunk that was lent is still in use. */
  get isLent(): boolean {
    return this.#isLent
  }

  /** May what comes next be lent? */
  get isDirect(): boolean {
    return this.#left > 0 && this.#body?.isDirect === true
  }

  start(body: ClientBody): void {
    this.#body = body
    for (const bytes of this.#read) if (bytes.length > 0) body.take(bytes)
    this.#read = []
    if (this.#left === 0) body.end()
  }

  pause(): void {
    if (this.#left === 0 || this.#isPaused) return
    this.#isPaused = true
    this.#socket.pause()
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#isLent = false
    this.#socket.resume()
  }

  /** What was read next, `isLent`: into a buffer of its own. Returns what is behind the body. */
  take(bytes: Buffer, isLent = false): Buffer | undefined {
    const { length } = bytes
    const own = length > this.#left ? bytes.subarray(0, this.#left) : bytes
    this.#left -= own.length
    this.#isLent = this.#body?.take(own, isLent) === false
    if (this.#left === 0) this.#body?.end()
    return length > own.length ? bytes.subarray(own.length) : undefined
  }

  /** The connection is gone. */
  fail(): void {
    this.#body?.fail(clientLeft())
  }
}
