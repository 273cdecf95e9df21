// The head that is forwarded is built, not copied (RFC 9110 7.6): framing, Host, identity and forwarding
// fields come from the gateway alone; credentials and everything that could pass for one of ours are left
// out, in any spelling. Pure.

import type { Dispatcher } from 'undici'
import type { UpstreamSettings } from '../configuration/configuration.ts'
import { credentialFieldNames } from '../credentials/credentials.ts'
import type { Facts } from '../http1/field-blocks.ts'
import { isNamed } from '../http1/field-lines.ts'
import type { ClientOrigin } from '../listener/address.ts'
import { withoutFields } from '../protocols/fields.ts'
import type { FieldList } from '../protocols/protocol.ts'
import type { Carrier } from '../routes/route.ts'
import type { TokenRecord } from '../tokens/token.ts'
import { SentHead, SharedFields } from './sent-head.ts'

/** RFC 9110 7.6.1, and what earlier proxies made hop-by-hop. */
const hopByHop = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-authentication-info',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
]

/** Written by the gateway itself, or not for clients to say. */
const forwarding = [
  'forwarded',
  'x-real-ip',
  'x-client-ip',
  'client-ip',
  'true-client-ip',
  'x-cluster-client-ip',
  'x-originating-ip',
  'x-remote-ip',
  'x-remote-addr',
  'x-host',
  'x-scheme',
  'x-url-scheme',
  'front-end-https',
  'x-http-host-override',
  'x-http-destinationurl',
  'x-script-name',
  'x-envoy-original-path',
  'x-accel-mapping',
  'x-sendfile-type',
  'proxy',
]
const forwardingPrefixes = ['x-forwarded', 'x-original-', 'x-rewrite-']

/** Said once, at the gateway: RFC 9112 framing, expectations, and what methods pretend to be. */
const own = [
  'host',
  'content-length',
  'expect',
  'x-request-id',
  'x-http-method-override',
  'x-http-method',
  'x-method-override',
]

const hopByHopSet = new Set(hopByHop)
/** Names of replies' fields in lower case, or `notPassed`. */
const replyNames = new Map<string, string>()
const notPassed = ''
/** Names as clients and upstreams write them, of which it was found out what becomes of them. */
const knownNamesMax = 1_000

export type HeadPlan = {
  readonly settings: UpstreamSettings
  /** Lower-case names, with `-` for every other sign, that are not forwarded. */
  readonly removed: ReadonlySet<string>
  /** Is a field of this name, as it is written, forwarded? What was found out once. */
  readonly known: Map<string, boolean>
  /** The upstream is told of whose token it is. */
  readonly tellsIdentity: boolean
}

/** What of a request's head reaches one upstream. `upstreams` are all of the configuration: each one's identity names are removed everywhere. */
export function planHead(
  settings: UpstreamSettings,
  upstreams: Iterable<UpstreamSettings>,
  carriers: readonly Carrier[],
): HeadPlan {
  const removed = new Set([...hopByHop, ...forwarding, ...own])
  if (settings.credentials === 'strip') {
    for (const name of credentialFieldNames(carriers)) removed.add(folded(name))
  }
  for (const upstream of upstreams) {
    for (const name of Object.values(upstream.identity)) if (name) removed.add(folded(name))
  }
  for (const [name] of settings.headers) removed.add(folded(name))
  const tellsIdentity = Object.values(settings.identity).some((name) => name !== undefined)
  return { settings, removed, known: new Map(), tellsIdentity }
}

export type ForwardedHead = {
  /** Without those that Connection names. */
  readonly fields: FieldList
  /** Host as the upstream shall see it. */
  readonly host: string
  readonly requestHost: string
  readonly origin: ClientOrigin
  readonly requestId: string
  readonly record: TokenRecord | undefined
  /** The upstream's own `headers` are set: an authenticated route, or a public one that says `inject`. */
  readonly inject: boolean
  /** Further names (lower case) to drop, and fields to set, for this request alone. */
  readonly drop?: readonly string[] | undefined
  readonly set?: FieldList | undefined
  /** What is known of `fields`. */
  readonly facts?: Facts | undefined
}

