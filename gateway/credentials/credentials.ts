// Credentials of a request: which token its carriers present (RFC 9110 11.6.2, RFC 6750 2, RFC 7617), and
// what has to go before the request is forwarded. Pure. A secret leaves this file as the returned value
// alone: it stands in no log line and in no sentence.

import { GatewayError } from '../errors.ts'
import type { Facts } from '../http1/field-blocks.ts'
import { isNamed } from '../http1/field-lines.ts'
import { looseName } from '../protocols/parameter-name.ts'
import type { FieldList } from '../protocols/protocol.ts'
import type { Carrier } from '../routes/route.ts'
import { isGrant } from '../tokens/grant.ts'
import { digestKey } from '../tokens/token.ts'

/** What a request presents. A secret is a string of one character a byte, as header fields are. */
export type Credentials =
  | { readonly kind: 'none' }
  /** `key`: the secret's digest, where it is known already. */
  | { readonly kind: 'token'; readonly secret: string; readonly key?: string }
  /** What claims to be a grant of the registry's token service. */
  | { readonly kind: 'grant'; readonly value: string }
  /** Something that can be nobody's token (Basic that is not base64): refused as an unknown token is. */
  | { readonly kind: 'malformed' }

type Scheme = Extract<Carrier, { kind: 'authorization' }>['scheme']

const none: Credentials = { kind: 'none' }
const malformed: Credentials = { kind: 'malformed' }

const tokenPrefix = 'sgt_'
/** The password of a client that has the token as its user name. */
const passwordPlaceholder = 'x-oauth-basic'

/**
 * Reads the token from the carriers that a route accepts; others are not looked at. Throws GatewayError
 * `ambiguous_credentials` where a carrier occurs twice or two carriers present different tokens.
 */
export function readCredentials(
  fields: FieldList,
  query: string | undefined,
  carriers: readonly Carrier[],
): Credentials {
  let found = none
  for (const carrier of carriers) {
    found = oneOf(found, readCarrier(fields, query, carrier))
  }
  return found
}

/** What two places of one request present together. Throws `ambiguous_credentials` where they differ. */
export function oneOf(found: Credentials, presented: Credentials): Credentials {
  if (presented.kind === 'none') return found
  if (found.kind !== 'none' && !isSame(found, presented)) {
    refuse('the request presents two different tokens; send one of them')
  }
  return presented
}

/** As `readCredentials`; the same object each time where `facts` of the fields are given and no query matters. */
export function findCredentials(
  fields: FieldList,
  query: string | undefined,
  carriers: readonly Carrier[],
  facts: Facts | undefined,
): Credentials {
  if (facts === undefined || (query !== undefined && carriers.some(isQuery))) {
    return readCredentials(fields, query, carriers)
  }
  const known = facts.credentials as KnownCredentials | undefined
  if (known?.carriers === carriers) return known.found
  const read = readCredentials(fields, undefined, carriers)
  // Routes that read different carriers find the same token, as a rule.
  const found = known !== undefined && isSame(known.found, read) ? known.found : withKey(read)
  facts.credentials = { carriers, found } satisfies KnownCredentials
  return found
}

function withKey(read: Credentials): Credentials {
  if (read.kind !== 'token') return read
  return { kind: 'token', secret: read.secret, key: digestKey(read.secret) }
}

type KnownCredentials = { readonly carriers: readonly Carrier[]; readonly found: Credentials }

function isQuery({ kind }: Carrier): boolean {
  return kind === 'query'
}

/** Lower-case names of the fields that carry credentials: none of them is forwarded. */
export function credentialFieldNames(carriers: readonly Carrier[]): ReadonlySet<string> {
  const names = new Set<string>()
  for (const carrier of carriers) {
    if (carrier.kind === 'header') names.add(carrier.name)
    if (carrier.kind === 'authorization') names.add('authorization')
  }
  return names
}

/**
 * The query without its credentials, in any spelling that an upstream may take for their names; byte for byte
 * otherwise. Undefined where nothing is left.
 */
export function withoutQueryCarriers(
  query: string | undefined,
  carriers: readonly Carrier[],
): string | undefined {
  if (query === undefined) return undefined
  const names = carriers.flatMap((one) => (one.kind === 'query' ? [looseName(one.name)] : []))
  if (names.length === 0) return query
  let kept: string | undefined
  // Old servers take `;` for a separator too. Each parameter has its separator before it.
  const parts = query.split(/([&;])/)
  for (let i = 0; i < parts.length; i += 2) {
    const pair = parts[i] as string
    if (names.includes(looseName(splitAt(pair, '=')[0]))) continue
    kept = kept === undefined ? pair : `${kept}${parts[i - 1]}${pair}`
  }
  return kept
}

