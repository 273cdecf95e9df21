// Log lines of several processes on one stdout: none is ever torn by another's. The system writes so many
// bytes to a pipe in one piece (PIPE_BUF, pipe(7)): every write holds whole lines and is no longer.

import pino, { type DestinationStream } from 'pino'

/** Of Linux, and at least that much of the other systems' sockets and files. */
export const pieceBytesMax = 4_096

/** A destination for pino. Lines that are too long have their longest values cut, which then end in `…`. */
export function wholeLines(options: object): DestinationStream {
  const destination = pino.destination({ ...options, maxWrite: pieceBytesMax })
  return { write: (line) => void destination.write(fitted(line)) }
}

/** The line, or one with the same fields that fits into one piece. */
export function fitted(line: string): string {
  let whole = line
  let charactersMax = pieceBytesMax
  while (Buffer.byteLength(whole) > pieceBytesMax && charactersMax > 1) {
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
