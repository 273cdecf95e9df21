// The client's request body: taken chunk by chunk while a protocol looks at its start, then streamed, then,
// after an early reply, read and dropped. Holds little that nobody asked for: what was read with the head.

import { Readable } from 'node:stream'
import { countForwarded } from '../collector.ts'
import { GatewayError } from '../errors.ts'
import type { RequestBody } from '../protocols/protocol.ts'

/** Where a body comes from. */
export type BodySource = {
  /** What has come, and comes while it is not paused, is told by `take`, then `end` or `fail`. */
  start(body: ClientBody): void
  pause(): void
  resume(): void
}

/** What is left of a body. Who takes each chunk at once may have them without the stream between. */
export class BodyStream extends Readable {
  /**
   * While the stream flows and holds nothing, chunks may come here in place of `data`. False: the chunk is in use
   * until `taken` is called, and no other comes.
   */
  direct: ((chunk: Buffer) => boolean) | undefined
  taken: () => void = () => {}
}

export class ClientBody implements RequestBody {
  readonly length: number | undefined
  /** Bytes received. */
  bytes = 0
  /** The client is the side that is due: somebody asked for bytes that have not come. */
  due = false
  /** All of the body was received. */
  complete = false
  #source: BodySource | undefined
  #queue: Buffer[] = []
  #failure: Error | undefined
  #wake: (() => void) | undefined
  #out: BodyStream | undefined
  #dropped: ((bytes: number) => void) | undefined

  /** Without a source the body is empty. */
  constructor(source: BodySource | undefined, length: number | undefined) {
    this.#source = source
    this.length = length
    if (source === undefined) this.complete = true
    else source.start(this)
  }

  /** All of it, where its length was told, it has come in one piece, and nobody has taken of it. It is taken then. */
  whole(): Buffer | undefined {
    return this.complete && this.#queue.length === 1 && this.#queue[0]?.length === this.length
      ? this.#queue.pop()
      : undefined
  }

  async next(): Promise<Buffer | undefined> {
    for (;;) {
      const chunk = this.#queue.shift()
      if (chunk !== undefined) return chunk
      if (this.complete) return undefined
      if (this.#failure !== undefined) throw this.#failure
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        this.#ask()
      })
    }
  }

  rest(first: readonly Buffer[] = []): BodyStream {
    const body = this
    const pending = [...first, ...this.#queue.splice(0)]
    // What comes next is behind it.
    if (pending.length > 0) this.#source?.pause()
    const out = new BodyStream({
      read() {
        while (pending.length > 0) if (!out.push(pending.shift())) return
        if (body.complete) out.push(null)
        else if (body.#failure !== undefined) out.destroy(body.#failure)
        else body.#ask()
      },
      destroy(error, callback) {
        // After `drop` the rest is read on, whoever let go of this stream.
        if (body.#out === out) {
          body.#out = undefined
          body.#source?.pause()
          body.due = false
        }
        callback(error)
      },
    })
    out.taken = () => {
      if (body.#out === out && !body.complete) body.#ask()
    }
    this.#out = out
    return out
  }

  /** A long part would be taken from the buffer that it was read into. */
  get isDirect(): boolean {
    return this.#out?.direct !== undefined
  }

  /** Reads what is left and drops it; `dropped` hears of each chunk's size, and of the end as 0. */
  drop(dropped: (bytes: number) => void): void {
    this.#out = undefined
    this.#queue.length = 0
    this.#dropped = dropped
    if (this.complete || this.#failure !== undefined) dropped(0)
    else this.#source?.resume()
  }

  /** Ends the body early: readers get the error. */
  fail(error: Error): void {
    if (this.complete || this.#failure !== undefined) return
    this.#failure = error
    this.due = false
    this.#out?.destroy(error)
    this.#dropped?.(0)
    this.#wakeUp()
  }

  #ask(): void {
    this.due = true
    this.#source?.resume()
  }

  /**
   * From the source: a chunk has come. One that is `lent` is the source's again when this returns true; else when
   * the source is resumed, or never where the body ends with it.
   */
  take(chunk: Buffer, isLent = false): boolean {
    this.bytes += chunk.length
    this.due = false
    if (this.#dropped !== undefined) {
      this.#dropped(chunk.length)
      return true
    }
    const out = this.#out
    if (isLent && out?.direct !== undefined && out.readableFlowing && out.readableLength === 0) {
      const isTaken = out.direct(chunk)
      if (isTaken) this.due = true
      else this.#source?.pause()
      return isTaken
    }
    countForwarded(chunk.length)
    const own = isLent ? Buffer.from(chunk) : chunk
    if (out !== undefined) {
      if (out.push(own)) this.due = true
      else this.#source?.pause()
      return true
    }
    this.#queue.push(own)
    this.#source?.pause()
    this.#wakeUp()
    return true
  }

  /** From the source: that was all. */
  end(): void {
    if (this.#failure !== undefined) return
    this.complete = true
    this.due = false
    this.#out?.push(null)
    this.#dropped?.(0)
    this.#wakeUp()
  }

  #wakeUp(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }
}

export function clientLeft(): GatewayError {
  return new GatewayError('bad_request', 'the client left')
}
