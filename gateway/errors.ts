// The closed table of refusals (house rule 8): every reply that the gateway makes by itself has one of
// these codes. Who raises one gives the sentence for the client; the cause stays in the log.

export type ErrorEntry = {
  /** HTTP status code. */
  readonly status: number
  /** RFC 9457 `title`: the same for every occurrence of the code. */
  readonly title: string
  readonly level: 'info' | 'warn' | 'error'
}

/** Code to status, title and log level; CONTRACT sections "HTTP, all protocols" and "Details". */
export const errorTable = {
  bad_target: { status: 400, title: 'Bad request target', level: 'info' },
  bad_request: { status: 400, title: 'Bad request', level: 'info' },
  ambiguous_credentials: { status: 400, title: 'Ambiguous credentials', level: 'info' },
  token_required: { status: 401, title: 'Token required', level: 'info' },
  invalid_token: { status: 401, title: 'Invalid token', level: 'info' },
  insufficient_scope: { status: 403, title: 'Insufficient scope', level: 'info' },
  resource_not_allowed: { status: 403, title: 'Resource not allowed', level: 'info' },
  address_not_allowed: { status: 403, title: 'Address not allowed', level: 'info' },
  no_route: { status: 404, title: 'No route', level: 'info' },
  method_not_allowed: { status: 405, title: 'Method not allowed', level: 'info' },
  request_timeout: { status: 408, title: 'Request timeout', level: 'info' },
  expectation_failed: { status: 417, title: 'Expectation failed', level: 'info' },
  too_many_requests: { status: 429, title: 'Too many requests', level: 'warn' },
  head_too_large: { status: 431, title: 'Request head too large', level: 'info' },
  internal_error: { status: 500, title: 'Internal error', level: 'error' },
  upstream_unreachable: { status: 502, title: 'Upstream unreachable', level: 'error' },
  upstream_rejected_gateway: {
    status: 502,
    title: 'Upstream rejected the gateway',
    level: 'error',
  },
  lookup_unavailable: { status: 503, title: 'Token lookup unavailable', level: 'error' },
  overloaded: { status: 503, title: 'Overloaded', level: 'warn' },
  upstream_timeout: { status: 504, title: 'Upstream timeout', level: 'error' },
} as const satisfies Record<string, ErrorEntry>

export type ErrorCode = keyof typeof errorTable

export type ErrorOptions = {
  readonly cause?: unknown
  /** Overrides the table's status: 415, 501 and 505 are `bad_request` too. */
  readonly status?: number
  /** The Allow field of a 405 (RFC 9110 15.5.6). */
  readonly allow?: string
  /** Seconds, for 429 and 503 (RFC 9110 10.2.3). */
  readonly retryAfter?: number
}

/** A refusal: what went wrong as a code of the table, and a sentence that says what would be right. */
export class GatewayError extends Error {
  readonly code: ErrorCode
  readonly status: number
  readonly allow: string | undefined
  readonly retryAfter: number | undefined

  constructor(code: ErrorCode, detail: string, options: ErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'GatewayError'
    this.code = code
    this.status = options.status ?? errorTable[code].status
    this.allow = options.allow
    this.retryAfter = options.retryAfter
  }
}
