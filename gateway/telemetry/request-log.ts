// The request log: one JSON line a request, fields by an allow-list. Never a token, a secret, an Authorization
// value or a query. The line of a denial is an audit line too. The lines are those that pino would write, put
// together by hand: they are the one log line that every request pays for.

import { type ErrorCode, errorTable, type GatewayError } from '../errors.ts'
import type { Exchange } from '../listener/exchange.ts'
import { onePiece } from '../one-piece.ts'
import type { TokenRecord } from '../tokens/token.ts'
import { type Lines, type Log, linesOf } from './log.ts'

/** Lines are put together for so many requests at once: what does it is warm in the processor's caches then. */
const linesAtOnce = 16

/** A request, with what may change after its end: bytes of a body that nobody wants, what its sockets still say. */
type Ended = {
  readonly exchange: Exchange
  /** Wall clock, milliseconds. */
  readonly at: number
  readonly durationMs: number
  readonly bytesIn: number
  readonly cause: unknown
}

/** How a request ended: let through, refused, or failed for reasons that are not the client's. */
export function outcomeOf(exchange: Exchange): 'permit' | 'deny' | 'error' {
  if (exchange.reason === 'permitted') return 'permit'
  const entry = errorTable[exchange.reason as ErrorCode]
  return entry !== undefined && entry.status < 500 ? 'deny' : 'error'
}

export class RequestLog {
  readonly #lines: Lines
  readonly #bindings: string
  readonly #holders = new WeakMap<TokenRecord, string>()
  /** Those that have no line yet. */
  #ended: Ended[] = []

  constructor(log: Log) {
    const { lines, bindings } = linesOf(log)
    this.#lines = lines
    this.#bindings = onePiece(bindings)
    lines.source = () => this.#gatherEnded()
  }

  /** One line a request, as it is now: it has ended. */
  request(exchange: Exchange, durationMs: number): void {
    const bytesIn = exchange.body?.bytes ?? exchange.framesIn
    const count = this.#ended.push({
      exchange,
      at: Date.now(),
      durationMs,
      bytesIn,
      cause: exchange.cause,
    })
    if (count < linesAtOnce) this.#lines.expect()
    else this.#gatherEnded()
  }

  #gatherEnded(): void {
    if (this.#ended.length === 0) return
    const all = this.#ended
    this.#ended = []
    for (const ended of all) this.#gather(ended)
  }

  #gather({ exchange, at, durationMs, bytesIn, cause }: Ended): void {
    const outcome = outcomeOf(exchange)
    const { record, reason, upstreamMs } = exchange
    const isAudited = outcome === 'deny' && (exchange.presented || record !== undefined)
    this.#line(
      at,
      outcome === 'permit' ? 'info' : (errorTable[reason as ErrorCode]?.level ?? 'info'),
      `"requestId":${quoted(exchange.requestId)},"route":${quotedOrNull(exchange.route)}` +
        `,"method":${quoted(exchange.method)},"path":${quotedOrNull(exchange.path)}` +
        `,"status":${exchange.status},"outcome":"${outcome}","reason":"${reason}"` +
        this.#holder(record) +
        `,"address":${quoted(exchange.address)},"bytesIn":${bytesIn}` +
        `,"bytesOut":${exchange.bytesOut},"durationMs":${written(durationMs)}` +
        `,"upstreamMs":${upstreamMs === undefined ? 'null' : written(upstreamMs)}` +
        `${isAudited ? ',"audit":true,"action":"deny"' : ''}${causeOf(cause)}`,
    )
  }

  /** The line of a head that never became a request: what it asked for is not known. */
  unread(unread: {
    readonly requestId: string
    readonly error: GatewayError
    readonly address: string
  }): void {
    const { requestId, error, address } = unread
    this.#gatherEnded()
    this.#line(
      Date.now(),
      errorTable[error.code].level,
      `"requestId":${quoted(requestId)},"route":null,"method":null,"path":null` +
        `,"status":${error.status},"outcome":"deny","reason":"${error.code}"` +
        `${nobody},"address":${quoted(address)},"bytesIn":0,"bytesOut":0` +
        `,"durationMs":0,"upstreamMs":null${causeOf(error.cause)}`,
    )
  }

  /** The fields of a token's record, written once. */
  #holder(record: TokenRecord | undefined): string {
    if (record === undefined) return nobody
    let written = this.#holders.get(record)
    if (written === undefined) {
      written = onePiece(`,"tokenId":${quoted(record.id)},"subject":${quoted(record.subject)}`)
      this.#holders.set(record, written)
    }
    return written
  }

  #line(at: number, level: string, fields: string): void {
    this.#lines.gather(
      `{"level":"${level}","time":"${writeTime(at)}"${this.#bindings},${fields},"msg":"request"}\n`,
    )
  }
}

const nobody = ',"tokenId":null,"subject":null'

let second = Number.NaN
let secondText = ''

/** RFC 3339; many requests end in one second. */
function writeTime(ms: number): string {
  const now = Math.floor(ms / 1000)
  if (now !== second) {
    second = now
    secondText = new Date(now * 1000).toISOString().slice(0, '2000-01-01T00:00:00.'.length)
  }
  return `${secondText}${threeDigits(ms - now * 1000)}Z`
}

/** What a JSON string cannot hold as it is; everything beyond ASCII is left to JSON.stringify. */
const special = /[^\x20-\x7e]|["\\]/

function quoted(text: string): string {
  return special.test(text) ? JSON.stringify(text) : `"${text}"`
}

function quotedOrNull(text: string | undefined): string {
  return text === undefined ? 'null' : quoted(text)
}

/** Milliseconds in JSON, to the microsecond; a third of the time that JavaScript takes to write a fraction. */
function written(ms: number): string {
  const micros = Math.max(0, Math.round(ms * 1000))
  const part = micros % 1000
  return `${(micros - part) / 1000}.${threeDigits(part)}`
}

/** 0 to 999. */
function threeDigits(part: number): string {
  return `${part < 10 ? '00' : part < 100 ? '0' : ''}${part}`
}

/** The code and words of what an upstream or a store did; they are never shown to clients. */
function causeOf(cause: unknown): string {
  if (!(cause instanceof Error)) return ''
  const code = 'code' in cause ? `${String(cause.code)}: ` : ''
  return `,"cause":${quoted(`${code}${cause.message}`)}`
}
