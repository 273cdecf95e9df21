// Log lines of several processes on one stdout: none is ever torn by another's. The system writes so many
// bytes to a pipe in one piece (PIPE_BUF, pipe(7)): every write holds whole lines and is no longer.

import type { DestinationStream } from 'pino'
import type { GatheredLines } from './gathered-lines.ts'

/** Of Linux, and at least that much of the other systems' sockets and files. */
export const sharedPieceBytesMax = 4_096

export class FittedLines implements DestinationStream {
  readonly #lines: GatheredLines

  constructor(lines: GatheredLines) {
    this.#lines = lines
  }

  write(line: string): void {
    this.#lines.write(fitted(line))
  }

  gather(line: string): void {
    this.#lines.gather(fitted(line))
  }

  set source(source: () => void) {
    this.#lines.source = source
  }

  expect(): void {
    this.#lines.expect()
  }
}

/** The line, or one with the same fields that fits into one piece: its longest values are cut and end in `…`. */
export function fitted(line: string): string {
  let whole = line
  let charactersMax = sharedPieceBytesMax
  while (Buffer.byteLength(whole) > sharedPieceBytesMax && charactersMax > 1) {
    charactersMax /= 2
    const fields: unknown = JSON.parse(line)
    whole = `${JSON.stringify(fields, (_key, value) => shortened(value, charactersMax))}\n`
  }
  return whole
}

function shortened(value: unknown, charactersMax: number): unknown {
  const isLong = typeof value === 'string' && value.length > charactersMax
  return isLong ? `${value.slice(0, charactersMax)}…` : value
}