function readCarrier(fields: FieldList, query: string | undefined, carrier: Carrier): Credentials {
  switch (carrier.kind) {
    case 'header':
      return token(onlyValue(fields, carrier.name))
    case 'authorization':
      return readAuthorization(onlyValue(fields, 'authorization'), carrier.scheme)
    case 'query':
      return query === undefined ? none : token(onlyQueryValue(query, carrier.name))
  }
}

/** RFC 9110 11.4: the scheme compares without case. Another scheme presents nothing here. */
function readAuthorization(value: string | undefined, scheme: Scheme): Credentials {
  if (value === undefined) return none
  const [received, rest] = splitAt(value.trim(), ' ')
  if (received.toLowerCase() !== (scheme === 'grant' ? 'bearer' : scheme)) return none
  const credentials = rest.trim()
  switch (scheme) {
    case 'basic':
      return readBasic(credentials)
    case 'oauth2':
      return token(credentials)
    case 'grant':
      return isGrant(credentials) ? { kind: 'grant', value: credentials } : none
    case 'bearer':
      return readBearer(credentials)
  }
}

/** Foundries' clients send the base64 of the token. */
function readBearer(value: string): Credentials {
  if (value.startsWith(tokenPrefix)) return token(value)
  if (isGrant(value)) return { kind: 'grant', value }
  const text = decodeBase64(value)
  return token(text?.startsWith(tokenPrefix) ? text : value)
}

/** RFC 7617 2: the password stands behind the first colon. */
function readBasic(encoded: string): Credentials {
  const text = decodeBase64(encoded)
  if (text === undefined) return malformed
  const [user, password] = splitAt(text, ':')
  return readPassword(user, password)
}

/** The token of a user name and a password, each of one character a byte. */
export function readPassword(user: string, password: string): Credentials {
  const isToken = password.trim() !== '' && password !== passwordPlaceholder
  return token(isToken ? password : user)
}

/** The bytes of canonical, padded base64 (RFC 4648 4, 3.5); undefined for anything else. */
function decodeBase64(encoded: string): string | undefined {
  const bytes = Buffer.from(encoded, 'base64')
  return bytes.toString('base64') === encoded ? bytes.toString('latin1') : undefined
}

function token(value: string | undefined): Credentials {
  const secret = value === undefined ? '' : value.trim()
  return secret === '' ? none : { kind: 'token', secret }
}

function isSame(one: Credentials, other: Credentials): boolean {
  if (one.kind === 'token' && other.kind === 'token') return one.secret === other.secret
  if (one.kind === 'grant' && other.kind === 'grant') return one.value === other.value
  return one.kind === other.kind
}

/** The one value of a field; `name` in lower case. */
function onlyValue(fields: FieldList, name: string): string | undefined {
  let value: string | undefined
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (!isNamed(fields[i] as string, name)) continue
    if (value !== undefined) refuse(`the field ${name} occurs more than once; send it once`)
    value = fields[i + 1] as string
  }
  return value
}

/** The one value of a query parameter; its name may be percent-encoded, as the upstream may read it. */
function onlyQueryValue(query: string, name: string): string | undefined {
  let value: string | undefined
  for (const pair of query.split('&')) {
    const [key, text] = splitAt(pair, '=')
    if (decodeForm(key) !== name) continue
    if (value !== undefined) refuse(`the query names ${name} more than once; send it once`)
    value = decodeForm(text)
  }
  return value
}

/** Decodes a form's `+` and valid escapes to bytes; what is no escape stays. */
function decodeForm(text: string): string {
  if (!text.includes('%') && !text.includes('+')) return text
  return text
    .replaceAll('+', ' ')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

/** What stands before and behind the first separator; without one, all of it is before. */
function splitAt(text: string, separator: string): [before: string, behind: string] {
  const i = text.indexOf(separator)
  return i < 0 ? [text, ''] : [text.slice(0, i), text.slice(i + separator.length)]
}

function refuse(detail: string): never {
  throw new GatewayError('ambiguous_credentials', detail)
}
