// What an upstream's failure is called (the closed table of errors.ts): never its own words to the client.

import type { UpstreamSettings } from '../configuration/configuration.ts'
import { GatewayError } from '../errors.ts'
import { fieldValue, fieldValues } from '../protocols/fields.ts'
import type { FieldList } from '../protocols/protocol.ts'

const timeoutCodes = new Set([
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'ETIMEDOUT',
])

/** Maps what undici or the socket said; a GatewayError (the client left, the body stalled) stays itself. */
export function upstreamFailure(name: string, error: unknown): GatewayError {
  if (error instanceof GatewayError) return error
  const code = codeOf(error)
  if (code === 'UND_ERR_REQ_CONTENT_LENGTH_MISMATCH') {
    return new GatewayError('bad_request', 'the body is not as long as Content-Length says', {
      cause: error,
    })
  }
  if (timeoutCodes.has(code)) {
    return new GatewayError('upstream_timeout', `upstream ${name} did not answer in time`, {
      cause: error,
    })
  }
  return new GatewayError(
    'upstream_unreachable',
    `upstream ${name} could not be reached or did not answer in HTTP`,
    { cause: error },
  )
}

/**
 * Throws for a final reply that no client may see: one that is no HTTP, or that asks the gateway itself for
 * credentials, which the client's answer would not reach.
 */
export function checkReply(
  { name, credentials }: UpstreamSettings,
  status: number,
  fields: FieldList,
): void {
  if (status < 200 || status > 999) throw badReply('sent no status')
  if ((status === 401 || status === 407) && credentials === 'strip') {
    throw new GatewayError(
      'upstream_rejected_gateway',
      `upstream ${name} answered ${status} to the gateway's own credentials; this is for its operator to mend`,
    )
  }
  if (fieldValue(fields, 'transfer-encoding') === undefined) return
  for (const coding of fieldValues(fields, 'transfer-encoding')) {
    if (coding.toLowerCase() !== 'chunked') throw badReply('sent a coding')
  }
}

/** For the log: the client is told `upstream_unreachable`. */
export function badReply(what: string): Error {
  return new Error(`the upstream ${what}`)
}

/** The connection ended before a byte of a reply. */
export function isConnectionLost(error: unknown): boolean {
  const code = codeOf(error)
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE'
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
