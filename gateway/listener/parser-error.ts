// What the HTTP parser refused, or waited for in vain, as one of the closed table of errors (RFC 9112 2.2, 3).

import { GatewayError } from '../errors.ts'
import { WireError } from '../http1/field-lines.ts'

/** What an error of the parser or of its timer is called; undefined: there is nobody to tell. */
export function readParserError(error: NodeJS.ErrnoException): GatewayError | undefined {
  switch (error.code) {
    case 'ECONNRESET':
    case 'EPIPE':
      return undefined
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return noHead()
    case 'HPE_HEADER_OVERFLOW':
      return new GatewayError('head_too_large', 'the head is too long or has more than 100 fields')
    case 'HPE_INVALID_URL':
      return new GatewayError('bad_target', 'the request target has a byte that must be escaped')
    case 'HPE_INVALID_VERSION':
      // Said also of a request line that does not end in CRLF.
      if (!('reason' in error && error.reason === 'Invalid HTTP version')) return malformed(error)
      return new GatewayError('bad_request', 'only HTTP/1.0 and HTTP/1.1 are spoken here', {
        status: 505,
      })
    default:
      return malformed(error)
  }
}

export function noHead(): GatewayError {
  return new GatewayError('request_timeout', 'no whole request head came in 10 seconds')
}

/**
 * Says what the parser says is wrong: a sentence of its own. Its error holds the packet, and with it whatever
 * credentials stand there: that goes no further.
 */
function malformed(error: Error): GatewayError {
  const { message } = error
  const what = error instanceof WireError ? message : 'reason' in error ? error.reason : undefined
  const why = typeof what === 'string' && what !== '' ? `: ${what}` : ''
  const sentence = `the request is not well-formed HTTP/1.1${why}`
  return new GatewayError('bad_request', sentence, { cause: new Error(message) })
}
