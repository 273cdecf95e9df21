// A client without an HTTP library: what a test writes is what is sent, and it sees every byte that
// comes back.

import net from 'node:net'
import { until } from './ready.ts'

const replyTimeoutMs = 10_000

export type Connection = {
  readonly socket: net.Socket
  /** All bytes received so far (latin1). */
  received(): string
  /** True once the other side has ended or cut the connection. */
  closed(): boolean
  /** `end`: FIN; `cut`: RST or an error. Undefined while it is open. */
  ending(): 'end' | 'cut' | undefined
  write(bytes: string | Buffer): void
  /** Resolves with all bytes received once they fulfil the condition. */
  receive(what: string, condition: (received: string) => boolean): Promise<string>
  /** Resolves with all bytes received once the other side has closed. */
  receiveAll(): Promise<string>
  close(): void
}

/** Connects to the host and port of a URL. */
export async function connect(url: string): Promise<Connection> {
  const { hostname, port } = new URL(url)
  const address = hostname.replace(/^\[|\]$/g, '')
  const socket = net.connect({ host: address, port: Number(port || 80), noDelay: true })
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve)
    socket.once('error', reject)
  })
  const chunks: Buffer[] = []
  let ending: 'end' | 'cut' | undefined
  const received = (): string => Buffer.concat(chunks).toString('latin1')
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.on('end', () => (ending ??= 'end'))
  socket.on('error', () => (ending ??= 'cut'))
  socket.on('close', () => (ending ??= 'cut'))
  const receive: Connection['receive'] = (what, condition) =>
    until(
      what,
      () => {
        const text = received()
        if (condition(text)) return text
        if (ending !== undefined) throw new Error(`${what}: closed after ${JSON.stringify(text)}`)
        return undefined
      },
      replyTimeoutMs,
    )
  return {
    socket,
    received,
    closed: () => ending !== undefined,
    ending: () => ending,
    write: (bytes) =>
      void socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes),
    receive,
    receiveAll: () =>
      until(
        'the other side closes',
        () => (ending === undefined ? undefined : received()),
        replyTimeoutMs,
      ),
    close: () => void socket.destroy(),
  }
}

/**
 * Sends the bytes on a new connection and resolves with the raw text of the first final reply, or with all
 * that came until the other side closed. `until: 'close'` waits for the close in any case.
 */
export async function send(
  url: string,
  bytes: string | Buffer,
  options: { until?: 'reply' | 'close' } = {},
): Promise<string> {
  const connection = await connect(url)
  const head = bytes.toString('latin1').startsWith('HEAD ')
  try {
    connection.write(bytes)
    if (options.until === 'close') return await connection.receiveAll()
    await until(
      'a reply',
      () =>
        connection.closed() ||
        wholeReplyBytes(connection.received(), head) !== undefined ||
        undefined,
      replyTimeoutMs,
    )
    return connection.received()
  } finally {
    connection.close()
  }
}

/** The length of the first final reply with the 1xx replies before it; undefined while it is not whole. */
export function wholeReplyBytes(text: string, toHead = false): number | undefined {
  const end = text.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const body = end + 4
  const head = text.slice(0, body)
  const status = head.slice(9, 12)
  if (status.startsWith('1') && status !== '101') {
    const rest = wholeReplyBytes(text.slice(body), toHead)
    return rest === undefined ? undefined : body + rest
  }
  if (toHead || status === '101' || status === '204' || status === '304') return body
  if (/\r\ntransfer-encoding: *chunked\r\n/i.test(head)) return chunkedEnd(text, body)
  const length = /\r\ncontent-length: *(\d+)\r\n/i.exec(head)?.[1]
  if (length === undefined) return undefined
  return text.length >= body + Number(length) ? body + Number(length) : undefined
}

function chunkedEnd(text: string, at: number): number | undefined {
  for (;;) {
    const line = text.indexOf('\r\n', at)
    if (line < 0) return undefined
    const size = Number.parseInt(text.slice(at, line), 16)
    if (Number.isNaN(size)) throw new Error(`chunk size: ${text.slice(at, line)}`)
    if (size === 0) {
      const end = text.startsWith('\r\n', line + 2) ? line + 4 : text.indexOf('\r\n\r\n', line) + 4
      return end < 4 || end > text.length ? undefined : end
    }
    at = line + 2 + size + 2
  }
}