/** The head to send for a request's. */
export function writeHead(plan: HeadPlan, head: ForwardedHead): SentHead {
  return new SentHead(sharedFields(plan, head), head.requestId)
}

/** What was written for one request, and what that depends on. */
type KnownFields = Pick<
  ForwardedHead,
  'fields' | 'host' | 'requestHost' | 'origin' | 'record' | 'inject'
> & {
  readonly plan: HeadPlan
  readonly shared: SharedFields
}

function sharedFields(plan: HeadPlan, head: ForwardedHead): SharedFields {
  const { facts, fields, host, requestHost, origin, record, inject } = head
  if (facts === undefined || head.drop !== undefined || head.set !== undefined) {
    return new SharedFields(listFields(plan, head))
  }
  const known = facts.forwarded as KnownFields | undefined
  if (known !== undefined && isLike(known, plan, head)) return known.shared
  // Requests that follow each other often differ in their tokens alone.
  const last = facts.recent.forwarded as KnownFields | undefined
  const isLikeLast =
    last?.shared.isWritten === true &&
    isLike(last, plan, head) &&
    forwardsSame(plan, last.fields, fields)
  const shared = isLikeLast ? last.shared : new SharedFields(listFields(plan, head))
  const found = { plan, fields, host, requestHost, origin, record, inject, shared }
  facts.forwarded = found satisfies KnownFields
  facts.recent.forwarded = found
  return shared
}

/** Does it hold for this head, where the fields that were received are the same? */
function isLike(known: KnownFields, plan: HeadPlan, head: ForwardedHead): boolean {
  return (
    known.plan === plan &&
    (known.record === head.record || !plan.tellsIdentity) &&
    known.origin === head.origin &&
    known.host === head.host &&
    known.requestHost === head.requestHost &&
    known.inject === head.inject
  )
}

/** Do the lists differ in nothing but values that are not forwarded? */
function forwardsSame(plan: HeadPlan, some: FieldList, others: FieldList): boolean {
  if (some.length !== others.length) return false
  for (let i = 0; i + 1 < some.length; i += 2) {
    const name = some[i] as string
    if (name !== others[i]) return false
    if (isForwarded(plan, name) && some[i + 1] !== others[i + 1]) return false
  }
  return true
}

function listFields(plan: HeadPlan, head: ForwardedHead): string[] {
  const out: string[] = ['Host', head.host]
  const { fields } = head
  const replaced = head.set === undefined ? undefined : namesOf(head.set)
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] as string
    if (!isForwarded(plan, name)) continue
    if (replaced?.has(name.toLowerCase()) || head.drop?.includes(name.toLowerCase())) continue
    out.push(name, fields[i + 1] as string)
  }
  if (head.inject) for (const [name, value] of plan.settings.headers) out.push(name, value)
  writeForwarding(out, head)
  writeIdentity(out, plan.settings, head.record)
  if (head.set) out.push(...head.set)
  return out
}

function isForwarded(plan: HeadPlan, name: string): boolean {
  return plan.known.get(name) ?? learn(plan.known, name, passes(plan, name))
}

function passes({ removed }: HeadPlan, name: string): boolean {
  const key = folded(name)
  return !removed.has(key) && !forwardingPrefixes.some((prefix) => key.startsWith(prefix))
}

/** Keeps what was found out of a name; names that are made up to fill the memory empty it. */
function learn<T>(known: Map<string, T>, name: string, value: T): T {
  if (known.size >= knownNamesMax) known.clear()
  known.set(name, value)
  return value
}

function namesOf(fields: FieldList): ReadonlySet<string> {
  return new Set(fields.flatMap((name, i) => (i % 2 === 0 ? [name.toLowerCase()] : [])))
}

/**
 * A request's fields without those that Connection names (RFC 9110 7.6.1). They are not forwarded, so nothing
 * may be judged by them either: with its Content-Type named there, a form would pass for something else.
 */
