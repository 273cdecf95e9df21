// REST: a request wants its method on the route's resources. Refusals are problem+json (RFC 9457) with
// Bearer challenges (RFC 6750 3).

import { writeChallenge } from '../../credentials/challenge.ts'
import type { Access, Requirement } from '../../decision/access.ts'
import { errorTable, GatewayError } from '../../errors.ts'
import { readResources } from '../../routes/resources.ts'
import type { Route } from '../../routes/route.ts'
import { fieldValue } from '../fields.ts'
import { relativeLocation, rewriteLinks } from '../location.ts'
import type {
  FieldList,
  Intent,
  Protocol,
  ProtocolRequest,
  RefusalContext,
  Reply,
} from '../protocol.ts'

export const rest: Protocol = { name: 'rest', read: readRest, refuse: refuseRest }

/** Whatever a route allows (RFC 9110 9.3.6, 9.3.8); also as what another method is overridden to. */
const neverForwarded: ReadonlySet<string> = new Set(['CONNECT', 'TRACE'])

/** They write to a second path, in Destination (RFC 4918 9.8, 9.9). */
const twoPathed: ReadonlySet<string> = new Set(['COPY', 'MOVE'])

function readRest(request: ProtocolRequest): Intent {
  const { method, match, fields } = request
  const requirement = requirementFor(match.route, method)
  if (requirement === undefined) {
    const allowed = allowedMethods(match.route)
    throw new GatewayError('method_not_allowed', `${method} is not allowed here; ${allowed} are`, {
      allow: allowed,
    })
  }
  if (twoPathed.has(method) && fieldValue(fields, 'destination') !== undefined) {
    throw new GatewayError(
      'bad_request',
      'Destination names a second path, on which no route decides; read and write instead',
    )
  }
  return {
    accesses: [new RestAccess(request, requirement)],
    quantifier: 'all',
    reply: localLocations,
  }
}

/** What it is about is read when it is asked for: most tokens have no limits that it is compared with. */
class RestAccess implements Access {
  readonly requirement: Requirement
  readonly #request: ProtocolRequest
  #resources: ReadonlyMap<string, string> | undefined

  constructor(request: ProtocolRequest, requirement: Requirement) {
    this.#request = request
    this.requirement = requirement
  }

  get action(): string {
    return this.#request.method
  }

  get method(): string {
    return this.#request.method
  }

  get path(): string {
    return this.#request.target.path
  }

  get resources(): ReadonlyMap<string, string> {
    const { match, target, method } = this.#request
    this.#resources ??= readResources(match, target, method)
    return this.#resources
  }
}

/** HEAD follows GET unless it is listed itself (RFC 9110 9.3.2). */
function requirementFor(route: Route, method: string): Requirement | undefined {
  const { allow } = route
  if (neverForwarded.has(method)) return undefined
  return allow.get(method) ?? (method === 'HEAD' ? allow.get('GET') : undefined) ?? allow.get('*')
}

/** The Allow field of a route (RFC 9110 10.2.1). */
export function allowedMethods(route: Route): string {
  if (route.allow.has('*')) return 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'
  const names = [...route.allow.keys()]
  if (names.includes('GET') && !names.includes('HEAD')) names.push('HEAD')
  return names.join(', ')
}

/** Location and Link that name the upstream come out as paths on the gateway. */
function localLocations(
  _status: number,
  fields: FieldList,
  upstreamOrigin: string,
  basePath: string,
): FieldList {
  let out: string[] | undefined
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const { length } = fields[i] as string
    if (length !== 8 && length !== 16 && length !== 4) continue
    const name = (fields[i] as string).toLowerCase()
    if (name !== 'location' && name !== 'content-location' && name !== 'link') continue
    const value = fields[i + 1] as string
    const local = (target: string) => relativeLocation(target, upstreamOrigin, basePath)
    out ??= [...fields]
    out[i + 1] = name === 'link' ? rewriteLinks(value, local) : local(value)
  }
  return out ?? fields
}

function refuseRest(error: GatewayError, context: RefusalContext): Reply {
  const { denial, requestId } = context
  const fields = ['Content-Type', 'application/problem+json']
  if (error.status === 401) fields.push('WWW-Authenticate', challengeFor401(error))
  if (error.status === 403) fields.push('WWW-Authenticate', challengeFor403(denial?.required ?? []))
  if (error.allow !== undefined) fields.push('Allow', error.allow)
  if (error.retryAfter !== undefined) fields.push('Retry-After', String(error.retryAfter))
  const problem = {
    type: 'about:blank',
    title: errorTable[error.code].title,
    status: error.status,
    detail: error.message,
    code: error.code,
    requestId,
    ...(denial === undefined ? {} : { required: denial.required, granted: denial.granted }),
  }
  return { status: error.status, fields, body: `${JSON.stringify(problem)}\n` }
}

/** RFC 6750 3.1: no error code where no token was presented. */
function challengeFor401(error: GatewayError): string {
  if (error.code === 'token_required') return writeChallenge('Bearer', {})
  return writeChallenge('Bearer', { error: 'invalid_token', errorDescription: error.message })
}

function challengeFor403(required: readonly string[]): string {
  const scope = required.join(' ')
  return writeChallenge('Bearer', {
    error: 'insufficient_scope',
    ...(scope === '' ? {} : { scope }),
  })
}
