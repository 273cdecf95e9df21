// Grants of the registry's token service: short-lived JWTs (RFC 7519, RFC 7515 compact, HS256 alone) that
// name an API token by its id and what was asked of it. A grant gives no right by itself: the token behind
// it is looked up on every request. Pure. Nothing of a grant is parsed before its signature was right.

import { createHmac, timingSafeEqual } from 'node:crypto'

/** What may be done, in the registry's words: `repository`, `acme/app`, `pull` (distribution, auth/scope.md). */
export type GrantScope = {
  readonly type: string
  readonly name: string
  readonly actions: readonly string[]
}

export type Grant = {
  /** Of the API token; undefined: of nobody's, for what is public. */
  readonly tokenId: string | undefined
  readonly access: readonly GrantScope[]
}

/** What a presented grant is good for. */
export type GrantReading =
  | { readonly kind: 'good'; readonly grant: Grant }
  /** `forged`: not signed with this key, or not as this file signs. */
  | { readonly kind: 'forged' | 'expired' | 'early' | 'foreign' }

/** For so long clients may begin requests with a grant; what they have begun goes on. */
export const grantLifetimeSeconds = 300
/** Clocks of gateways that share a key may differ by so much. */
export const leewaySeconds = 60
/** Clients send it in a header field, and heads are bounded. */
export const grantCharsMax = 8 * 1024

/** RFC 8725 3.11: a type of its own, so that no other JWT under the key counts as a grant. */
const header = base64Url('{"alg":"HS256","typ":"scopegate-grant+jwt"}')
const prefix = `${header}.`
/** Of an HMAC-SHA-256 in base64url without padding. */
const signatureChars = 43

/** Does the value claim to be a grant? Its header is one text: there is no algorithm to choose. */
export function isGrant(value: string): boolean {
  return value.startsWith(prefix)
}

/** Signs a grant for one service (`aud`) at the wall-clock time `now`, in milliseconds. */
export function writeGrant(grant: Grant, service: string, key: Buffer, now: number): string {
  const issuedAt = Math.floor(now / 1000)
  const claims = {
    aud: service,
    iat: issuedAt,
    nbf: issuedAt,
    exp: issuedAt + grantLifetimeSeconds,
    tid: grant.tokenId,
    access: grant.access,
  }
  const signed = prefix + base64Url(JSON.stringify(claims))
  return `${signed}.${sign(signed, key)}`
}

/** Reads a grant that was presented to a service at the wall-clock time `now`, in milliseconds. */
export function readGrant(
  value: string,
  service: string | undefined,
  key: Buffer,
  now: number,
): GrantReading {
  if (value.length > grantCharsMax || !isGrant(value)) return forged
  const dot = value.length - signatureChars - 1
  if (dot <= prefix.length || value[dot] !== '.') return forged
  const signed = value.slice(0, dot)
  const expected = Buffer.from(sign(signed, key))
  const given = Buffer.from(value.slice(dot + 1))
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return forged
  const claims = parseClaims(signed.slice(prefix.length))
  if (claims === undefined) return forged
  if (claims.aud !== service) return { kind: 'foreign' }
  const seconds = now / 1000
  if (seconds >= claims.exp + leewaySeconds) return { kind: 'expired' }
  if (seconds < Math.max(claims.nbf, claims.iat) - leewaySeconds) return { kind: 'early' }
  return { kind: 'good', grant: { tokenId: claims.tid, access: claims.access } }
}

const forged: GrantReading = { kind: 'forged' }

type Claims = {
  readonly aud: string
  readonly iat: number
  readonly nbf: number
  readonly exp: number
  readonly tid?: string
  readonly access: readonly GrantScope[]
}

/** A configured key may have signed other things than this file does: their shape is looked at. */
function parseClaims(encoded: string): Claims | undefined {
  let claims: Partial<Record<keyof Claims, unknown>> | null
  try {
    claims = JSON.parse(Buffer.from(encoded, 'base64url').toString('utf8'))
  } catch {
    return undefined
  }
  if (typeof claims !== 'object' || claims === null) return undefined
  const { aud, iat, nbf, exp, tid, access } = claims
  const isWhole =
    typeof aud === 'string' &&
    [iat, nbf, exp].every(Number.isSafeInteger) &&
    (tid === undefined || typeof tid === 'string') &&
    Array.isArray(access) &&
    access.every(isScope)
  return isWhole ? (claims as Claims) : undefined
}

function isScope(value: unknown): value is GrantScope {
  const { type, name, actions } = (value ?? {}) as Partial<Record<keyof GrantScope, unknown>>
  return (
    typeof type === 'string' &&
    typeof name === 'string' &&
    Array.isArray(actions) &&
    actions.every((action) => typeof action === 'string')
  )
}

function sign(text: string, key: Buffer): string {
  return createHmac('sha256', key).update(text).digest('base64url')
}

function base64Url(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64url')
}
