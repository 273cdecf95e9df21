// The reader of replies (gateway/http1/reply-parser.ts): what it takes means the same wherever the network
// cuts it, and undici takes it too, with the same meaning. It may refuse more, never less.

import assert from 'node:assert/strict'
import net, { type AddressInfo } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { Client } from 'undici'
import { WireError } from '../../gateway/http1/field-lines.ts'
import { headBytesMax, ReplyParser } from '../../gateway/http1/reply-parser.ts'
import { cut, places, search } from '../search.ts'
import { replies } from './wire.ts'

type Read = {
  readonly status: number
  readonly fields: readonly string[]
  readonly body: string
  readonly trailers: readonly string[]
}

/** The final reply; undefined: refused, or not whole. What comes first means the same as bytes and as a text. */
function read(parts: readonly Buffer[], isHead = false): Read | undefined {
  const asBytes = readAs('bytes', parts, isHead)
  assert.deepEqual(readAs('text', parts, isHead), asBytes)
  return asBytes
}

function readAs(
  first: 'bytes' | 'text',
  parts: readonly Buffer[],
  isHead: boolean,
): Read | undefined {
  let final: { status: number; fields: string[] } | undefined
  let body = ''
  let whole: Read | undefined
  const parser = new ReplyParser({
    head: (status, fields) => {
      if (status >= 200) final = { status, fields }
    },
    data: (bytes) => {
      body += bytes.toString('latin1')
    },
    text: (part) => {
      body += part
    },
    end: (trailers) => {
      if (final !== undefined) whole = { ...final, body, trailers }
    },
  })
  parser.begin(isHead)
  try {
    // One reply answers one request: what is behind it belongs to nobody.
    for (const [i, part] of parts.filter(({ length }) => length > 0).entries()) {
      if (i === 0 && first === 'text') parser.takeText(part.toString('latin1'))
      else parser.take(part)
    }
    parser.close()
    return whole
  } catch (error) {
    if (error instanceof WireError) return undefined
    throw error
  }
}

let answer = ''
const server = net.createServer((socket) => {
  socket.on('error', () => {})
  socket.once('data', () => socket.end(answer, 'latin1'))
})
t.before(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)))
t.teardown(() => server.close())

