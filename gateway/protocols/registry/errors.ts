// The registry's own errors (OCI distribution-spec "Error Codes"), and the field by which clients know a
// registry.

import { type ErrorCode, type ErrorOptions, GatewayError } from '../../errors.ts'
import type { GrantScope } from '../../tokens/grant.ts'
import type { FieldList } from '../protocol.ts'
import { writeScope } from './scope.ts'

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

/** By the codes of the closed table. */
export const registryCodes = {
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

  constructor(
    code: ErrorCode,
    registryCode: RegistryCode,
    detail: string,
    options: ErrorOptions = {},
  ) {
    super(code, detail, options)
    this.registryCode = registryCode
  }
}

/** A grant that holds less than a request needs: its client may ask for a wider one of the same token. */
export class NarrowGrant extends RegistryError {
  /** Every scope that the request needs. */
  readonly needed: readonly GrantScope[]

  constructor(needed: readonly GrantScope[]) {
    const scopes = needed.map(writeScope).join(' ')
    super('insufficient_scope', 'UNAUTHORIZED', `the grant does not hold ${scopes}; ask for it`, {
      status: 401,
    })
    this.needed = needed
  }
}
