// The little of WebSocket that the gateway must know (RFC 6455): the accept key of a handshake, and where
// frames end, so that a tunnel can be closed with a code and not in the middle of a message.

import { createHash } from 'node:crypto'
import { Transform, type TransformCallback } from 'node:stream'

/** RFC 6455 7.4.1. */
export const goingAway = 1001
export const policyViolation = 1008

const acceptGuid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** What Sec-WebSocket-Accept must be (RFC 6455 4.2.2). */
export function acceptOf(key: string): string {
  return createHash('sha1')
    .update(key + acceptGuid)
    .digest('base64')
}

/** Passes frames of the server on, and knows when none is under way (RFC 6455 5.2). */
export class FrameFollower extends Transform {
  #header: number[] = []
  #payloadLeft = 0
  #closing: (() => void) | undefined

  /** Calls back as soon as no frame is under way; at once where none is. Passes nothing after it. */
  atBoundary(callback: () => void): void {
    if (this.#payloadLeft === 0 && this.#header.length === 0) callback()
    else this.#closing = callback
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    let at = 0
    while (at < chunk.length) {
      at = this.#payloadLeft > 0 ? this.#skipPayload(chunk, at) : this.#readHeader(chunk, at)
      if (this.#closing !== undefined && this.#payloadLeft === 0 && this.#header.length === 0) {
        this.push(chunk.subarray(0, at))
        this.#closing()
        this.#closing = undefined
        done()
        return
      }
    }
    done(null, chunk)
  }

  #skipPayload(chunk: Buffer, at: number): number {
    const taken = Math.min(this.#payloadLeft, chunk.length - at)
    this.#payloadLeft -= taken
    return at + taken
  }

  #readHeader(chunk: Buffer, at: number): number {
    this.#header.push(chunk[at] as number)
    const [, second = 0] = this.#header
    if (this.#header.length < 2) return at + 1
    const short = second & 0x7f
    const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0
    const maskBytes = (second & 0x80) === 0 ? 0 : 4
    if (this.#header.length < 2 + lengthBytes + maskBytes) return at + 1
    const extended = this.#header.slice(2, 2 + lengthBytes)
    this.#payloadLeft =
      lengthBytes === 0 ? short : extended.reduce((sum, byte) => sum * 256 + byte, 0)
    this.#header = []
    return at + 1
  }
}

/** An unmasked close frame (RFC 6455 5.5.1). `reason` is at most 123 bytes. */
export function closeFrame(code: number, reason: string): Buffer {
  const text = Buffer.from(reason, 'utf8').subarray(0, 123)
  const frame = Buffer.alloc(4 + text.length)
  frame[0] = 0x88
  frame[1] = 2 + text.length
  frame.writeUInt16BE(code, 2)
  text.copy(frame, 4)
  return frame
}
