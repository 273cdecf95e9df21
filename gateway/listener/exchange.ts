// One request and its reply on a connection of the client's: what is known so far, and how it can end.
// Holds no policy. Replies that the gateway makes itself are written here (RFC 9112 9.6: a connection whose
// request was not read whole is closed only after the client had time to see the reply).

import type { IncomingMessage, ServerResponse } from 'node:http'
import { performance } from 'node:perf_hooks'
import type { GatewayError } from '../errors.ts'
import type { Facts } from '../http1/field-blocks.ts'
import type { Reconsider } from '../open-requests.ts'
import { fieldValue } from '../protocols/fields.ts'
import type { Reply } from '../protocols/protocol.ts'
import type { Grant } from '../tokens/grant.ts'
import type { TokenRecord } from '../tokens/token.ts'
import type { BodySource, ClientBody } from './body.ts'
import { makeRequestId } from './request-id.ts'

/** A client that is to have read its reply before it sends on is not waited for longer than it is silent so long. */
const silenceMs = 1_000

/** A body that nobody wants any more is read and dropped for so long, up to so many bytes. */
export const lingerMs = 30_000
export const lingerBytesMax = 64 * 2 ** 20

const requestIdPattern = /^[A-Za-z0-9._-]{1,64}$/

/** A WebSocket handshake: what has come of its socket behind the head, and what http-proxy-3 takes. */
export type Upgrade = {
  readonly head: Buffer
  readonly req: IncomingMessage
  readonly res: ServerResponse
}

/** What is read of a request's head: node:http's, or a plain one's. */
export type RequestHead = Pick<
  IncomingMessage,
  'method' | 'url' | 'httpVersion' | 'headers' | 'socket' | 'complete'
> & {
  readonly rawHeaders: readonly string[]
  /** What is known of the fields already. */
  readonly facts?: Facts
}

/** What writes a reply: node:http's ServerResponse, or a plain one's. */
export type ReplyWriter = {
  readonly headersSent: boolean
  readonly writableEnded: boolean
  readonly writableFinished: boolean
  readonly chunkedEncoding: boolean
  sendDate: boolean
  writeHead(status: number, fields: string[]): unknown
  writeContinue(): void
  writeInformation(status: number, fields: string[]): unknown
  write(chunk: string | Buffer): boolean
  /** Writes a chunk that is the caller's again when this returns true; else when `taken` is called. */
  writeLent?(chunk: Buffer, taken: () => void): boolean
  end(): unknown
  /** A text in `latin1` has one character a byte. */
  end(chunk: string | Buffer, encoding: 'latin1' | 'utf8'): unknown
  flushHeaders(): void
  addTrailers(trailers: [string, string][]): void
  on(event: 'close', listener: () => void): unknown
  once(event: 'close' | 'drain', listener: () => void): unknown
}

export class Exchange {
  readonly req: RequestHead
  readonly res: ReplyWriter
  readonly requestId: string
  readonly startedAt = performance.now()
  /** Of the connection's peer, or as a trusted proxy tells it. */
  address = ''
  /** Where a body comes from, if one comes. */
  incoming: BodySource | undefined
  body: ClientBody | undefined
  /** `Expect: 100-continue` was sent and not answered yet. */
  awaitsContinue = false
  /** The reply says `Connection: close`. */
  closing = false
  /** The client closed the connection before its reply was complete. */
  gone = false
  /** The reply has no end of its own: a WebSocket, an event stream. */
  isEndless = false
  /** The request is a WebSocket handshake whose socket this is. */
  upgrade: Upgrade | undefined

  // For the log.
  method: string
  path: string | undefined
  route: string | undefined
  record: TokenRecord | undefined
  /** What was presented in place of the record's token. */
  grant: Grant | undefined
  presented = false
  reason = 'permitted'
  status = 0
  bytesOut = 0
  /** Bytes that a WebSocket's client has sent. */
  framesIn = 0
  upstreamStartedAt: number | undefined
  upstreamMs: number | undefined
  firstByteAt: number | undefined
  cause: unknown

  /** Would the token, as it is now, still permit the request? */
  reconsider: Reconsider | undefined
  /** Where it stands among the open requests (open-requests.ts); -1: nowhere. */
  openPlace = -1

  #abortListeners: ((error: GatewayError) => void)[] | undefined
  readonly #plain: { idleMs: number } | undefined
  #withdraw: ((error: GatewayError) => void) | undefined
  #aborted: GatewayError | undefined

