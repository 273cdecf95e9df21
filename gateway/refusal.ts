// The end of every request that is not forwarded: any error becomes one of the closed table, said in the
// language of the route's protocol. What is not ours to tell stays in the log.

import type { Decision } from './decision/access.ts'
import { GatewayError } from './errors.ts'
import type { ClientOrigin } from './listener/address.ts'
import type { Exchange } from './listener/exchange.ts'
import { STATUS_CODES } from './node-http.ts'
import { git } from './protocols/git/git.ts'
import type { Protocol, ProtocolRequest, Reply } from './protocols/protocol.ts'
import { registry } from './protocols/registry/registry.ts'
import { corsFields } from './protocols/rest/cors.ts'
import { rest } from './protocols/rest/rest.ts'
import type { Route } from './routes/route.ts'
import { services } from './services/services.ts'

const protocols: Readonly<Record<Route['protocol'], Protocol>> = { rest, git, registry }

/** Who reads the requests of a route, and says its refusals. */
export function speakerOf({
  service,
  protocol,
}: Route): Pick<Protocol, 'read' | 'refuse' | 'checkGrant'> {
  return service === undefined ? protocols[protocol] : services[service]
}

/** What the stages have found out, for those that follow and for the refusal. */
export type Progress = {
  request?: ProtocolRequest
  decision?: Decision
  origin?: ClientOrigin
}

/** Replies to a request that failed, unless its client left or has part of a reply already. */
export function refuse(exchange: Exchange, error: unknown, progress: Progress): void {
  const failure =
    error instanceof GatewayError
      ? error
      : new GatewayError('internal_error', 'something went wrong inside the gateway', {
          cause: error,
        })
  exchange.cause ??= failure.cause
  if (exchange.gone) {
    exchange.reason = 'client_gone'
    exchange.status = 499
    return
  }
  exchange.reason = failure.code
  if (exchange.res.headersSent) {
    exchange.cut()
    return
  }
  if (failure.code === 'bad_request' || failure.code === 'request_timeout') exchange.closing = true
  try {
    exchange.reply(replyTo(failure, exchange, progress))
  } catch (cause) {
    exchange.reason = 'internal_error'
    exchange.cause = cause
    exchange.cut()
  }
}

function replyTo(
  failure: GatewayError,
  exchange: Exchange,
  { request, decision, origin }: Progress,
): Reply {
  const speaker = request === undefined ? rest : speakerOf(request.match.route)
  const reply = speaker.refuse(failure, {
    requestId: exchange.requestId,
    presented: exchange.presented,
    ...(decision?.outcome === 'deny' ? { denial: decision } : {}),
    ...(request === undefined ? {} : { request }),
    ...(request === undefined || origin === undefined
      ? {}
      : { requestUrl: `${origin.scheme}://${origin.host ?? request.target.authority}` }),
  })
  const shared = request === undefined ? [] : corsFields(request.match.route, request.fields)
  return shared.length === 0 ? reply : { ...reply, fields: [...reply.fields, ...shared] }
}

/** A whole reply as bytes, for a head that never became a request. */
export function bareRefusal(error: GatewayError, requestId: string): string {
  const { status, fields, body } = rest.refuse(error, { requestId, presented: false })
  const all = [...fields, 'X-Request-Id', requestId, 'Connection', 'close']
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nDate: ${new Date().toUTCString()}\r\n`
  for (let i = 0; i + 1 < all.length; i += 2) head += `${all[i]}: ${all[i + 1]}\r\n`
  return `${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
}
