// One request on its way to an upstream and its reply on the way back: streamed both ways with
// back-pressure, ended on either side when the other ends (RFC 9110 7.6, RFC 9112 8). At most one request
// reaches the upstream; the one exception is a safe request without a body on a reused connection that
// closed before the first byte of a reply (RFC 9110 9.2.2).

import { performance } from 'node:perf_hooks'
import { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { countForwarded } from '../collector.ts'
import type { GatewayError } from '../errors.ts'
import type { Exchange } from '../listener/exchange.ts'
import { fieldValue, fieldValues } from '../protocols/fields.ts'
import type { FieldList, Guard, Verdict } from '../protocols/protocol.ts'
import { expectsBody } from './expects-body.ts'
import { badReply, checkReply, isConnectionLost, upstreamFailure } from './failure.ts'
import { GuardedReply } from './guarded-reply.ts'
import { fieldsOf, replyFields } from './headers.ts'
import type { SentHead } from './sent-head.ts'
import type { ConnectionAware, SentRequest } from './transport.ts'
import type { Upstream } from './upstreams.ts'

/** After an early reply of unknown length a client that sends nothing more for so long gets its end. */
const earlyReplyIdleMs = 2_000
const nothing = Buffer.alloc(0)
/** The first part of a body waits for its end in the same read up to this size. */
const joinedBytesMax = 16 * 1024

export type RelayRequest = {
  readonly method: string
  /** Path and query, the upstream's base path included. */
  readonly path: string
  readonly head: SentHead
  readonly body: Readable | Buffer | null
  readonly headersTimeoutMs: number
  /** Server name for TLS; undefined: the upstream's own. */
  readonly servername: string | undefined
  /** Judges the body as it passes; nothing of the reply is passed on before its verdict. */
  readonly guard: Guard | undefined
  /** Rewrites the fields of the final reply. */
  readonly rewrite: ((status: number, fields: FieldList) => FieldList) | undefined
}

/**
 * Resolves when the reply was relayed or cut, or with `refused` when a guard has ended the request as a
 * refusal; rejects with a GatewayError while nothing was sent.
 */
export function relay(
  exchange: Exchange,
  upstream: Upstream,
  request: RelayRequest,
): Promise<Verdict | undefined> {
  return new Promise((resolve, reject) => {
    exchange.upstreamStartedAt = performance.now()
    // undici stops listening when the request is aborted, before the body's error is told.
    if (request.body instanceof Readable) request.body.on('error', () => {})
    const sent = sentRequest(upstream, request)
    const relayed = new Relay(exchange, upstream, request, { resolve, reject })
    if (request.guard === undefined) {
      relayed.endWith(exchange)
      upstream.dispatch(sent, relayed)
    } else {
      const { idleMs } = upstream.settings.timeouts
      const held = { exchange, guard: request.guard, idleMs, refused: resolve }
      upstream.dispatch(sent, new GuardedReply(relayed, held))
    }
  })
}

function sentRequest(upstream: Upstream, request: RelayRequest): SentRequest {
  const sent: SentRequest = {
    path: request.path,
    method: request.method as Dispatcher.HttpMethod,
    head: request.head,
    body: request.body,
    headersTimeout: request.headersTimeoutMs,
    // A guarded upload may take hours behind a head that came early.
    bodyTimeout: request.guard === undefined ? upstream.settings.timeouts.idleMs : 0,
    // A server that overlooks the body would read it as a request: its connection is not used again.
    reset: request.body !== null && !expectsBody.has(request.method),
  }
  const { servername } = request
  return servername === undefined ? sent : Object.assign(sent, { servername })
}

type Outcome = { resolve: (verdict?: Verdict) => void; reject: (error: GatewayError) => void }

export class Relay implements Dispatcher.DispatchHandler, ConnectionAware {
  connection?: NonNullable<ConnectionAware['connection']>
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
  /** The head is still to be written, with `#first` of the body, one character a byte, where that has come. */
  #holdsHead = false
  #first = ''
  /** Parts that are lent and were not taken yet. */
  #lent = 0
  #stopListening: (() => void) | undefined

  constructor(exchange: Exchange, upstream: Upstream, request: RelayRequest, outcome: Outcome) {
    this.#exchange = exchange
    this.#upstream = upstream
    this.#request = request
    this.#outcome = outcome
  }

  get takesLent(): boolean {
    return this.#exchange.res.writeLent !== undefined
  }

  /** An early end of the exchange ends the request. */
  endWith(exchange: Exchange): void {
    this.#stopListening = exchange.onAbort((error) => this.#abort(error))
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    this.#bytesReadBefore = this.connection?.socket?.bytesRead ?? 0
    this.#reused = this.#bytesReadBefore > 0
    if (this.#aborted !== undefined) controller.abort(this.#aborted)
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    const fields = fieldsOf(controller.rawHeaders)
    if (status < 200) this.#informational(status, fields)
    else this.#final(status, fields)
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#exchange.bytesOut += chunk.length
    if (this.connection?.lendsBytes === true) {
      this.onReadEnd()
      this.#writeLent(controller, chunk)
      return
    }
    countForwarded(chunk.length)
    // Where the reply ends in what was read with its head, both leave in one write.
    if (this.#holdsHead && this.#first === '' && chunk.length <= joinedBytesMax) {
      this.#first = chunk.toString('latin1')
      return
    }
    this.onReadEnd()
    this.#write(controller, this.connection?.reusesBytes ? Buffer.from(chunk) : chunk)
  }

  onResponseText(controller: Dispatcher.DispatchController, body: string): void {
    if (!this.#holdsHead || body.length > joinedBytesMax) {
      this.onResponseData(controller, Buffer.from(body, 'latin1'))
      return
    }
    this.#exchange.bytesOut += body.length
    this.#first = body
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    const { res, body } = this.#exchange
    // A reset in a reply that ends with its connection is reported as a clean end; only the socket knows.
    if (this.connection?.socket?.errored) {
      this.#fail(this.connection.socket.errored)
      return
    }
    const trailers = fieldsOf(controller.rawTrailers)
    if (trailers.length > 0 && res.chunkedEncoding) res.addTrailers(pairsOf(trailers))
    /** Known of a reply that came in one read. */
    let wholeAt: number | undefined
    if (body !== undefined && !body.complete) {
      this.onReadEnd()
      this.#exchange.linger(earlyReplyIdleMs)
    } else if (this.#holdsHead) {
      this.#holdsHead = false
      res.end(this.#first, 'latin1')
      wholeAt = this.#exchange.firstByteAt
    } else {
      res.end()
    }
    this.#settle(wholeAt)
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
    this.#exchange.res.writeInformation(
      status,
      replyFields(status, fields, this.#exchange.requestId),
    )
  }

  #final(status: number, received: FieldList): void {
    const { res, body, requestId } = this.#exchange
    checkReply(this.#upstream.settings, status, received)
    const rewritten = this.#request.rewrite?.(status, received) ?? received
    const fields = replyFields(status, rewritten, requestId)
    if (this.#exchange.closing || (body !== undefined && !body.complete)) {
      fields.push('Connection', 'close')
    }
    res.sendDate = false
    if (this.#isChunked(status, fields)) {
      for (const names of fieldValues(received, 'trailer')) fields.push('Trailer', names)
    }
    res.writeHead(status, fields)
    this.#started = true
    this.#exchange.status = status
    this.#exchange.firstByteAt = performance.now()
    this.#exchange.isEndless = isEventStream(received)
    this.#holdsHead = true
    // An event stream's head must not wait for its first event.
    if (this.connection?.reusesBytes !== true) queueMicrotask(() => this.onReadEnd())
  }

  /** Writes the head, and the part of the body that was held with it. */
  onReadEnd(): void {
    if (!this.#holdsHead) return
    this.#holdsHead = false
    const first = this.#first
    this.#first = ''
    // flushHeaders() would write the head in UTF-8; beside bytes it stays Latin-1.
    this.#write(this.#controller, first === '' ? nothing : Buffer.from(first, 'latin1'))
  }

  #write(controller: Dispatcher.DispatchController | undefined, chunk: Buffer): void {
    const { res } = this.#exchange
    if (res.write(chunk)) return
    controller?.pause()
    res.once('drain', () => controller?.resume())
  }

  /** Where the client takes no more at once, the server waits until it has taken all that is lent. */
  #writeLent(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    const isTaken = this.#exchange.res.writeLent!(chunk, () => {
      this.#lent -= 1
      if (this.#lent === 0) controller.resume()
    })
    if (isTaken) return
    this.#lent += 1
    controller.pause()
  }

  /** Only a chunked reply has trailers (RFC 9110 6.5). */
  #isChunked(status: number, fields: FieldList): boolean {
    const { method, httpVersion } = this.#exchange.req
    const hasBody = method !== 'HEAD' && status !== 204 && status !== 304
    return hasBody && httpVersion === '1.1' && fieldValue(fields, 'content-length') === undefined
  }

  #fail(error: Error): void {
    const exchange = this.#exchange
    if (this.#mayRetry(error)) {
      this.#retried = true
      this.#controller = undefined
      this.#upstream.dispatchFresh(sentRequest(this.#upstream, this.#request), this)
      return
    }
    this.#settle()
    this.onReadEnd()
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

  #settle(at = performance.now()): void {
    this.#stopListening?.()
    const { upstreamStartedAt } = this.#exchange
    if (upstreamStartedAt !== undefined) this.#exchange.upstreamMs = at - upstreamStartedAt
  }
}

function isEventStream(fields: FieldList): boolean {
  return fieldValue(fields, 'content-type')?.toLowerCase().startsWith('text/event-stream') === true
}

function pairsOf(flat: readonly string[]): [string, string][] {
  const pairs: [string, string][] = []
  for (let i = 0; i + 1 < flat.length; i += 2) {
    pairs.push([flat[i] as string, flat[i + 1] as string])
  }
  return pairs
}
