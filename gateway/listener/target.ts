// The one canonical request target (RFC 9112 3.2, RFC 3986 3.3): made once from the request line and
// Host, used by matching, deciding and forwarding alike. Pure. It never repairs: what is ambiguous is
// refused with `bad_target`, and no sentence repeats a path or a query. It never asks a URL library,
// which resolves dot segments and reads `//x` as a host.

import { isIPv6 } from 'node:net'
import { GatewayError } from '../errors.ts'
import { onePiece } from '../one-piece.ts'
import { readSegments } from './segments.ts'

/** What was asked for. `path` and `query` are what is forwarded, byte for byte as received. */
export type RequestTarget = {
  /** Path as received, escapes and all; begins with `/`. */
  readonly path: string
  /** Query as received without its `?`; undefined where there was none (`/x?` has the empty one). */
  readonly query: string | undefined
  /** Decoded segments after the first slash: `/a/b%20c/` is `['a', 'b c', '']`, `/` is `['']`. */
  readonly segments: readonly string[]
  /** Host in lower case without port and trailing dot; IPv6 in its brackets. */
  readonly host: string
  /** Host as received, with its port. */
  readonly authority: string
  /** `;` stands in the path: only routes with `pathParameters: allow` take it. */
  readonly hasParameters: boolean
  /** `%2F` stands in the path: only routes with `encodedSlash: allow` take it. */
  readonly hasEncodedSlash: boolean
}

type Scheme = 'http' | 'https'

type HostAndPort = { readonly host: string; readonly port: number }
type Asked = HostAndPort & { readonly authority: string }

/** A DNS name without its trailing dot (RFC 1035 2.3.4). */
const hostCharactersMax = 253
const portMax = 65_535
const knownHostsMax = 256
const knownHosts = {
  http: new Map<string, Asked>(),
  https: new Map<string, Asked>(),
} as const
const defaultPorts = { http: 80, https: 443 } as const

// A name in letters, digits, `-` and `_`, with or without its trailing dot; or an IPv6 literal.
const authorityPattern =
  /^(?:([a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?|(\[[0-9a-f:.]+\]))(?::([1-9][0-9]{0,4}))?$/i
const absolutePattern = /^(https?):\/\/([^/?]*)/i
const escapePattern = /%[0-9a-f]{2}/gi

const slash = 0x2f
const space = 0x20
const hash = 0x23
const percent = 0x25
const questionMark = 0x3f
const semicolon = 0x3b
const backslash = 0x5c
const del = 0x7f

/**
 * Reads the request target, or throws GatewayError `bad_target`. `rawTarget` is the request line's (one
 * character a byte), `hosts` are all values of Host, `scheme` is the connection's.
 */
export function readTarget(
  rawTarget: string,
  hosts: readonly string[],
  scheme: Scheme,
): RequestTarget {
  const { host, port, authority } = readHost(theOneHost(hosts), scheme)
  const target = readOriginForm(rawTarget, host, port)
  const { pathEnd, isPlain } = scan(target)
  const path = target.slice(0, pathEnd)
  const query = pathEnd === target.length ? undefined : target.slice(pathEnd + 1)
  const { segments, hasParameters, hasEncodedSlash } = readSegments(path, isPlain)
  return { path, query, segments, host, authority, hasParameters, hasEncodedSlash }
}

/**
 * The form of a path that path scopes are compared with: escapes in upper-case hex, `%7E` as `~`.
 * Nothing else changes.
 */
export function pathForScopes(path: string): string {
  if (!path.includes('%')) return path
  return path.replace(escapePattern, (found) => {
    const upper = found.toUpperCase()
    return upper === '%7E' ? '~' : upper
  })
}

/** RFC 9112 3.2: exactly one Host, whatever the version. */
function theOneHost(hosts: readonly string[]): string {
  const [authority] = hosts
  if (authority === undefined) refuse('the request has no Host field; send exactly one')
  if (hosts.length > 1) refuse('the request has more than one Host field; send exactly one')
  if (authority === '') refuse('the Host field is empty; name the host that is asked')
  return authority
}

/** The same few hosts are asked again and again, and have the same texts each time. */
function readHost(authority: string, scheme: Scheme): Asked {
  const known = knownHosts[scheme].get(authority)
  if (known !== undefined) return known
  const own = onePiece(authority)
  const read = { ...readAuthority(own, scheme, 'Host'), authority: own }
  if (knownHosts[scheme].size >= knownHostsMax) knownHosts[scheme].clear()
  knownHosts[scheme].set(own, read)
  return read
}

function readAuthority(authority: string, scheme: Scheme, where: string): HostAndPort {
  const match = authorityPattern.exec(authority)
  if (match === null) {
    refuse(`${where} is not a host name or bracketed IPv6 address with an optional port`)
  }
  const [, name, literal, digits] = match
  const host = (name ?? literal ?? '').toLowerCase()
  if (host.length > hostCharactersMax) {
    refuse(`${where} names a host of more than ${hostCharactersMax} characters`)
  }
  if (literal !== undefined && !isIPv6(host.slice(1, -1))) {
    refuse(`${where} has brackets around what is not an IPv6 address`)
  }
  const port = digits === undefined ? defaultPorts[scheme] : Number(digits)
  if (port > portMax) refuse(`${where} has a port above ${portMax}`)
  return { host, port }
}

/** Path and query of the target. The absolute-form (RFC 9112 3.2.2) must name the host that Host names. */
function readOriginForm(rawTarget: string, host: string, port: number): string {
  if (rawTarget.charCodeAt(0) === slash) return rawTarget
  const match = absolutePattern.exec(rawTarget)
  if (match === null) {
    refuse('the request target must be a path that begins with "/", or an http or https URL')
  }
  const [start, scheme = '', authority = ''] = match
  if (authority.includes('@')) {
    refuse('the request target names a user; send credentials in a header field')
  }
  const named = readAuthority(authority, scheme.toLowerCase() as Scheme, "the target's authority")
  if (named.host !== host || named.port !== port) {
    refuse('the request target and the Host field name different hosts; they must agree')
  }
  const rest = rawTarget.slice(start.length)
  return rest.startsWith('/') ? rest : `/${rest}`
}

/** One look at every byte: what may not stand anywhere, where the path ends, and if it needs decoding. */
function scan(target: string): { pathEnd: number; isPlain: boolean } {
  let pathEnd = -1
  let isPlain = true
  for (let i = 0; i < target.length; i += 1) {
    const code = target.charCodeAt(i)
    if (code <= space || code >= del || code === hash || code === backslash) refuseByte(code)
    if (pathEnd >= 0) continue
    if (code === questionMark) pathEnd = i
    else if (code === percent || code === semicolon) isPlain = false
  }
  return { pathEnd: pathEnd < 0 ? target.length : pathEnd, isPlain }
}

function refuseByte(code: number): never {
  const byte = `0x${code.toString(16).padStart(2, '0')}`
  if (code === space) refuse('the request target contains a space; write it as %20')
  if (code === hash) {
    refuse('the request target contains "#"; leave the fragment out, or write the sign as %23')
  }
  if (code === backslash) refuse('the request target contains a backslash; separate with "/"')
  if (code > del) {
    refuse(`the request target contains the byte ${byte}; write UTF-8 in percent encoding`)
  }
  refuse(`the request target contains the control character ${byte}; leave it out`)
}

function refuse(detail: string): never {
  throw new GatewayError('bad_target', detail)
}
