// The log: JSON lines on stdout. Never a token, a secret, an Authorization value or a query.

import pino, { type DestinationStream, type Logger } from 'pino'
import { GatheredLines } from './gathered-lines.ts'

const bufferBytesMax = 16 * 2 ** 20
const pieceBytesMax = 64 * 1024

export type Log = Logger

/** Lines go to stdout; `time` is RFC 3339 and `level` a word. */
export function makeLog(): Log {
  return pino(
    {
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    // A reader that stops costs lines, never memory without bound.
    new GatheredLines(
      pino.destination({ dest: 1, sync: false, maxLength: bufferBytesMax }),
      pieceBytesMax,
    ),
  )
}

/** Where a log's lines go, and what each of them holds behind its time. */
export function linesOf(log: Log): {
  readonly write: (line: string) => void
  readonly bindings: string
} {
  const inside = log as unknown as Record<symbol, unknown>
  const destination = inside[pino.symbols.streamSym] as DestinationStream
  return {
    write: (line) => destination.write(line),
    bindings: inside[pino.symbols.chindingsSym] as string,
  }
}
