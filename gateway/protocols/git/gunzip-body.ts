// A gzip request body, decoded (RFC 1952; git's server inflates gzip and x-gzip). Reads from the encoded
// body only when the decoder has nothing left to give, so memory does not grow and what was not taken can
// still be read and dropped. It never passes on bytes that stand behind the end of the gzip data.

import { createGunzip } from 'node:zlib'
import { GatewayError } from '../../errors.ts'
import type { RequestBody } from '../protocol.ts'

/** The decoded body. `close` frees the decoder where the body is not read to its end. */
export class GunzipBody implements Pick<RequestBody, 'length' | 'next'> {
  readonly length = undefined
  readonly #encoded: RequestBody
  readonly #gunzip = createGunzip()
  #encodedBytes = 0
  /** The decoder has not yet asked for more than it was given. */
  #busy = false
  #ended = false
  #failure: Error | undefined
  #wake: () => void = () => {}

  constructor(encoded: RequestBody) {
    this.#encoded = encoded
    this.#gunzip.on('readable', () => this.#wake())
    this.#gunzip.on('end', () => this.#wake())
    this.#gunzip.on('error', (error) => {
      this.#failure = error
      this.#wake()
    })
  }

  async next(): Promise<Buffer | undefined> {
    for (;;) {
      const chunk = this.#gunzip.read() as Buffer | null
      if (chunk !== null) return chunk
      if (this.#failure !== undefined) refuse(`is not gzip: ${this.#failure.message}`)
      if (this.#gunzip.readableEnded) {
        // The decoder leaves zeros behind a member unread, and may end there by itself.
        if (this.#gunzip.bytesWritten === this.#encodedBytes) return undefined
        refuse('has bytes behind the end of its gzip data')
      }
      if (this.#busy) await this.#change()
      else await this.#feed()
    }
  }

  close(): void {
    this.#gunzip.destroy()
  }

  async #feed(): Promise<void> {
    const chunk = await this.#encoded.next()
    this.#busy = true
    if (chunk === undefined) {
      this.#ended = true
      this.#gunzip.end()
    } else {
      this.#encodedBytes += chunk.length
      this.#gunzip.write(chunk, () => {
        this.#busy = this.#ended
        this.#wake()
      })
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }
}

function refuse(what: string): never {
  throw new GatewayError('bad_request', `Content-Encoding says gzip, but the body ${what}`)
}
