// Cross-origin requests from browsers (fetch.spec.whatwg.org, "CORS protocol"): for a route that says
// `cors` the gateway answers preflights itself and lets browsers read its own refusals. The fields of
// forwarded replies are the upstream's business.

import type { Route } from '../../routes/route.ts'
import { fieldValue } from '../fields.ts'
import type { ProtocolRequest, Reply } from '../protocol.ts'

/** The reply to a preflight; undefined where the request is none, or the route says no `cors`. */
export function answerPreflight({ match, method, fields }: ProtocolRequest): Reply | undefined {
  const { cors, allow } = match.route
  if (cors === undefined || method !== 'OPTIONS') return undefined
  const asked = fieldValue(fields, 'access-control-request-method')
  if (asked === undefined) return undefined
  const shared = corsFields(match.route, fields)
  if (shared.length === 0) return { status: 204, fields: ['Vary', 'Origin'], body: '' }
  const isByMethod = match.route.protocol === 'rest' && !allow.has('*')
  const methods = isByMethod ? [...allow.keys()].join(', ') : asked
  const reply = [...shared, 'Access-Control-Allow-Methods', methods]
  if (cors.headers.length > 0) reply.push('Access-Control-Allow-Headers', cors.headers.join(', '))
  reply.push('Access-Control-Max-Age', String(Math.floor(cors.maxAgeMs / 1000)))
  return { status: 204, fields: reply, body: '' }
}

/** What lets a browser show a reply to the page that asked; empty for an origin that is not listed. */
export function corsFields(route: Route, fields: readonly string[]): string[] {
  if (route.cors === undefined) return []
  const origin = fieldValue(fields, 'origin')
  if (origin === undefined) return []
  const { origins } = route.cors
  if (origins.includes('*')) return ['Access-Control-Allow-Origin', '*']
  if (!origins.includes(origin)) return []
  return ['Access-Control-Allow-Origin', origin, 'Vary', 'Origin']
}
