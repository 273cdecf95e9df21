// Refusals in the registry's language: one JSON object with a list of errors. A 401 carries one challenge.

import type { Denial } from '../../decision/access.ts'
import { describeDenial } from '../../decision/decide.ts'
import type { GatewayError } from '../../errors.ts'
import type { RefusalContext, Reply } from '../protocol.ts'
import { challengeFor } from './challenge.ts'
import { apiVersionField, NarrowGrant, RegistryError, registryCodes } from './errors.ts'

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
    const needed = error instanceof NarrowGrant ? error.needed : undefined
    fields.push('WWW-Authenticate', challengeFor(error, context, needed))
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
