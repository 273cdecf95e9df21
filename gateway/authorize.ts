// The stages in the middle of a request's life: the token's record, and the decision on what the head asks
// for. Called by the pipeline, in its order.

import { type Credentials, findCredentials } from './credentials/credentials.ts'
import type { Access, Decision, Denial, Rights } from './decision/access.ts'
import { decide, describeDenial } from './decision/decide.ts'
import { GatewayError } from './errors.ts'
import type { Exchange } from './listener/exchange.ts'
import type { Reconsider } from './open-requests.ts'
import type { Intent, ProtocolRequest } from './protocols/protocol.ts'
import type { Progress } from './refusal.ts'
import type { Route } from './routes/route.ts'
import type { Snapshot } from './snapshot.ts'
import { readGrant } from './tokens/grant.ts'
import { type Lookup, type TokenRecord, writeTime } from './tokens/token.ts'

/** What a request without a token may do. */
export const nobody: Rights = { scopes: [], resources: null, allowedIps: null }

/**
 * Finds the token's record where a requirement of the request asks for one (401, 429, 503). Undefined: it is
 * found, or none is needed; memory knew it.
 */
export function authenticate(
  snapshot: Snapshot,
  exchange: Exchange,
  intent: Intent,
  { match, target }: ProtocolRequest,
): Promise<void> | undefined {
  if (isMet(intent, isPublic)) return undefined
  const { rawHeaders, facts } = exchange.req
  const found = findCredentials(rawHeaders, target.query, match.route.credentials, facts)
  if (found.kind === 'none' && needsNoToken(intent)) return undefined
  if (found.kind === 'grant') {
    return acceptGrant(snapshot, exchange, intent, match.route, found.value)
  }
  return acceptToken(snapshot, exchange, found)
}

/** As `authenticate`, for credentials of which a service knows: resolves with the record of their token. */
export async function authenticateAs(
  snapshot: Snapshot,
  exchange: Exchange,
  credentials: Credentials,
): Promise<TokenRecord> {
  await acceptToken(snapshot, exchange, credentials)
  return exchange.record as TokenRecord
}

function acceptToken(
  snapshot: Snapshot,
  exchange: Exchange,
  presented: Credentials,
): Promise<void> | undefined {
  if (presented.kind === 'none') {
    throw new GatewayError('token_required', 'a token is required; none was sent')
  }
  exchange.presented = true
  if (presented.kind === 'malformed') {
    throw new GatewayError(
      'invalid_token',
      'the Basic credentials are not base64; send the token as the password',
    )
  }
  if (presented.kind === 'grant') {
    throw new GatewayError('invalid_token', grantFaults.foreign)
  }
  const { secret, key } = presented
  const answer = snapshot.throttle.find(secret, exchange.address, Date.now(), key)
  if (answer instanceof Promise) return answer.then((lookup) => useRecord(exchange, lookup))
  useRecord(exchange, answer)
  return undefined
}

/** Finds the token that a grant stands for, by its id: what it may do is what the token may do now. */
function acceptGrant(
  snapshot: Snapshot,
  exchange: Exchange,
  intent: Intent,
  route: Route,
  value: string,
): Promise<void> | undefined {
  exchange.presented = true
  const now = Date.now()
  const service = route.tokenRoute === undefined ? undefined : route.name
  const reading = readGrant(value, service, snapshot.grantKey, now)
  if (reading.kind !== 'good') throw new GatewayError('invalid_token', grantFaults[reading.kind])
  exchange.grant = reading.grant
  const { tokenId } = reading.grant
  if (tokenId === undefined) {
    if (needsNoToken(intent)) return undefined
    throw new GatewayError('token_required', 'a token is required; the grant is without one')
  }
  const answer = snapshot.lookup.findById(tokenId, now)
  if (answer instanceof Promise) return answer.then((lookup) => useRecord(exchange, lookup))
  useRecord(exchange, answer)
  return undefined
}

const grantFaults = {
  forged: 'the grant was not made by this gateway',
  expired: 'the grant has expired; ask the token service for another one',
  early: 'the grant is not good yet; the clocks of the gateways differ',
  foreign: 'a grant is good at the /v2/ of its own registry alone',
} as const

function useRecord(exchange: Exchange, lookup: Lookup): void {
  if (lookup.kind === 'absent') throw new GatewayError('invalid_token', 'the token is unknown')
  exchange.record = lookup.record
  if (lookup.kind === 'active') return
  const at = lookup.kind === 'revoked' ? lookup.record.revokedAt : lookup.record.expiresAt
  throw new GatewayError('invalid_token', `token ${lookup.kind} on ${writeTime(at)}`)
}

/** May the request go on where no token was presented? */
export function needsNoToken(intent: Intent): boolean {
  return isMet(intent, isFree)
}

function isPublic({ requirement }: Access): boolean {
  return requirement?.kind === 'public'
}

function isFree({ requirement }: Access): boolean {
  return requirement?.kind === 'public' || requirement?.kind === 'optional'
}

function isMet(intent: Intent, test: (access: Access) => boolean): boolean {
  return intent.quantifier === 'any' ? intent.accesses.some(test) : intent.accesses.every(test)
}

/** The pure decision on one access, with the record as it was looked up. */
export function decideFor(snapshot: Snapshot, exchange: Exchange, access: Access): Decision {
  const rights = exchange.record ?? nobody
  return decide(rights, access, exchange.address, snapshot.configuration.scopes)
}

/** Throws 403 where the accesses of the head are not permitted. */
export function checkDecision(
  snapshot: Snapshot,
  exchange: Exchange,
  intent: Intent,
  progress: Progress,
): void {
  const denial = firstDenial(intent, (access) => decideFor(snapshot, exchange, access))
  if (denial === undefined) return
  progress.decision = denial
  throw new GatewayError(denial.reason, describeDenial(denial))
}

/** Asked again when the token of a request under way has changed. */
export function reconsiderLater(
  snapshot: Snapshot,
  exchange: Exchange,
  intent: Intent,
): Reconsider {
  return (record) =>
    firstDenial(intent, (access) =>
      decide(record, access, exchange.address, snapshot.configuration.scopes),
    )
}

/** Undefined where all of the accesses, or with `any` one of them, are permitted. */
export function firstDenial(
  intent: Intent,
  decideOn: (access: Access) => Decision,
): Denial | undefined {
  let first: Denial | undefined
  for (const access of intent.accesses) {
    const decision = decideOn(access)
    if (decision.outcome === 'permit') {
      if (intent.quantifier === 'any') return undefined
      continue
    }
    first ??= decision
    if (intent.quantifier === 'all') return first
  }
  return first
}
