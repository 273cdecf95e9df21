// The last stage: what was permitted goes to the upstream of its route, as a tunnel or as one request.

import type { Readable } from 'node:stream'
import { decideFor } from './authorize.ts'
import { withoutQueryCarriers } from './credentials/credentials.ts'
import type { Access } from './decision/access.ts'
import { writeHead } from './forward/headers.ts'
import { ask } from './forward/question.ts'
import { relay } from './forward/relay.ts'
import type { ClientOrigin } from './listener/address.ts'
import type { Exchange } from './listener/exchange.ts'
import type { RequestTarget } from './listener/target.ts'
import type {
  AnswerContext,
  Inspected,
  Intent,
  ProtocolRequest,
  UpstreamQuestion,
  Verdict,
} from './protocols/protocol.ts'
import type { Snapshot, SnapshotUpstream } from './snapshot.ts'

const restHeadersTimeoutMs = 60_000
const transferHeadersTimeoutMs = 15 * 60_000

type ForwardedBody = Extract<Inspected, { kind: 'forward' }>

/** A permitted request with all that is known of it. */
export type Journey = {
  readonly snapshot: Snapshot
  readonly exchange: Exchange
  readonly origin: ClientOrigin
  readonly request: ProtocolRequest
  readonly intent: Intent
  readonly facing: SnapshotUpstream
}

/** What a protocol may do while it looks at a body or answers by itself. */
export function contextOf({ snapshot, exchange, facing, origin, request }: Journey): AnswerContext {
  const { upstream, plan } = facing
  return {
    decide: (access: Access) => decideFor(snapshot, exchange, access),
    ask: (question: UpstreamQuestion) =>
      ask(
        exchange,
        upstream,
        question,
        writeHead(plan, {
          fields: question.fields ?? [],
          host: hostFor(facing, request),
          requestHost: request.target.authority,
          origin,
          requestId: exchange.requestId,
          record: exchange.record,
          inject: exchange.record !== undefined || request.match.route.inject,
        }),
      ),
  }
}

function hostFor({ upstream }: SnapshotUpstream, { target }: ProtocolRequest): string {
  return upstream.settings.host === 'client' ? target.authority : upstream.authority
}

/**
 * Sends the request on and its reply back. Rejects with a GatewayError while nothing was replied. Resolves
 * with `refused` where a guard ended the request as a refusal, which is still to be replied.
 */
export function forward(
  journey: Journey,
  inspected: ForwardedBody | undefined,
  form: Buffer | undefined,
): Promise<Verdict | undefined> {
  const { exchange, origin, request, intent, facing, snapshot } = journey
  const { upstream, plan } = facing
  const { settings } = upstream
  const { route } = request.match
  const head = writeHead(plan, {
    fields: request.fields,
    host: hostFor(facing, request),
    requestHost: request.target.authority,
    origin,
    requestId: exchange.requestId,
    record: exchange.record,
    inject: exchange.record !== undefined || route.inject,
    drop: inspected?.drop ?? intent.drop,
    set: inspected?.set,
    facts: exchange.req.facts,
  })
  const received = inspected?.path ?? intent.path ?? asReceived(request.target)
  const path =
    settings.basePath +
    (settings.credentials === 'forward' ? received : withoutTokens(snapshot, received))
  const headersTimeoutMs =
    settings.timeouts.headersMs ??
    (route.protocol === 'rest' ? restHeadersTimeoutMs : transferHeadersTimeoutMs)
  const servername =
    settings.tls?.serverName ??
    (settings.host === 'client' ? new URL(settings.origin).hostname : undefined)
  const { upgrade } = exchange
  if (upgrade !== undefined) {
    const tunnelled = { path, fields: head.list(), headersTimeoutMs, servername }
    // Most gateways see no WebSocket.
    return import('./forward/upgrade.ts').then(({ tunnel }) =>
      tunnel(exchange, upgrade, upstream, tunnelled),
    )
  }
  const { body, length } = bodyOf(exchange, inspected, form)
  head.length = length
  return relay(exchange, upstream, {
    method: request.method,
    path,
    head,
    body,
    headersTimeoutMs,
    servername,
    guard: inspected?.guard,
    rewrite:
      intent.reply &&
      ((status, received) =>
        intent.reply?.(status, received, settings.origin, settings.basePath) ?? received),
  })
}

function asReceived({ path, query }: RequestTarget): string {
  return query === undefined ? path : `${path}?${query}`
}

/** Path and query without the tokens that a query may carry. */
function withoutTokens(snapshot: Snapshot, target: string): string {
  const at = target.indexOf('?')
  if (at < 0) return target
  const { credentials } = snapshot.configuration
  const query = withoutQueryCarriers(target.slice(at + 1), credentials)
  return query === undefined ? target.slice(0, at) : `${target.slice(0, at)}?${query}`
}

/** What to send as the body, and its Content-Length; undefined: chunked, or no body at all. */
function bodyOf(
  { body, req }: Exchange,
  inspected: ForwardedBody | undefined,
  form: Buffer | undefined,
): { readonly body: Readable | Buffer | null; readonly length: number | undefined } {
  const whole = inspected === undefined ? (form ?? body?.whole()) : inspected.body
  if (Buffer.isBuffer(whole)) return { body: whole, length: whole.length }
  if (inspected !== undefined) return { body: inspected.body, length: inspected.length }
  if (body !== undefined) return { body: body.rest(), length: body.length }
  return { body: null, length: req.headers['content-length'] === undefined ? undefined : 0 }
}
