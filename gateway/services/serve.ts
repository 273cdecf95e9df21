// Runs the built-in services: what stands in the pipeline where other routes have their upstream.

import { authenticateAs, decideFor } from '../authorize.ts'
import { GatewayError } from '../errors.ts'
import { ClientBody } from '../listener/body.ts'
import type { Exchange } from '../listener/exchange.ts'
import type { ProtocolRequest } from '../protocols/protocol.ts'
import { corsFields } from '../protocols/rest/cors.ts'
import type { ServiceName } from '../routes/route.ts'
import type { Snapshot } from '../snapshot.ts'
import { writeGrant } from '../tokens/grant.ts'
import { services } from './services.ts'

/** For all of a request: its body is small, and may be sent by anyone. */
const requestMs = 10_000

/** Replies to a permitted request of a service's route. Rejects with a GatewayError while nothing was replied. */
export async function serveBuiltIn(
  snapshot: Snapshot,
  exchange: Exchange,
  request: ProtocolRequest,
): Promise<void> {
  const { service } = request.match.route
  const late = setTimeout(() => {
    exchange.abort(new GatewayError('request_timeout', 'the request took more than 10 s to come'))
  }, requestMs)
  const answering = services[service as ServiceName].answer({
    request,
    body: exchange.body ?? new ClientBody(undefined, 0),
    routes: snapshot.configuration.routes,
    authenticate: (credentials) => authenticateAs(snapshot, exchange, credentials),
    decide: (access) => decideFor(snapshot, exchange, access),
    sign: (grant, audience) => writeGrant(grant, audience, snapshot.grantKey, Date.now()),
  })
  const reply = await answering.finally(() => clearTimeout(late))
  if (exchange.record !== undefined) {
    snapshot.lastUse.note(exchange.record.id, exchange.address, 'registry', Date.now())
  }
  const shared = corsFields(request.match.route, request.fields)
  exchange.reply({ ...reply, fields: [...reply.fields, ...shared] })
}
