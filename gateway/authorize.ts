// The stages in the middle of a request's life: the token's record, and the decision on what the head asks
// for. Called by the pipeline, in its order.

import { readCredentials } from './credentials/credentials.ts'
import type { Access, Decision, Rights } from './decision/access.ts'
import { decide, describeDenial } from './decision/decide.ts'
import { GatewayError } from './errors.ts'
import type { Exchange } from './listener/exchange.ts'
import type { Intent, ProtocolRequest } from './protocols/protocol.ts'
import type { Progress } from './refusal.ts'
import type { Snapshot } from './snapshot.ts'
import { writeTime } from './tokens/token.ts'

const nobody: Rights = { scopes: [], resources: null, allowedIps: null }

/** Finds the token's record where a requirement of the request asks for one (401, 503). */
export async function authenticate(
  snapshot: Snapshot,
  exchange: Exchange,
  intent: Intent,
  { match, target, fields }: ProtocolRequest,
): Promise<void> {
  const kinds = intent.accesses.map((access) => access.requirement?.kind)
  const isFree = (kind: string | undefined) => kind === 'public' || kind === 'optional'
  const every = intent.quantifier === 'any' ? 'some' : 'every'
  if (kinds[every]((kind) => kind === 'public')) return
  const found = readCredentials(fields, target.query, match.route.credentials)
  if (found.kind === 'none') {
    if (kinds[every](isFree)) return
    throw new GatewayError('token_required', 'a token is required; none was sent')
  }
  exchange.presented = true
  if (found.kind === 'malformed') {
    throw new GatewayError('invalid_token', 'the credentials are malformed')
  }
  const answer = snapshot.lookup.find(found.secret, Date.now())
  const lookup = answer instanceof Promise ? await answer : answer
  if (lookup.kind === 'absent') throw new GatewayError('invalid_token', 'the token is unknown')
  exchange.record = lookup.record
  if (lookup.kind === 'active') return
  const at = lookup.kind === 'revoked' ? lookup.record.revokedAt : lookup.record.expiresAt
  throw new GatewayError('invalid_token', `token ${lookup.kind} on ${writeTime(at)}`)
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
  let denied: Decision | undefined
  for (const access of intent.accesses) {
    const decision = decideFor(snapshot, exchange, access)
    if (decision.outcome === 'deny') denied ??= decision
    const isSettled = intent.quantifier === 'any' ? 'permit' : 'deny'
    if (decision.outcome !== isSettled) continue
    if (isSettled === 'permit') return
    break
  }
  if (denied?.outcome !== 'deny') return
  progress.decision = denied
  throw new GatewayError(denied.reason, describeDenial(denied))
}
