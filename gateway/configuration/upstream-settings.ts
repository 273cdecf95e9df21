// One upstream of the configuration: its address, the fields that are set on what it gets, its TLS
// material. Values of fields are secrets: no complaint shows one. Pure but for the reader it is given.

import { createPrivateKey, X509Certificate } from 'node:crypto'
import type { z } from 'zod'
import { explainIssues, readFields } from './complaints.ts'
import type { UpstreamSettings } from './configuration.ts'
import { type Complain, type LocatedMap, locate, type Place, plain } from './positions.ts'
import { type ReadBeside, readSecret } from './secret.ts'
import { headerName, upstream } from './settings.ts'

/** RFC 9110 7.6.1, RFC 9112 framing, and what says how a body reads: one connection's or message's alone. */
const connectionFields = new Set(
  `connection keep-alive proxy-connection proxy-authenticate proxy-authorization
  proxy-authentication-info te trailer transfer-encoding upgrade http2-settings content-length
  content-type content-encoding expect`.split(/\s+/),
)
const gatewayFields = new Set(
  'host forwarded x-forwarded-for x-forwarded-proto x-forwarded-host x-request-id'.split(' '),
)

type UpstreamFields = Partial<z.output<typeof upstream>>

/** The settings of one upstream; undefined where a complaint was made. */
export function readUpstream(
  name: string,
  node: LocatedMap,
  readBeside: ReadBeside,
  complain: Complain,
): UpstreamSettings | undefined {
  let faults = 0
  const note: Complain = (place, message, severity) => {
    faults += 1
    complain(place, message, severity)
  }
  const fields = readFields(upstream, node, note, ['headers'])
  const written = headersOf(node, note)
  const address = readAddress(fields.url, node, note)
  checkFieldNames(written, fields.identity, node, note)
  const headers = readHeaders(written, readBeside, note)
  const tls = readTls(fields.tls, node, address, readBeside, note)
  if (faults > 0 || address === undefined) return undefined
  const { identity = {}, timeouts } = fields
  return {
    name,
    origin: address.origin,
    basePath: address.pathname.replace(/\/+$/, ''),
    host: fields.host ?? 'upstream',
    headers,
    identity: { subject: identity.subject, token: identity.token, scopes: identity.scopes },
    credentials: fields.credentials ?? 'strip',
    timeouts: {
      connectMs: timeouts!.connect,
      headersMs: timeouts!.headers,
      idleMs: timeouts!.idle,
    },
    tls,
  }
}

function readAddress(
  url: string | undefined,
  node: LocatedMap,
  complain: Complain,
): URL | undefined {
  if (url === undefined) return undefined
  const { place } = locate(node, ['url'])
  const address = URL.canParse(url) ? new URL(url) : undefined
  const path = /^https?:\/\/[^/?#\\]+([^?#\\]*)$/i.exec(url)?.[1]
  if (address !== undefined && (address.username !== '' || address.password !== '')) {
    complain(place, '`url` holds credentials; set them with `headers: { Authorization: … }`')
  } else if (address === undefined || path === undefined) {
    complain(
      place,
      '`url`: expected http:// or https://, a host, a port and perhaps a path, without a query',
    )
  } else if ((path || '/') !== address.pathname || address.pathname.includes('//')) {
    complain(place, `\`url\`: write its path without dots and double slashes: ${address.pathname}`)
  } else {
    return address
  }
  return undefined
}

/** No two names that an upstream could take for one another, and none that the gateway writes. */
function checkFieldNames(
  headers: LocatedMap | undefined,
  identity: UpstreamFields['identity'],
  node: LocatedMap,
  complain: Complain,
): void {
  const taken = new Map<string, string>()
  const check = (name: string, place: Place) => {
    const folded = name.toLowerCase().replace(/[^a-z0-9]/g, '-')
    const twin = taken.get(folded)
    if (connectionFields.has(folded)) {
      complain(
        place,
        `\`${name}\` belongs to the connection or to the body; an upstream cannot be given it`,
      )
    } else if (gatewayFields.has(folded)) {
      complain(place, `\`${name}\` is written by the gateway itself; use another name`)
    } else if (twin !== undefined) {
      complain(place, `\`${name}\` is set twice, also as \`${twin}\`; keep one of the two`)
    }
    taken.set(folded, name)
  }
  for (const [name, { key }] of headers?.entries ?? []) check(name, key)
  for (const [key, name] of Object.entries(identity ?? {})) {
    if (name !== undefined) check(name, locate(node, ['identity', key]).place)
  }
}

function headersOf(node: LocatedMap, complain: Complain): LocatedMap | undefined {
  const value = node.entries.get('headers')?.value
  if (value === undefined || value.kind === 'map') return value
  const result = upstream.shape.headers.safeParse(plain(value))
  if (!result.success) explainIssues(result.error.issues, ['headers'], node, complain)
  return undefined
}

function readHeaders(
  headers: LocatedMap | undefined,
  readBeside: ReadBeside,
  complain: Complain,
): [name: string, value: string][] {
  const read: [string, string][] = []
  for (const [name, entry] of headers?.entries ?? []) {
    if (!headerName().safeParse(name).success) {
      complain(entry.key, `\`${name}\`: expected the name of a header field`)
    }
    const value = readSecret(name, entry, readBeside, complain)
    if (value === undefined) continue
    const { place } = entry.value
    if (/^$|^[ \t]|[ \t]$/.test(value)) {
      complain(place, `\`${name}\`: expected a value that is not empty, without space at its ends`)
    } else if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
      complain(place, `\`${name}\`: expected one line of printable characters (RFC 9110 5.5)`)
    } else {
      read.push([name, value])
    }
  }
  return read
}

function readTls(
  tls: UpstreamFields['tls'],
  node: LocatedMap,
  address: URL | undefined,
  readBeside: ReadBeside,
  complain: Complain,
): UpstreamSettings['tls'] {
  if (tls === undefined) return undefined
  const { key, place } = locate(node, ['tls'])
  if (address?.protocol === 'http:') {
    complain(key, '`tls` needs an https:// url; change the url or remove `tls`')
  }
  if ((tls.cert === undefined) !== (tls.key === undefined)) {
    complain(place, '`tls`: expected `cert` and `key` together, or neither')
  }
  const read = (name: 'ca' | 'cert' | 'key'): string | undefined => {
    const path = tls[name]
    if (path === undefined) return undefined
    const { place: at } = locate(node, ['tls', name])
    const pem = readBeside(at, path)
    if (pem !== undefined && !isPem(pem, name === 'key')) {
      complain(
        at,
        `\`${name}\`: expected a PEM file that holds a ${name === 'key' ? 'private key' : 'certificate'}`,
      )
    }
    return pem
  }
  const [ca, cert, privateKey] = [read('ca'), read('cert'), read('key')]
  if (cert !== undefined && privateKey !== undefined && !isPair(cert, privateKey)) {
    complain(place, '`tls`: `key` is not the key of `cert`; name files that belong together')
  }
  return { ca, cert, key: privateKey, serverName: tls.serverName }
}

function isPem(pem: string, isKey: boolean): boolean {
  try {
    if (isKey) createPrivateKey(pem)
    else new X509Certificate(pem)
    return true
  } catch {
    return false
  }
}

function isPair(cert: string, key: string): boolean {
  // What is no PEM has been complained of at its own place.
  if (!isPem(cert, false) || !isPem(key, true)) return true
  return new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))
}
