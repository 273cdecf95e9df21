// Refusals in the registry's language (OCI distribution-spec "Error Codes"): one JSON object with a list of
// errors, and the field by which clients know a registry. A 401 carries the one Basic challenge.

import { writeChallenge } from '../../credentials/challenge.ts'
import type { Denial } from '../../decision/access.ts'
import { describeDenial } from '../../decision/decide.ts'
import { type ErrorCode, GatewayError } from '../../errors.ts'
import type { FieldList, RefusalContext, Reply } from '../protocol.ts'

/** The codes of the specification that the gateway uses, and distribution's for what it leaves open. */
export type RegistryCode =
  | 'DENIED'
  | 'DIGEST_INVALID'
  | 'MANIFEST_UNKNOWN'
  | 'NAME_INVALID'
  | 'NAME_UNKNOWN'
  | 'PAGINATION_NUMBER_INVALID'
  | 'TAG_INVALID'
  | 'TOOMANYREQUESTS'
  | 'UNAUTHORIZED'
  | 'UNAVAILABLE'
  | 'UNKNOWN'
  | 'UNSUPPORTED'

/** Docker takes an answer without it for something else than a registry. */
export const apiVersionField: FieldList = ['Docker-Distribution-Api-Version', 'registry/2.0']

const registryCodes = {
  bad_target: 'NAME_INVALID',
  bad_request: 'UNSUPPORTED',
  ambiguous_credentials: 'UNSUPPORTED',
  token_required: 'UNAUTHORIZED',
  invalid_token: 'UNAUTHORIZED',
  insufficient_scope: 'DENIED',
  resource_not_allowed: 'DENIED',
  address_not_allowed: 'DENIED',
  no_route: 'NAME_UNKNOWN',
  method_not_allowed: 'UNSUPPORTED',
  request_timeout: 'UNKNOWN',
  expectation_failed: 'UNSUPPORTED',
  too_many_requests: 'TOOMANYREQUESTS',
  head_too_large: 'UNSUPPORTED',
  internal_error: 'UNKNOWN',
  upstream_unreachable: 'UNAVAILABLE',
  upstream_rejected_gateway: 'UNAVAILABLE',
  lookup_unavailable: 'UNAVAILABLE',
  overloaded: 'UNAVAILABLE',
  upstream_timeout: 'UNAVAILABLE',
} as const satisfies Record<ErrorCode, RegistryCode>

/** A refusal for which the registry has a code of its own. */
export class RegistryError extends GatewayError {
  readonly registryCode: RegistryCode

  constructor(code: ErrorCode, registryCode: RegistryCode, detail: string, allow?: string) {
    super(code, detail, allow === undefined ? {} : { allow })
    this.registryCode = registryCode
  }
}

/** Writes a refusal; see Protocol.refuse. */
export function refuse(error: GatewayError, context: RefusalContext): Reply {
  const code = error instanceof RegistryError ? error.registryCode : registryCodes[error.code]
  const { denial } = context
  const message = denial === undefined ? error.message : describe(denial)
  const detail = {
    code: error.code,
    requestId: context.requestId,
    ...(denial && { required: denial.required, granted: denial.granted }),
  }
  const fields = ['Content-Type', 'application/json', ...apiVersionField]
  if (error.status === 401) {
    fields.push('WWW-Authenticate', writeChallenge('Basic'))
  }
  if (error.allow !== undefined) fields.push('Allow', error.allow)
  if (error.retryAfter !== undefined) fields.push('Retry-After', `${error.retryAfter}`)
  return {
    status: error.status,
    fields,
    body: `${JSON.stringify({ errors: [{ code, message, detail }] })}\n`,
  }
}

/** The sentence that docker prints after `denied: `; it names scope and repository. */
function describe(denial: Denial): string {
  const repository = denial.access.resources?.get('repository')
  const where = denial.reason === 'insufficient_scope' && repository ? ` on ${repository}` : ''
  return `requested access to the resource is denied: ${describeDenial(denial)}${where}`
}
