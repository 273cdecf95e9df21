// From a target to its route, and the route's own rules on targets and bodies: what is refused before
// methods and credentials are looked at. Pure.

import { GatewayError } from '../errors.ts'
import type { RequestTarget } from '../listener/target.ts'
import type { Matcher } from './matcher.ts'
import type { Match, Route } from './route.ts'

/** Throws GatewayError `no_route`, `bad_target` or `method_not_allowed`. */
export function findRoute(matcher: Matcher, target: RequestTarget, method: string): Match {
  const match = matcher.match(target, method)
  if (match === undefined) {
    if (target.hasParameters || target.hasEncodedSlash) {
      throw new GatewayError(
        'bad_target',
        'no route takes a path with `;` or an escaped slash here',
      )
    }
    throw new GatewayError('no_route', `no route for ${target.path} on ${target.host}`)
  }
  if ('refused' in match) {
    const { detail, allow } = match.refused
    throw new GatewayError('method_not_allowed', detail, { allow })
  }
  return match
}

/** Throws GatewayError `bad_target` or `bad_request`. */
export function checkRouteRules(
  route: Route,
  target: RequestTarget,
  method: string,
  hasBody: boolean,
): void {
  if (target.hasParameters && route.pathParameters !== 'allow') {
    throw new GatewayError(
      'bad_target',
      'the path has `;` parameters, which the route must allow (pathParameters)',
    )
  }
  if (target.hasEncodedSlash && route.encodedSlash !== 'allow') {
    throw new GatewayError(
      'bad_target',
      'the path has an escaped slash, which the route must allow (encodedSlash)',
    )
  }
  const isRead = method === 'GET' || method === 'HEAD'
  if (isRead && hasBody && route.getBody !== 'allow') {
    throw new GatewayError(
      'bad_request',
      `${method} has no body here, unless the route allows it (getBody)`,
    )
  }
}
