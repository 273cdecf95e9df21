// The body of a plain request, taken as it is read.

import type { Socket } from 'node:net'
import { type BodySource, type ClientBody, clientLeft } from './body.ts'
import type { PlainFraming } from './plain-framing.ts'

export class PlainBody implements BodySource {
  readonly #socket: Socket
  readonly #framing: PlainFraming
  /** What came with the head. */
  #first: Buffer
  #body: ClientBody | undefined
  #isPaused = false
  #isLent = false

  /** `first`: the content that `framing` has taken already. */
  constructor(socket: Socket, framing: PlainFraming, first: Buffer) {
    this.#socket = socket
    this.#framing = framing
    this.#first = first
  }

  /** All of it was read. */
  get isWhole(): boolean {
    return this.#framing.isWhole
  }

  /** The last chunk that was lent is still in use. */
  get isLent(): boolean {
    return this.#isLent
  }

  /** May what comes next be lent? */
  get isDirect(): boolean {
    return !this.isWhole && this.#body?.isDirect === true
  }

  start(body: ClientBody): void {
    this.#body = body
    if (this.#first.length > 0) body.take(this.#first)
    this.#first = nothing
    if (this.isWhole) body.end()
  }

  pause(): void {
    if (this.isWhole || this.#isPaused) return
    this.#isPaused = true
    this.#socket.pause()
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#isLent = false
    this.#socket.resume()
  }

  /**
   * What was read next, `isLent`: into a buffer of its own. Returns what is behind the body; throws WireError for
   * what cannot be of it.
   */
  take(bytes: Buffer, isLent = false): Buffer | undefined {
    const { content, behind } = this.#framing.take(bytes)
    this.#isLent = content.length > 0 && this.#body?.take(content, isLent) === false
    if (this.isWhole) this.#body?.end()
    return behind
  }

  /** The connection is gone. */
  fail(): void {
    this.#body?.fail(clientLeft())
  }
}

const nothing = Buffer.alloc(0)
