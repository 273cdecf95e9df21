// The log: JSON lines on stdout. Never a token, a secret, an Authorization value or a query.

import { fstatSync } from 'node:fs'
import pino, { type Logger } from 'pino'
import { type Destination, GatheredLines } from './gathered-lines.ts'
import { FittedLines, sharedPieceBytesMax } from './whole-lines.ts'

const bufferBytesMax = 16 * 2 ** 20
const pieceBytesMax = 64 * 1024

export type Log = Logger
export type Lines = Pick<GatheredLines, 'gather' | 'expect' | 'source'>

/** A file takes a write of any size in one piece (write(2): its position is locked meanwhile). */
const isFile = fstatSync(1).isFile()

/**
 * Lines go to stdout; `time` is RFC 3339 and `level` a word. `shared`: other processes write there too; the
 * lines of a worker have its number.
 */
export function makeLog(shared?: { readonly worker?: number }): Log {
  // A reader that stops costs lines, never memory without bound.
  const stdout = { dest: 1, sync: false, maxLength: bufferBytesMax, contentMode: 'buffer' } as const
  const mayBeTorn = shared !== undefined && !isFile
  const bytesMax = mayBeTorn ? sharedPieceBytesMax : pieceBytesMax
  // Its types know of texts alone.
  const destination = pino.destination({ ...stdout, maxWrite: bytesMax }) as unknown as Destination
  const gathered = new GatheredLines(destination, bytesMax)
  return pino(
    {
      base: shared?.worker === undefined ? null : { worker: shared.worker },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    mayBeTorn ? new FittedLines(gathered) : gathered,
  )
}

/** Where lines go that nobody waits for, and what each line of the log holds behind its time. */
export function linesOf(log: Log): { readonly lines: Lines; readonly bindings: string } {
  const inside = log as unknown as Record<symbol, unknown>
  return {
    lines: inside[pino.symbols.streamSym] as GatheredLines | FittedLines,
    bindings: inside[pino.symbols.chindingsSym] as string,
  }
}
