// What the pipeline asks of a built-in service: it reads and refuses as a protocol does, and answers in an
// upstream's place. It never touches a socket or a store.

import type { Credentials } from '../credentials/credentials.ts'
import type { Access, Decision } from '../decision/access.ts'
import type { Protocol, ProtocolRequest, Reply, RequestBody } from '../protocols/protocol.ts'
import type { Route } from '../routes/route.ts'
import type { Grant } from '../tokens/grant.ts'
import type { TokenRecord } from '../tokens/token.ts'

/** A permitted request to a service, and what the gateway does for it. */
export type ServiceCall = {
  readonly request: ProtocolRequest
  readonly body: RequestBody
  /** Every route of the configuration. */
  readonly routes: readonly Route[]
  /** The record of the token that was presented; from then on `decide` decides for it. Rejects with 401, 429, 503. */
  readonly authenticate: (credentials: Credentials) => Promise<TokenRecord>
  /** The same pure decision as the pipeline's; for nobody where nothing was authenticated. */
  readonly decide: (access: Access) => Decision
  /** Signs a grant of now, for one service. */
  readonly sign: (grant: Grant, service: string) => string
}

export type Service = Pick<Protocol, 'read' | 'refuse'> & {
  answer(call: ServiceCall): Promise<Reply>
}
