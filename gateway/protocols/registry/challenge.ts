// The one challenge of a 401 (RFC 9110 11.6.1; distribution, auth/token.md): Basic, or Bearer with the
// address of the token service. Two at once would make docker ask for a grant and then not use it. Pure.

import { writeChallenge } from '../../credentials/challenge.ts'
import type { GatewayError } from '../../errors.ts'
import type { Route } from '../../routes/route.ts'
import { type GrantScope, isGrant } from '../../tokens/grant.ts'
import { fieldValue } from '../fields.ts'
import type { ProtocolRequest, RefusalContext } from '../protocol.ts'
import { readCall } from './endpoints.ts'
import { scopeOf, scopeToAskFor, writeScope } from './scope.ts'

/**
 * Who came with a grant is told to get another one, also where new clients are asked for Basic. `needed`:
 * every scope of the request, where its grant lacks one; else the scope is told from the head.
 */
export function challengeFor(
  error: GatewayError,
  { request, requestUrl }: RefusalContext,
  needed?: readonly GrantScope[],
): string {
  const route = request?.match.route
  if (request === undefined || route?.tokenRoute === undefined) return writeChallenge('Basic')
  const bearer = bearerOf(request)
  const hasGrant = bearer !== undefined && isGrant(bearer)
  if (route.challenge === 'basic' && !hasGrant) return writeChallenge('Basic')
  const scope = (needed ?? scopesOf(request)).map((one) => writeScope(scopeToAskFor(one))).join(' ')
  return writeChallenge('Bearer', {
    realm: realmOf(route, route.tokenRoute, requestUrl ?? ''),
    service: route.name,
    ...(scope !== '' && { scope }),
    ...(bearer !== undefined && errorOf(error, hasGrant)),
  })
}

/**
 * For who sent Bearer credentials; others are told in the body alone, which docker shows only without this.
 * A grant of nobody's, where a token is required, is good and too narrow.
 */
function errorOf(
  error: GatewayError,
  hasGrant: boolean,
): { error: string; errorDescription: string } {
  const name = hasGrant && error.code !== 'invalid_token' ? 'insufficient_scope' : 'invalid_token'
  return { error: name, errorDescription: error.message }
}

/** The absolute address of the token service; `requestUrl` is where the client found the registry. */
function realmOf(registry: Route, service: Route, requestUrl: string): string {
  const path = service.pattern.source
  const { publicUrl } = service
  if (publicUrl !== undefined) {
    return new URL(publicUrl).pathname === '/' ? join(publicUrl, path) : publicUrl
  }
  return join(registry.publicUrl ?? requestUrl, path)
}

function join(origin: string, path: string): string {
  return origin.replace(/\/$/, '') + path
}

function bearerOf({ fields }: ProtocolRequest): string | undefined {
  return /^bearer +(.*)$/i.exec(fieldValue(fields, 'authorization')?.trim() ?? '')?.[1]
}

function scopesOf({ method, target }: ProtocolRequest): GrantScope[] {
  const scope = scopeOf(readCall(method, target.path))
  return scope === undefined ? [] : [scope]
}