  /** `plain`: of a connection whose silence is looked after elsewhere. */
  constructor(req: RequestHead, res: ReplyWriter, plain?: { idleMs: number }) {
    this.req = req
    this.res = res
    this.#plain = plain
    this.method = req.method ?? ''
    const sent = fieldValue(req.rawHeaders, 'x-request-id')
    this.requestId = sent !== undefined && requestIdPattern.test(sent) ? sent : makeRequestId()
  }

  /** Hears of an early end: a client that left, a stalled body, a bad chunk. Returns what stops the hearing. */
  onAbort(listener: (error: GatewayError) => void): () => void {
    this.#abortListeners ??= []
    this.#abortListeners.push(listener)
    if (this.#aborted !== undefined) listener(this.#aborted)
    return () => {
      this.#abortListeners = this.#abortListeners?.filter((other) => other !== listener)
    }
  }

  /** The side that is due may be silent for so long. */
  limitIdle(ms: number): void {
    if (this.#plain === undefined) this.req.socket.setTimeout(ms)
    else this.#plain.idleMs = ms
  }

  abort(error: GatewayError): void {
    this.#aborted ??= error
    this.body?.fail(error)
    for (const listener of [...(this.#abortListeners ?? [])]) listener(error)
  }

  /** Who ends the request when its permit is withdrawn, while its body can still be read; without one it is aborted. */
  onWithdraw(listener: ((error: GatewayError) => void) | undefined): void {
    this.#withdraw = listener
  }

  /** The request ends in an order of its own when its permit is withdrawn. */
  get endsInOrder(): boolean {
    return this.#withdraw !== undefined
  }

  /** The permit is withdrawn: the token has changed, or the gateway is going away. */
  withdraw(error: GatewayError): void {
    if (this.#withdraw === undefined) this.abort(error)
    else this.#withdraw(error)
  }

  /** Tells the client to send its body, once, if it waits to be told. */
  continue(): void {
    if (!this.awaitsContinue) return
    this.awaitsContinue = false
    this.res.writeContinue()
  }

  /**
   * Reads what is left of the body and drops it, for a client that takes an early reply for a lost connection,
   * as curl does in the middle of a chunked upload. Resolves at its end, or when the bounds of lingering are reached.
   */
  async readToEnd(): Promise<void> {
    const { body } = this
    if (body === undefined || body.complete) return
    await new Promise<void>((resolve) => {
      let bytes = 0
      const stop = (): void => {
        clearTimeout(deadline)
        clearTimeout(silence)
        resolve()
      }
      const deadline = setTimeout(stop, lingerMs)
      const silence = setTimeout(stop, silenceMs)
      body.drop((received) => {
        silence.refresh()
        bytes += received
        if (received === 0 || bytes > lingerBytesMax) stop()
      })
    })
  }

  /** Writes a whole reply of the gateway's own. */
  reply(reply: Reply): void {
    if (this.res.headersSent) {
      this.cut()
      return
    }
    const unread = this.body !== undefined && !this.body.complete
    const fields = [...reply.fields, 'X-Request-Id', this.requestId]
    if (reply.status !== 204) fields.push('Content-Length', String(Buffer.byteLength(reply.body)))
    if (unread || this.closing) fields.push('Connection', 'close')
    this.status = reply.status
    this.firstByteAt = performance.now()
    // What a reply that could not be passed on has left there is not this one's.
    this.res.sendDate = true
    this.res.writeHead(reply.status, fields)
    const body = this.req.method === 'HEAD' || reply.status === 204 ? '' : reply.body
    this.bytesOut = Buffer.byteLength(body)
    if (!unread || this.awaitsContinue) {
      this.res.end(body, 'utf8')
      return
    }
    this.res.flushHeaders()
    if (body.length > 0) this.res.write(body)
    this.linger(lingerMs)
  }

  /** Ends the reply once the rest of the request body was read and dropped, or waited for long enough. */
  linger(idleMs: number): void {
    let bytes = 0
    const end = (): void => {
      clearTimeout(deadline)
      clearTimeout(idle)
      this.res.end()
    }
    const deadline = setTimeout(end, lingerMs)
    const idle = setTimeout(end, idleMs)
    this.res.once('close', end)
    this.body?.drop((received) => {
      idle.refresh()
      bytes += received
      if (received === 0 || bytes > lingerBytesMax) end()
    })
  }

  /** Ends the connection so that no client takes what it got for the whole. */
  cut(): void {
    const socket = this.req.socket
    const delimitedByClose =
      this.req.httpVersion === '1.0' || (this.res.headersSent && !this.res.chunkedEncoding)
    if (delimitedByClose && 'resetAndDestroy' in socket) socket.resetAndDestroy()
    else socket.destroy()
  }
}
