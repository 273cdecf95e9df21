// Who the client is, and what is told of it to upstreams: the peer of the connection, or what a trusted
// proxy says (RFC 7239; X-Forwarded-*). From anybody else these fields count for nothing. Pure but for an
// object that it hands out again.

import { BlockList, isIP, isIPv6 } from 'node:net'
import type { ListenSettings } from '../configuration/configuration.ts'
import type { Facts } from '../http1/field-blocks.ts'
import { onePiece } from '../one-piece.ts'
import { fieldValues } from '../protocols/fields.ts'
import type { FieldList } from '../protocols/protocol.ts'

// RFC 7239 4, without escapes in quoted strings: one that is left open would swallow what is appended.
const token = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const pair = `${token}=(?:${token}|"[^"\\\\]*")`
const elementPattern = new RegExp(`^${pair}(?:;${pair})*$`)

export type ClientOrigin = {
  /** The client's address, the nearest that no trusted proxy vouches away. */
  readonly address: string
  readonly scheme: 'http' | 'https'
  /** Addresses from the client to the peer, for X-Forwarded-For. */
  readonly hops: readonly string[]
  /** The elements of Forwarded for all hops but the last, as they were told; undefined: write them. */
  readonly elements?: readonly string[] | undefined
  /** The host that the client asked for, with its port. */
  readonly host: string | undefined
}

export type TrustedProxies = {
  readonly peers: BlockList
  readonly read: 'x-forwarded' | 'forwarded'
}

/** Prepares the configured CIDR ranges and addresses; they were checked before. */
export function buildTrustedProxies(
  settings: ListenSettings['trustedProxies'],
): TrustedProxies | undefined {
  if (settings === undefined) return undefined
  const peers = new BlockList()
  for (const range of settings.from) {
    const [address = '', bits] = range.split('/')
    const family = isIPv6(address) ? 'ipv6' : 'ipv4'
    if (bits === undefined) peers.addAddress(address, family)
    else peers.addSubnet(address, Number(bits), family)
  }
  return { peers, read: settings.read }
}

type KnownOrigin = {
  readonly peer: string
  readonly trusted: TrustedProxies | undefined
  readonly origin: ClientOrigin
}

/** Of the peer that asked last for itself, which has the same object again: origins are compared as objects. */
let lastDirect: ClientOrigin | undefined

/** As `readClientOrigin`; the same object for the same peer where `facts` of the fields are given. */
export function clientOrigin(
  peer: string,
  fields: FieldList,
  trusted: TrustedProxies | undefined,
  facts: Facts | undefined,
): ClientOrigin {
  const known = facts?.origin as KnownOrigin | undefined
  if (known !== undefined && known.peer === peer && known.trusted === trusted) return known.origin
  const origin = readClientOrigin(peer, 'http', fields, trusted)
  if (facts !== undefined) facts.origin = { peer, trusted, origin } satisfies KnownOrigin
  return origin
}

/** `peer` is the address of the connection's other end. */
export function readClientOrigin(
  peer: string,
  scheme: 'http' | 'https',
  fields: FieldList,
  trusted: TrustedProxies | undefined,
): ClientOrigin {
  const direct = plainAddress(peer)
  if (trusted === undefined || !isTrusted(direct, trusted)) {
    if (lastDirect?.address !== direct || lastDirect.scheme !== scheme) {
      lastDirect = { address: direct, scheme, hops: [direct], host: undefined }
    }
    return lastDirect
  }
  const told = trusted.read === 'forwarded' ? readForwarded(fields) : readXForwarded(fields)
  const hops = [...told.hops, direct]
  return {
    // Last uses remember it longer than the field that it stands in.
    address: onePiece(nearestUntrusted(hops, trusted)),
    scheme: told.scheme ?? scheme,
    hops,
    elements: told.elements,
    host: told.host,
  }
}

/** Reads from the right: what stands left of an address that is not trusted may be made up. */
function nearestUntrusted(hops: readonly string[], trusted: TrustedProxies): string {
  for (let i = hops.length - 1; i > 0; i--) {
    const next = hops[i - 1] as string
    if (isIP(next) === 0) return hops[i] as string
    if (!isTrusted(next, trusted)) return next
  }
  return hops[0] as string
}

function isTrusted(address: string, trusted: TrustedProxies): boolean {
  return trusted.peers.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')
}

type Told = {
  readonly hops: readonly string[]
  readonly elements?: readonly string[]
  readonly scheme: 'http' | 'https' | undefined
  readonly host: string | undefined
}

function readXForwarded(fields: FieldList): Told {
  const hops = listOf(fieldValues(fields, 'x-forwarded-for')).map(withoutPort)
  return {
    hops,
    scheme: schemeOf(listOf(fieldValues(fields, 'x-forwarded-proto')).at(-1)),
    host: hostOf(listOf(fieldValues(fields, 'x-forwarded-host')).at(-1)),
  }
}

/** RFC 7239 4: the last element is the nearest proxy's. */
function readForwarded(fields: FieldList): Told {
  const texts = listOf(fieldValues(fields, 'forwarded'))
  const elements = texts.map((element) => {
    const pairs = new Map<string, string>()
    for (const pair of element.split(';')) {
      const at = pair.indexOf('=')
      if (at > 0) pairs.set(pair.slice(0, at).trim().toLowerCase(), unquote(pair.slice(at + 1)))
    }
    return pairs
  })
  return {
    hops: elements.map((element) => withoutPort(element.get('for') ?? 'unknown')),
    elements: texts.map((text) => (elementPattern.test(text) ? text : 'for=unknown')),
    scheme: schemeOf(elements.at(-1)?.get('proto')),
    host: hostOf(elements.at(-1)?.get('host')),
  }
}

function listOf(values: readonly string[]): string[] {
  return values
    .join(',')
    .split(',')
    .map((value) => value.trim())
    .filter((value) => value !== '')
}

function unquote(value: string): string {
  const text = value.trim()
  return text.startsWith('"') && text.endsWith('"') && text.length > 1 ? text.slice(1, -1) : text
}

function schemeOf(value: string | undefined): 'http' | 'https' | undefined {
  const scheme = value?.toLowerCase()
  return scheme === 'http' || scheme === 'https' ? scheme : undefined
}

function hostOf(value: string | undefined): string | undefined {
  return value !== undefined && /^[A-Za-z0-9.:[\]_-]+$/.test(value) ? value : undefined
}

function withoutPort(node: string): string {
  if (node.startsWith('[')) {
    const literal = /^\[([^\]]+)\](:[0-9]+)?$/.exec(node)?.[1] ?? ''
    return isIPv6(literal) ? plainAddress(literal) : 'unknown'
  }
  const text = isIP(node) === 0 ? node.replace(/:[0-9]+$/, '') : node
  return /^[A-Za-z0-9.:_-]+$/.test(text) ? plainAddress(text) : 'unknown'
}

/** `::ffff:192.0.2.1` is what a dual-stack socket calls 192.0.2.1. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}
