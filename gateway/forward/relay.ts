// One request on its way to an upstream and its reply on the way back: streamed both ways with
// back-pressure, ended on either side when the other ends (RFC 9110 7.6, RFC 9112 8). At most one request
// reaches the upstream; the one exception is a safe request without a body on a reused connection that
// closed before the first byte of a reply (RFC 9110 9.2.2).

import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { countForwarded } from '../collector.ts'
import { GatewayError } from '../errors.ts'
import type { Exchange } from '../listener/exchange.ts'
import { fieldValue } from '../protocols/fields.ts'
import type { FieldList } from '../protocols/protocol.ts'
import { isConnectionLost, upstreamFailure } from './failure.ts'
import { replyFields } from './headers.ts'
import type { ConnectionAware, TrackedClient, Upstream } from './upstreams.ts'

/** After an early reply of unknown length a client that sends nothing more for so long gets its end. */
const earlyReplyIdleMs = 2_000

export type RelayRequest = {
  readonly method: string
  /** Path and query, the upstream's base path included. */
  readonly path: string
  readonly fields: string[]
  readonly body: Readable | Buffer | null
  readonly headersTimeoutMs: number
  /** Server name for TLS; undefined: the upstream's own. */
  readonly servername: string | undefined
  /** Rewrites the fields of the final reply. */
  readonly rewrite: ((status: number, fields: FieldList) => FieldList) | undefined
}

/** Resolves when the reply was relayed or cut; rejects with a GatewayError while nothing of it was sent. */
export function relay(
  exchange: Exchange,
  upstream: Upstream,
  request: RelayRequest,
): Promise<void> {
  return new Promise((resolve, reject) => {
    exchange.upstreamStartedAt = performance.now()
    const options = dispatchOptions(upstream, request)
    const handler = new Relay(exchange, upstream, request, { resolve, reject })
    upstream.dispatch(options, handler)
  })
}

function dispatchOptions(upstream: Upstream, request: RelayRequest): Dispatcher.DispatchOptions {
  return {
    path: request.path,
    method: request.method as Dispatcher.HttpMethod,
    headers: request.fields,
    body: request.body,
    headersTimeout: request.headersTimeoutMs,
    bodyTimeout: upstream.settings.timeouts.idleMs,
    reset: false,
    ...(request.servername === undefined ? {} : { servername: request.servername }),
  }
}

type Outcome = { resolve: () => void; reject: (error: GatewayError) => void }

class Relay implements Dispatcher.DispatchHandler, ConnectionAware {
  connection?: TrackedClient
  #exchange: Exchange
  #upstream: Upstream
  #request: RelayRequest
  #outcome: Outcome
  #controller: Dispatcher.DispatchController | undefined
  #reused = false
  #bytesReadBefore = 0
  #retried = false
  #aborted: Error | undefined
  /** The final head was written to the client. */
  #started = false
  #wroteBody = false

