// Log lines on their way to a destination that writes at once: those of requests are gathered for a moment,
// since a write for each would cost more than all else that a small request takes. They are gathered as bytes:
// as a text they would be hundreds of small parts that the garbage collector copies again and again.

import type { DestinationStream } from 'pino'

/** What is gathered is written after so long at the latest, and when the process ends. */
const gatherMs = 50
/** Of a character of a text, in UTF-8. */
const characterBytesMax = 3

export type Destination = { write(piece: Buffer): unknown; flushSync(): void }

export class GatheredLines implements DestinationStream {
  /** Gathers what is still to be put into lines, of all requests: called before anything is written. */
  source: (() => void) | undefined
  readonly #destination: Destination
  readonly #pieceBytesMax: number
  /** Room for a piece, and for most lines behind it, of which it is not known yet whether they fit. */
  readonly #bytes: Buffer
  #length = 0
  #timer: NodeJS.Timeout | undefined

  /** Pieces of whole lines, no longer than `pieceBytesMax` where no line is. */
  constructor(destination: Destination, pieceBytesMax: number) {
    this.#destination = destination
    this.#pieceBytesMax = pieceBytesMax
    this.#bytes = Buffer.allocUnsafeSlow(2 * pieceBytesMax)
    process.on('exit', () => this.#end())
  }

  /** A line that is waited for: all that came before it goes with it. */
  write(line: string): void {
    this.source?.()
    this.gather(line)
    this.flush()
  }

  /** The source has something, which is asked for when it is time to write. */
  expect(): void {
    this.#timer ??= setTimeout(() => this.flush(), gatherMs).unref()
  }

  gather(line: string): void {
    if (this.#length + line.length * characterBytesMax > this.#bytes.length) {
      this.flush()
      if (line.length * characterBytesMax > this.#bytes.length) {
        this.#destination.write(Buffer.from(line))
        return
      }
    }
    const before = this.#length
    this.#length += this.#bytes.write(line, this.#length)
    if (this.#length > this.#pieceBytesMax) this.#flushUpTo(before)
    this.expect()
  }

  flush(): void {
    this.source?.()
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#flushUpTo(this.#length)
  }

  /** What stands behind `end` stays. */
  #flushUpTo(end: number): void {
    if (end === 0) return
    this.#destination.write(Buffer.from(this.#bytes.subarray(0, end)))
    this.#bytes.copyWithin(0, end, this.#length)
    this.#length -= end
  }

  #end(): void {
    this.flush()
    try {
      this.#destination.flushSync()
    } catch {
      // Its reader is gone.
    }
  }
}
