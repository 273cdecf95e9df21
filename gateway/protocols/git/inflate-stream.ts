// One zlib stream that comes in pieces (RFC 1950), whose end is only known by inflating it. Holds the
// content only where it is wanted, and never more of it than was declared.

import { createInflate } from 'node:zlib'
import { refuse } from './pkt-line.ts'

const outputBytes = 64 * 1024

export type InflateStream = {
  /**
   * Inflates the next piece, one at a time. `bytes` of it belong to the stream; `isWhole` once its end was
   * found, which may need a byte from behind it. Throws GatewayError `bad_request`.
   */
  write(piece: Buffer): Promise<InflatedPiece>
  close(): void
}

export type InflatedPiece = {
  readonly bytes: number
  readonly isWhole: boolean
  /** All of the content, at its end, where it is wanted. */
  readonly content?: Buffer
}

/** `size` is what the stream must inflate to. */
export function inflateStream(size: number, isWanted: boolean): InflateStream {
  const inflate = createInflate({ chunkSize: outputBytes })
  const kept: Buffer[] = []
  let inflated = 0
  let given = 0
  let settle: (error?: Error) => void = () => {}
  inflate.on('data', (chunk: Buffer) => {
    inflated += chunk.length
    if (inflated > size) inflate.destroy(new Error('longer than declared'))
    else if (isWanted) kept.push(chunk)
  })
  inflate.on('end', () => settle())
  inflate.on('error', (error) => settle(error))

  return { write, close: () => void inflate.destroy() }

  async function write(piece: Buffer): Promise<InflatedPiece> {
    const consumedBefore = inflate.bytesWritten
    given += piece.length
    const failure = await wait(() => inflate.write(piece, () => settle()))
    const isWhole = inflate.bytesWritten < given
    // The last of the content may still be on its way out.
    if (failure === undefined && isWhole && !inflate.readableEnded) await wait(() => {})
    if (failure !== undefined || (inflate.errored ?? null) !== null) {
      refuse('its pack has an entry that is not zlib data, or longer than it says')
    }
    const bytes = inflate.bytesWritten - consumedBefore
    if (!isWhole) return { bytes, isWhole }
    inflate.destroy()
    if (inflated !== size) refuse('its pack has an entry that is not as long as it says')
    return isWanted ? { bytes, isWhole, content: Buffer.concat(kept) } : { bytes, isWhole }
  }

  function wait(begin: () => void): Promise<Error | undefined> {
    return new Promise((resolve) => {
      settle = resolve
      begin()
    })
  }
}
