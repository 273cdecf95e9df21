// Log lines on their way to a destination that writes at once: those of requests are gathered for a moment,
// since a write for each would cost more than all else that a small request takes.

import type { DestinationStream } from 'pino'

/** What is gathered is written after so long at the latest, and when the process ends. */
const gatherMs = 50

type Destination = { write(piece: string): unknown; flushSync(): void }

export class GatheredLines implements DestinationStream {
  readonly #destination: Destination
  readonly #pieceBytesMax: number
  readonly #isStrict: boolean
  #piece = ''
  #bytes = 0
  #timer: NodeJS.Timeout | undefined

  /** Pieces of whole lines, of about `pieceBytesMax`; `isStrict`: no longer, where no line is. */
  constructor(destination: Destination, pieceBytesMax: number, isStrict: boolean) {
    this.#destination = destination
    this.#pieceBytesMax = pieceBytesMax
    this.#isStrict = isStrict
    process.on('exit', () => this.#end())
  }

  /** A line that is waited for: all that was gathered goes with it. */
  write(line: string): void {
    this.gather(line)
    this.flush()
  }

  gather(line: string): void {
    // Only a few lines hold more than ASCII, and only a strict bound must know.
    const bytes = this.#isStrict ? Buffer.byteLength(line) : line.length
    if (this.#bytes + bytes > this.#pieceBytesMax) this.flush()
    this.#piece += line
    this.#bytes += bytes
    this.#timer ??= setTimeout(() => this.flush(), gatherMs).unref()
  }

  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#bytes === 0) return
    const piece = this.#piece
    this.#piece = ''
    this.#bytes = 0
    this.#destination.write(piece)
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
