// The log: JSON lines on stdout, fields by an allow-list. Never a token, a secret, an Authorization value or
// a query. The line of a denial is an audit line too.

import pino, { type Logger } from 'pino'
import { type ErrorCode, errorTable, type GatewayError } from '../errors.ts'
import type { Exchange } from '../listener/exchange.ts'
import { wholeLines } from './whole-lines.ts'

const bufferBytesMax = 16 * 2 ** 20

export type Log = Logger

/**
 * Lines go to stdout; `time` is RFC 3339 and `level` a word. `shared`: other processes write there too; the
 * lines of a worker have its number.
 */
export function makeLog(shared?: { readonly worker?: number }): Log {
  // A reader that stops costs lines, never memory without bound.
  const stdout = { dest: 1, sync: false, maxLength: bufferBytesMax }
  return pino(
    {
      base: shared?.worker === undefined ? null : { worker: shared.worker },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (label) => ({ level: label }) },
    },
    shared === undefined ? pino.destination(stdout) : wholeLines(stdout),
  )
}

/** How a request ended: let through, refused, or failed for reasons that are not the client's. */
export function outcomeOf(exchange: Exchange): 'permit' | 'deny' | 'error' {
  const entry = errorTable[exchange.reason as ErrorCode]
  if (entry === undefined) return exchange.reason === 'permitted' ? 'permit' : 'error'
  return entry.status < 500 ? 'deny' : 'error'
}

/** One line a request. */
export function logRequest(log: Log, exchange: Exchange): void {
  const outcome = outcomeOf(exchange)
  const { record, reason } = exchange
  const audited =
    outcome === 'deny' && (exchange.presented || exchange.record !== undefined)
      ? { audit: true, action: 'deny' }
      : undefined
  const fields = {
    requestId: exchange.requestId,
    route: exchange.route ?? null,
    method: exchange.method,
    path: exchange.path ?? null,
    status: exchange.status,
    outcome,
    reason,
    tokenId: record?.id ?? null,
    subject: record?.subject ?? null,
    address: exchange.address,
    bytesIn: exchange.body?.bytes ?? exchange.framesIn,
    bytesOut: exchange.bytesOut,
    durationMs: rounded(performance.now() - exchange.startedAt),
    upstreamMs: exchange.upstreamMs === undefined ? null : rounded(exchange.upstreamMs),
    ...audited,
    ...causeOf(exchange),
  }
  const level = errorTable[reason as ErrorCode]?.level ?? 'info'
  log[level](fields, 'request')
}

/** The line of a head that never became a request: what it asked for is not known. */
export function logUnread(
  log: Log,
  unread: { readonly requestId: string; readonly error: GatewayError; readonly address: string },
): void {
  const { requestId, error, address } = unread
  const fields = {
    requestId,
    route: null,
    method: null,
    path: null,
    status: error.status,
    outcome: 'deny',
    reason: error.code,
    tokenId: null,
    subject: null,
    address,
    bytesIn: 0,
    bytesOut: 0,
    durationMs: 0,
    upstreamMs: null,
    ...causeOf(error),
  }
  log[errorTable[error.code].level](fields, 'request')
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000
}

/** The code and words of what an upstream or a store did; they are never shown to clients. */
function causeOf({ cause }: { readonly cause?: unknown }): { readonly cause?: string } {
  if (!(cause instanceof Error)) return {}
  const code = 'code' in cause ? `${String(cause.code)}: ` : ''
  return { cause: `${code}${cause.message}` }
}