export function withoutNominated(fields: FieldList): FieldList {
  const listed = namedByConnection(fields)
  return listed === undefined ? fields : withoutFields(fields, listed)
}

/** RFC 9110 7.6.1: the names that Connection lists are hop-by-hop too. Undefined: none. */
function namedByConnection(fields: FieldList): ReadonlySet<string> | undefined {
  let names: Set<string> | undefined
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (!isNamed(fields[i] as string, 'connection')) continue
    const value = fields[i + 1] as string
    if (value === 'keep-alive' || value === 'close') continue
    for (const part of value.split(',')) {
      const name = part.trim().toLowerCase()
      if (name === 'close' || name === 'keep-alive' || name === '') continue
      names ??= new Set()
      names.add(name)
    }
  }
  return names
}

/**
 * The fields of an upstream's reply that reach the client; the connection's own are left out, and a length
 * where no body can be (RFC 9110 8.6).
 */
export function replyFields(status: number, fields: FieldList, requestId: string): string[] {
  const listed = namedByConnection(fields)
  const isBodiless = status < 200 || status === 204
  const out: string[] = []
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] as string
    const key = replyNames.get(name) ?? learn(replyNames, name, keyOf(name))
    if (key === notPassed || listed?.has(key)) continue
    if (isBodiless && key === 'content-length') continue
    out.push(name, fields[i + 1] as string)
  }
  out.push('X-Request-Id', requestId)
  return out
}

function keyOf(name: string): string {
  const key = name.toLowerCase()
  return hopByHopSet.has(key) || key === 'x-request-id' ? notPassed : key
}

/** What undici read of a head or of trailers. Latin-1 keeps every byte of a field value (RFC 9110 5.5). */
export function fieldsOf(raw: Dispatcher.DispatchController['rawHeaders']): string[] {
  if (!Array.isArray(raw)) return []
  // Our own connections have read them as texts.
  if (typeof raw[0] === 'string') return raw as string[]
  return raw.map((part) => (typeof part === 'string' ? part : part.toString('latin1')))
}

function writeForwarding(out: string[], head: ForwardedHead): void {
  const { hops, scheme, elements: told } = head.origin
  const host = head.origin.host ?? head.requestHost
  out.push(
    'X-Forwarded-For',
    hops.length === 1 ? (hops[0] as string) : hops.join(', '),
    'X-Forwarded-Proto',
    scheme,
    'X-Forwarded-Host',
    host,
    'Forwarded',
    writeElements(hops, told, `;host="${host}";proto=${scheme}`),
  )
}

/** The elements of Forwarded (RFC 7239 4); the gateway's own hop has the host and scheme. */
function writeElements(
  hops: readonly string[],
  told: readonly string[] | undefined,
  rest: string,
): string {
  const own = `for=${forwardedNode(hops[hops.length - 1] as string)}${rest}`
  if (hops.length === 1 && told === undefined) return own
  const before = told ?? hops.slice(0, -1).map((hop) => `for=${forwardedNode(hop)}`)
  return [...before, own].join(', ')
}

/** RFC 7239 6: IPv6 addresses stand in brackets and quotes. */
function forwardedNode(address: string): string {
  return address.includes(':') ? `"[${address}]"` : address
}

function writeIdentity(
  out: string[],
  { identity }: UpstreamSettings,
  record: TokenRecord | undefined,
): void {
  if (record === undefined) return
  if (identity.subject) out.push(identity.subject, printable(record.subject))
  if (identity.token) out.push(identity.token, record.id)
  if (identity.scopes) out.push(identity.scopes, printable(record.scopes.join(', ')))
}

/** Characters outside printable ASCII as percent-encoded UTF-8. */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/gu, (sign) =>
    [...Buffer.from(sign, 'utf8')]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
      .join(''),
  )
}

/** Lower case, and `-` for every sign but letters and digits: what CGI-like upstreams cannot tell apart. */
function folded(name: string): string {
  const lower = name.toLowerCase()
  return /[^a-z0-9-]/.test(lower) ? lower.replace(/[^a-z0-9]/g, '-') : lower
}