  constructor(exchange: Exchange, upstream: Upstream, request: RelayRequest, outcome: Outcome) {
    this.#exchange = exchange
    this.#upstream = upstream
    this.#request = request
    this.#outcome = outcome
    exchange.onAbort((error) => this.#abort(error))
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    this.#bytesReadBefore = this.connection?.socket?.bytesRead ?? 0
    this.#reused = this.#bytesReadBefore > 0
    if (this.#aborted !== undefined) controller.abort(this.#aborted)
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    const fields = textOf(controller.rawHeaders)
    if (status < 200) this.#informational(status, fields)
    else this.#final(status, fields)
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    const { res } = this.#exchange
    countForwarded(chunk.length)
    this.#wroteBody = true
    this.#exchange.bytesOut += chunk.length
    if (res.write(chunk)) return
    controller.pause()
    res.once('drain', () => controller.resume())
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    const { res, body } = this.#exchange
    // A reset in a reply that ends with its connection is reported as a clean end; only the socket knows.
    if (this.connection?.socket?.errored) {
      this.#fail(this.connection.socket.errored)
      return
    }
    const trailers = textOf(controller.rawTrailers)
    if (trailers.length > 0 && res.chunkedEncoding) res.addTrailers(pairsOf(trailers))
    if (body === undefined || body.complete) res.end()
    else this.#exchange.linger(earlyReplyIdleMs)
    this.#settle()
    this.#outcome.resolve()
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    this.#fail(error)
  }

  #abort(error: Error): void {
    this.#aborted = error
    this.#controller?.abort(error)
  }

  #informational(status: number, fields: FieldList): void {
    if (status === 101) throw badReply('sent 101 that nobody asked for')
    if (this.#exchange.req.httpVersion === '1.0') return
    this.#exchange.res.writeInformation(status, replyFields(fields, this.#exchange.requestId))
  }

  #final(status: number, received: FieldList): void {
    const { res, body, requestId } = this.#exchange
    this.#checkReply(status, received)
    const fields = replyFields(this.#request.rewrite?.(status, received) ?? received, requestId)
    if (this.#exchange.closing || (body !== undefined && !body.complete)) {
      fields.push('Connection', 'close')
    }
    res.sendDate = false
    res.writeHead(status, withoutStrayTrailer(fields))
    this.#started = true
    this.#exchange.status = status
    this.#exchange.firstByteAt = performance.now()
    this.#exchange.isEndless = isEventStream(received)
    // An event stream's head must not wait for its first event.
    queueMicrotask(() => {
      if (!this.#wroteBody && !res.writableEnded) res.flushHeaders()
    })
  }

  #checkReply(status: number, fields: FieldList): void {
    const { name, credentials } = this.#upstream.settings
    if (status > 999) throw badReply('sent no status')
    if ((status === 401 || status === 407) && credentials === 'strip') {
      throw new GatewayError(
        'upstream_rejected_gateway',
        `upstream ${name} answered ${status} to the gateway's own credentials; this is for its operator to mend`,
      )
    }
    for (let i = 0; i + 1 < fields.length; i += 2) {
      if ((fields[i] as string).toLowerCase() !== 'transfer-encoding') continue
      if ((fields[i + 1] as string).toLowerCase() !== 'chunked') throw badReply('sent a coding')
    }
  }

  #fail(error: Error): void {
    const exchange = this.#exchange
    if (this.#mayRetry(error)) {
      this.#retried = true
      this.#controller = undefined
      this.#upstream.dispatchFresh(dispatchOptions(this.#upstream, this.#request), this)
      return
    }
    this.#settle()
    const failure = upstreamFailure(this.#upstream.settings.name, this.#aborted ?? error)
    exchange.cause = error
    if (!this.#started) {
      this.#outcome.reject(failure)
      return
    }
    exchange.reason = exchange.gone ? 'client_gone' : failure.code
    exchange.cut()
    this.#outcome.resolve()
  }

  #mayRetry(error: Error): boolean {
    const { method, body } = this.#request
    return (
      !this.#retried &&
      this.#reused &&
      !this.#started &&
      this.#aborted === undefined &&
      body === null &&
      (method === 'GET' || method === 'HEAD' || method === 'OPTIONS') &&
      isConnectionLost(error) &&
      this.connection?.socket?.bytesRead === this.#bytesReadBefore
    )
  }

  #settle(): void {
    this.#exchange.onAbort(undefined)
    const { upstreamStartedAt } = this.#exchange
    if (upstreamStartedAt !== undefined) {
      this.#exchange.upstreamMs = performance.now() - upstreamStartedAt
    }
  }
}

function badReply(what: string): Error {
  return new Error(`the upstream ${what}`)
}

function isEventStream(fields: FieldList): boolean {
  return fieldValue(fields, 'content-type')?.toLowerCase().startsWith('text/event-stream') === true
}

/** Latin-1 keeps every byte of a field value (RFC 9110 5.5). */
function textOf(raw: Dispatcher.DispatchController['rawHeaders']): string[] {
  if (!Array.isArray(raw)) return []
  return raw.map((part) => (typeof part === 'string' ? part : part.toString('latin1')))
}

function pairsOf(flat: readonly string[]): [string, string][] {
  const pairs: [string, string][] = []
  for (let i = 0; i + 1 < flat.length; i += 2) {
    pairs.push([flat[i] as string, flat[i + 1] as string])
  }
  return pairs
}

/** Trailer announces trailers, which only a chunked reply has (RFC 9110 6.6.2). */
function withoutStrayTrailer(fields: string[]): string[] {
  const isLength = (_: string, i: number) =>
    i % 2 === 0 && fields[i]?.toLowerCase() === 'content-length'
  if (!fields.some(isLength)) return fields
  const at = fields.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === 'trailer')
  return at < 0 ? fields : fields.toSpliced(at, 2)
}
