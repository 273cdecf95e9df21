// The stages in the middle of a request's life: the token's record, and the decision on what the head asks
// for. Called by the pipeline, in its order.

import { findCredentials } from './credentials/credentials.ts'
import type { Access, Decision, Denial, Rights } from './decision/access.ts'
import { decide, describeDenial } from './decision/decide.ts'
import { GatewayError } from './errors.ts'
import type { Exchange } from './listener/exchange.ts'
import type { Reconsider } from './open-requests.ts'
import type { Intent, ProtocolRequest } from './protocols/protocol.ts'
import type { Progress } from './refusal.ts'
import type { Snapshot } from './snapshot.ts'
import { type Lookup, writeTime } from './tokens/token.ts'

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
  if (found.kind === 'none') {
    if (needsNoToken(intent)) return undefined
    throw new GatewayError('token_required', 'a token is required; none was sent')
  }
  exchange.presented = true
  if (found.kind === 'malformed') {
    throw new GatewayError(
      'invalid_token',
      'the Basic credentials are not base64; send the token as the password',
    )
  }
  const answer = snapshot.throttle.find(found.secret, exchange.address, Date.now(), found.key)
  if (answer instanceof Promise) return answer.then((lookup) => useRecord(exchange, lookup))
  useRecord(exchange, answer)
  return undefined
}

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