function readByUndici(text: string, method: 'GET' | 'HEAD'): Promise<Read | undefined> {
  answer = text
  const client = new Client(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  return new Promise((resolve) => {
    let status = 0
    let fields: string[] = []
    let body = ''
    const end = (found: Read | undefined): void => {
      void client.destroy()
      resolve(found)
    }
    client.dispatch(
      { path: '/', method, reset: true },
      {
        onRequestStart: () => {},
        onResponseStart: (controller, code) => {
          status = code
          fields = latin1(controller.rawHeaders)
        },
        onResponseData: (_, chunk) => {
          body += chunk.toString('latin1')
        },
        onResponseEnd: (controller) =>
          end({ status, fields, body, trailers: latin1(controller.rawTrailers) }),
        onResponseError: () => end(undefined),
      },
    )
  })
}

/** undici leaves the blanks behind a value (RFC 9112 5.1 takes them away). */
function latin1(raw: unknown): string[] {
  if (!Array.isArray(raw)) return []
  return raw.map((part) => (part as Buffer).toString('latin1').replace(/[ \t]+$/, ''))
}

/** Blanks behind a length (RFC 9112 5 allows them), and a field that RFC 9110 does not know. */
const refusedByUndiciAlone = /^(?:Content-Length:.* |Proxy-Connection:.*)\r$/im

t.test('it reads the same wherever the reply is cut', async () => {
  await search(
    3_000,
    fc.property(replies, places, fc.boolean(), (text, at, isHead) => {
      const bytes = Buffer.from(text, 'latin1')
      const whole = JSON.stringify(read([bytes], isHead))
      return JSON.stringify(read(cut(bytes, at), isHead)) === whole
    }),
  )
})

t.test('what it takes undici takes, with the same meaning', async (t) => {
  let taken = 0
  await search(
    2_000,
    fc.asyncProperty(replies, fc.boolean(), async (text, isHead) => {
      const mine = read([Buffer.from(text, 'latin1')], isHead)
      if (mine === undefined || refusedByUndiciAlone.test(text)) return
      taken++
      const theirs = await readByUndici(text, isHead ? 'HEAD' : 'GET')
      if (JSON.stringify(theirs) === JSON.stringify(mine)) return
      throw new Error(`${JSON.stringify(mine)}, but undici ${JSON.stringify(theirs)}`)
    }),
  )
  t.ok(taken > 200, `${taken} were taken`)
})

for (const [sentence, text] of [
  ['a bare LF, which its sender may think an end', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n'],
  ['what does not begin as HTTP/1.1', 'SSH-2.0-OpenSSH_9.2\r\n'],
  ['a head that is too long', `HTTP/1.1 200 OK\r\nA: ${'x'.repeat(headBytesMax)}`],
  [
    'trailers that are too long',
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: ${'x'.repeat(headBytesMax)}`,
  ],
  [
    'a chunk line that is too long',
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;${'x'.repeat(5_000)}`,
  ],
] as const) {
  t.test(`it refuses ${sentence} before more has come`, (t) => {
    const parser = new ReplyParser({
      head: () => {},
      data: () => {},
      text: () => {},
      end: () => {},
    })
    parser.begin(false)
    t.throws(() => parser.take(Buffer.from(text, 'latin1')), { name: 'WireError' })
    t.end()
  })
}

t.test('status lines', (t) => {
  const rows: [string, number | undefined][] = [
    ['HTTP/1.1 200 OK', 200],
    ['HTTP/1.1 200', 200],
    ['HTTP/1.0 404 ', 404],
    ['HTTP/1.1 999 \xe9', 999],
    ['HTTP/1.1 099 OK', undefined],
    ['HTTP/1.1 2a0 OK', undefined],
    ['HTTP/1.1 20 OK', undefined],
    ['HTTP/1.1 2000 OK', undefined],
    ['HTTP/1.1 200x', undefined],
    ['HTTP/1.1 200\tOK', undefined],
    ['HTTP/1.1\t200 OK', undefined],
    ['HTTP/1.1  200 OK', undefined],
    ['HTTP/1.2 200 OK', undefined],
    ['HTTP/1.10 200 OK', undefined],
    ['HTTP/2.0 200 OK', undefined],
    ['http/1.1 200 OK', undefined],
    ['HTTP/1.1', undefined],
  ]
  for (const [line, status] of rows) {
    const reply = Buffer.from(`${line}\r\nContent-Length: 0\r\n\r\n`, 'latin1')
    t.equal(read([reply])?.status, status, JSON.stringify(line))
  }
  t.end()
})

t.test('it refuses bytes that answer nothing', (t) => {
  const parser = new ReplyParser({ head: () => {}, data: () => {}, text: () => {}, end: () => {} })
  t.throws(() => parser.take(Buffer.from('x')), { name: 'WireError' })
  t.end()
})

for (const [sentence, head, isHead, expected] of [
  ['HTTP/1.1 stays', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', false, true],
  [
    'close is believed',
    'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, CLOSE\r\n\r\n',
    false,
    false,
  ],
  ['HTTP/1.0 does not stay', 'HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n', false, false],
  [
    'HTTP/1.0 that says so stays',
    'HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n',
    false,
    true,
  ],
  ['a reply to HEAD has no body', 'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n', true, true],
  ['304 has none', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n', false, true],
] as const) {
  t.test(`the connection afterwards: ${sentence}`, (t) => {
    let ended = false
    const parser = new ReplyParser({
      head: () => {},
      data: () => {},
      text: () => {},
      end: () => {
        ended = true
      },
    })
    parser.begin(isHead)
    parser.take(Buffer.from(head, 'latin1'))
    t.ok(ended)
    t.equal(parser.keepsAlive, expected)
    t.end()
  })
}
