// Requests and replies of HTTP/1.1 as text (RFC 9112), for tests that watch every byte: what is sent is
// what was written, and a reply is read without repairing it.

import { type Connection, connect, send, wholeReplyBytes } from '../servers/raw-client.ts'

/** The host that requests are sent to, unless they say otherwise. */
export const host = 'gateway.example'

export type RawReply = {
  readonly status: number
  readonly reason: string
  /** Names and values in turn, as on the wire. */
  readonly fields: readonly string[]
  /** The body, without its chunks' framing (latin1). */
  readonly body: string
  /** Trailer fields of a chunked body. */
  readonly trailers: readonly string[]
  /** The 1xx replies before it. */
  readonly interim: readonly { readonly status: number; readonly fields: readonly string[] }[]
  /** What came behind it on the connection. */
  readonly rest: string
  values(name: string): string[]
  /** The one value of a field; undefined where it does not occur or occurs more than once. */
  field(name: string): string | undefined
  /** The body as a problem (RFC 9457); empty where it is no JSON object. */
  readonly problem: Readonly<Record<string, unknown>>
}

/** A request as text. A body without framing among the fields gets its Content-Length. */
export function writeRequest(line: string, fields: readonly string[] = [], body = ''): string {
  const isFramed = fields.some((field) => /^(content-length|transfer-encoding):/i.test(field))
  const hasHost = fields.some((field) => /^host:/i.test(field))
  const all = [
    ...(hasHost ? [] : [`Host: ${host}`]),
    ...fields,
    ...(body === '' || isFramed ? [] : [`Content-Length: ${body.length}`]),
  ]
  const version = / HTTP\/\d\.\d$/.test(line) ? '' : ' HTTP/1.1'
  return `${line}${version}\r\n${all.map((field) => `${field}\r\n`).join('')}\r\n${body}`
}

/** The text as one chunked body; each part is a chunk. */
export function chunked(...parts: readonly string[]): string {
  return `${parts.map((part) => `${part.length.toString(16)}\r\n${part}\r\n`).join('')}0\r\n\r\n`
}

/** Sends one request on a connection of its own and resolves with its reply. */
export async function ask(
  url: string,
  line: string,
  fields: readonly string[] = [],
  body = '',
): Promise<RawReply> {
  return readReply(await send(url, writeRequest(line, fields, body)), line.startsWith('HEAD '))
}

/** Opens a connection, hands it over and closes it whatever happens. */
export async function withConnection<T>(
  url: string,
  use: (connection: Connection) => Promise<T>,
): Promise<T> {
  const connection = await connect(url)
  try {
    return await use(connection)
  } finally {
    connection.close()
  }
}

/** Resolves with the first final reply that has come whole on the connection. */
export async function nextReply(connection: Connection, toHead = false): Promise<RawReply> {
  const whole = (text: string): boolean => wholeReplyBytes(text, toHead) !== undefined
  return readReply(await connection.receive('a whole reply', whole), toHead)
}

/** Reads the first final reply of the text. One that is cut off has the body that came. */
export function readReply(text: string, toHead = false): RawReply {
  const interim: { status: number; fields: readonly string[] }[] = []
  let left = text
  for (;;) {
    const end = left.indexOf('\r\n\r\n')
    const match = /^HTTP\/1\.1 (\d{3}) ([^\r\n]*)$/.exec(left.slice(0, left.indexOf('\r\n')))
    if (end < 0 || match === null) throw new Error(`no reply: ${JSON.stringify(text)}`)
    const status = Number(match[1])
    const fields = readFields(left.slice(0, end).split('\r\n').slice(1))
    if (status < 200 && status !== 101) {
      interim.push({ status, fields })
      left = left.slice(end + 4)
      continue
    }
    const bytes = wholeReplyBytes(left, toHead) ?? left.length
    const raw = left.slice(end + 4, bytes)
    const values = (name: string): string[] => valuesOf(fields, name)
    const isChunked = values('transfer-encoding').length > 0 && !toHead
    const isJson = values('content-type').some((type) => type.includes('json'))
    const { body, trailers } = isChunked ? readChunks(raw) : { body: raw, trailers: [] }
    return {
      status,
      reason: match[2] ?? '',
      fields,
      body,
      trailers,
      interim,
      rest: left.slice(bytes),
      values,
      field: (name) => (values(name).length === 1 ? values(name)[0] : undefined),
      // Other bodies may begin so too, random ones among them.
      problem: isJson && body.startsWith('{') ? JSON.parse(body) : {},
    }
  }
}

function readFields(lines: readonly string[]): string[] {
  return lines.flatMap((line) => {
    const colon = line.indexOf(':')
    if (colon < 1) throw new Error(`no field line: ${JSON.stringify(line)}`)
    return [line.slice(0, colon), line.slice(colon + 1).trim()]
  })
}

function valuesOf(fields: readonly string[], name: string): string[] {
  const key = name.toLowerCase()
  return fields.filter((_, i) => i % 2 === 1 && fields[i - 1]?.toLowerCase() === key)
}

function readChunks(raw: string): { body: string; trailers: string[] } {
  let body = ''
  let at = 0
  for (;;) {
    const line = raw.indexOf('\r\n', at)
    if (line < 0) return { body, trailers: [] }
    const size = Number.parseInt(raw.slice(at, line), 16)
    if (size === 0) {
      const lines = raw.slice(line + 2).split('\r\n')
      return { body, trailers: readFields(lines.filter((text) => text !== '')) }
    }
    body += raw.slice(line + 2, line + 2 + size)
    at = line + 2 + size + 2
  }
}
