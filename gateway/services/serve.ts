// Runs the built-in services: what stands in the pipeline where other routes have their upstream.

import { authenticateAs, decideFor } from '../authorize.ts'
import { ClientBody } from '../listener/body.ts'
import type { Exchange } from '../listener/exchange.ts'
import type { ProtocolRequest } from '../protocols/protocol.ts'
import type { ServiceName } from '../routes/route.ts'
import type { Snapshot } from '../snapshot.ts'
import { writeGrant } from '../tokens/grant.ts'
import { services } from './services.ts'

/** Replies to a permitted request of a service's route. Rejects with a GatewayError while nothing was replied. */
export async function serveBuiltIn(
  snapshot: Snapshot,
  exchange: Exchange,
  request: ProtocolRequest,
): Promise<void> {
  const { service } = request.match.route
  const reply = await services[service as ServiceName].answer({
    request,
    body: exchange.body ?? new ClientBody(undefined, 0),
    routes: snapshot.configuration.routes,
    authenticate: (credentials) => authenticateAs(snapshot, exchange, credentials),
    decide: (access) => decideFor(snapshot, exchange, access),
    sign: (grant, audience) => writeGrant(grant, audience, snapshot.grantKey, Date.now()),
  })
  if (exchange.record !== undefined) {
    snapshot.lastUse.note(exchange.record.id, exchange.address, 'registry', Date.now())
  }
  exchange.reply(reply)
}
