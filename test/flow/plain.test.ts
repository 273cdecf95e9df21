// Plain requests and others on one connection: whichever way a request is read, its client sees the same.

import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { cut, places, search } from '../search.ts'
import { startGateway } from '../servers/gateway.ts'
import { type Connection, connect, wholeReplyBytes } from '../servers/raw-client.ts'
import { until } from '../servers/ready.ts'
import { type Recorded, startRecorder } from '../servers/recorder.ts'
import { writeRequest } from './raw-exchange.ts'

const upstream = await startRecorder()
const gateway = await startGateway({
  upstreams: { api: { url: upstream.url } },
  scopes: { read: 'Read' },
  routes: [{ path: '/public/{rest...}', upstream: 'api', allow: { '*': 'public' } }],
})
t.teardown(async () => {
  await gateway.stop()
  await upstream.stop()
})

async function drained(connection: Connection): Promise<void> {
  await until(
    'it is sent',
    () => connection.closed() || !connection.socket.writableNeedDrain || undefined,
  )
}

/** Field names of a reply in lower case, in their order; those that differ each time are left out. */
function names(reply: string): string[] {
  const [head = ''] = reply.split('\r\n\r\n')
  const lines = head.split('\r\n').slice(1)
  return lines.map((line) => line.slice(0, line.indexOf(':')).toLowerCase()).sort()
}

async function exchange(pieces: readonly string[]): Promise<string> {
  const connection = await connect(gateway.url)
  try {
    for (const piece of pieces) connection.write(piece)
    await until(
      'the reply',
      () => wholeReplyBytes(connection.received()) !== undefined || undefined,
    )
    return connection.received()
  } finally {
    connection.close()
  }
}

const plain = writeRequest('GET /public/plain')
/** `Content-Length: 0` makes it node:http's. */
const other = writeRequest('GET /public/plain', ['Content-Length: 0'])

t.test('a plain request and the same one read by node:http get the same reply', async (t) => {
  upstream.respond(() => ({ fields: ['Content-Type', 'text/plain', 'X-A', 'b'], body: 'hello' }))
  t.teardown(() => upstream.respond(() => undefined))
  const [one, two] = [await exchange([plain]), await exchange([other])]
  t.strictSame(names(one), names(two))
  t.equal(one.slice(-5), two.slice(-5))
})

for (const [sentence, target] of [
  ['is refused', '/nowhere'],
  ['has a bad target', '/public/%zz'],
] as const) {
  t.test(`so does one that ${sentence}`, async (t) => {
    const one = await exchange([writeRequest(`GET ${target}`)])
    const two = await exchange([writeRequest(`GET ${target}`, ['Content-Length: 0'])])
    t.strictSame(names(one), names(two))
    t.equal(one.slice(0, 20), two.slice(0, 20))
  })
}

t.test('the kinds follow each other on one connection', async (t) => {
  const connection = await connect(gateway.url)
  t.teardown(() => connection.close())
  const replies = (): number => connection.received().split('HTTP/1.1 200 ').length - 1
  const requests = [
    plain,
    plain,
    writeRequest('DELETE /public/plain'),
    writeRequest('PUT /public/plain', ['Content-Length: 2'], 'hi'),
    plain,
    writeRequest('PUT /public/plain', ['Content-Length: 02'], 'hi'),
    writeRequest('POST /public/plain'),
    other,
    plain,
  ]
  for (const [place, request] of requests.entries()) {
    connection.write(request)
    await until('its reply', () => replies() === place + 1 || undefined)
  }
  t.equal(replies(), requests.length)
})

t.test('a head that comes in two pieces is read', async (t) => {
  const connection = await connect(gateway.url)
  t.teardown(() => connection.close())
  connection.write(plain)
  await until('the first reply', () => /200 OK/.test(connection.received()) || undefined)
  connection.write(plain.slice(0, 20))
  await new Promise((resolve) => setImmediate(resolve))
  connection.write(plain.slice(20))
  await until('the second', () => connection.received().match(/200 OK/g)?.length === 2 || undefined)
  t.pass()
})

/** As a client sends it that does not know how long it is. */
function inChunks(body: Buffer, chunkBytes: number): Buffer {
  const parts: (Buffer | string)[] = []
  for (let at = 0; at < body.length; at += chunkBytes) {
    const part = body.subarray(at, at + chunkBytes)
    parts.push(`${part.length.toString(16)}\r\n`, part, '\r\n')
  }
  parts.push('0\r\n\r\n')
  return Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : part)))
}

t.test(
  'a body arrives whole however its request was cut, and the next request behind it',
  async (t) => {
    const sizes = fc.constantFrom(1, 300, 4_000, 5_000, 70_000, 100_000, 300_000)
    /** Bytes of a chunk; 0: with its length. */
    const framings = fc.constantFrom(0, 0, 100, 5_000, 32_768, 200_000)
    let made = 0
    await search(
      60,
      fc.asyncProperty(sizes, framings, places, fc.boolean(), fc.boolean(), async (...values) => {
        const [size, chunkBytes, at, ahead, slow] = values
        const [target, behind] = [`/public/body-${++made}`, `/public/behind-${made}`]
        const body = randomBytes(size)
        const isChunked = chunkBytes > 0
        const framing = isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${size}`
        const request = Buffer.concat([
          Buffer.from(writeRequest(`PUT ${target}`, [framing])),
          isChunked ? inChunks(body, chunkBytes) : body,
          Buffer.from(ahead ? writeRequest(`GET ${behind}`) : ''),
        ])
        const connection = await connect(gateway.url)
        for (const piece of cut(request, at)) {
          connection.write(piece)
          if (slow && at.length < 5) await wait(1)
        }
        const replies = (text: string): number => text.split('HTTP/1.1 200 ').length - 1
        const replied = (count: number): Promise<unknown> => {
          const what = `${count} replies to ${size} bytes, ${framing}, cut at ${at}`
          return until(what, () => replies(connection.received()) === count || undefined, 3_000)
        }
        await replied(ahead ? 2 : 1)
        if (!ahead) connection.write(writeRequest(`GET ${behind}`))
        await replied(2)
        connection.close()
        const got = upstream.requests.filter(({ target: one }) => one === target || one === behind)
        const sha256 = createHash('sha256').update(body).digest('hex')
        const seen = got.map((one) => [one.target, one.bodyBytes, one.values('content-length')])
        const expected = [
          [target, size, isChunked ? [] : [`${size}`]],
          [behind, 0, []],
        ]
        if (JSON.stringify(seen) !== JSON.stringify(expected) || got[0]?.bodySha256 !== sha256) {
          throw new Error(`${size} bytes: the upstream saw ${JSON.stringify(seen)}`)
        }
      }),
    )
    t.ok(made > 0)
  },
)

t.test('what is left of a refused body is never a request', async (t) => {
  const hidden = writeRequest('GET /public/hidden')
  for (const filler of [0, 5_000, 100_000]) {
    const length = filler + 2 * hidden.length
    // With a zero first the length is node:http's.
    for (const [framing, start, end] of [
      [`Content-Length: ${length}`, '', ''],
      [`Content-Length: 0${length}`, '', ''],
      ['Transfer-Encoding: chunked', `${length.toString(16)}\r\n`, '\r\n0\r\n\r\n'],
    ] as const) {
      const connection = await connect(gateway.url)
      connection.write(writeRequest('PUT /nowhere', [framing]))
      connection.write(start + 'x'.repeat(filler))
      await connection.receive('the refusal', (text) => /^HTTP\/1\.1 404 /.test(text))
      connection.write(hidden)
      connection.write(hidden + end)
      const all = await connection.receiveAll()
      t.match(all, /\r\nConnection: close\r\n/)
      t.equal(all.split('HTTP/1.1 ').length, 2, 'one reply')
    }
  }
  t.notOk(upstream.requests.some(({ target }) => target === '/public/hidden'))
})

t.test('a body that waits to be asked for is asked for where it is permitted', async (t) => {
  // With a zero first the length is node:http's.
  for (const [framing, body] of [
    ['Content-Length: 5', 'words'],
    ['Content-Length: 05', 'words'],
    ['Transfer-Encoding: chunked', '5\r\nwords\r\n0\r\n\r\n'],
  ] as const) {
    const fields = [framing, 'Expect: 100-continue']
    const connection = await connect(gateway.url)
    connection.write(writeRequest('PUT /public/asked', fields))
    const asked = await connection.receive('the interim reply', (text) => text.includes('\r\n\r\n'))
    t.equal(asked, 'HTTP/1.1 100 Continue\r\n\r\n', framing)
    connection.write(body)
    await connection.receive('its reply', (text) => /HTTP\/1\.1 200 /.test(text))
    connection.write(plain)
    await connection.receive('the next', (text) => text.split('HTTP/1.1 200 ').length === 3)
    connection.close()
    const refused = await connect(gateway.url)
    refused.write(writeRequest('PUT /nowhere', fields))
    const reply = await refused.receiveAll()
    t.match(reply, /^HTTP\/1\.1 404 .*\r\nConnection: close\r\n/s, framing)
  }
})

t.test('nor is what comes when a refused body is no longer read', async (t) => {
  const hidden = `\n\n${writeRequest('GET /public/hidden')}`
  // More than the gateway drops; empty lines before a request are passed over.
  const block = Buffer.from(('\n'.repeat(200_000) + hidden).repeat(5))
  for (const [framing, start] of [
    ['Content-Length: 300000000', ''],
    ['Content-Length: 0300000000', ''],
    ['Transfer-Encoding: chunked', '11e1a300\r\n'],
  ] as const) {
    const connection = await connect(gateway.url)
    connection.write(writeRequest('PUT /nowhere', [framing]) + start)
    for (let sent = 0; sent < 100_000_000 && !connection.closed(); sent += block.length) {
      if (!connection.socket.write(block)) await drained(connection)
    }
    t.equal((await connection.receiveAll()).split('HTTP/1.1 ').length, 2, 'one reply')
  }
  t.notOk(upstream.requests.some(({ target }) => target === '/public/hidden'))
})

t.test('chunks that break off are told, and what is behind them is never a request', async (t) => {
  const hidden = writeRequest('GET /public/hidden')
  const framing = 'Transfer-Encoding: chunked'
  // Where Connection names a field it is node:http's.
  for (const [path, fields] of [
    ['/public/broken-plain', [framing]],
    ['/public/broken', [framing, 'Connection: x-a']],
  ] as const) {
    const connection = await connect(gateway.url)
    connection.write(writeRequest(`PUT ${path}`, fields, '5\r\nwords\r\n'))
    const hasBegun = ({ target, bodyBytes }: Recorded) => target === path && bodyBytes === 5
    await upstream.request('the start', hasBegun)
    connection.write(`6\r\nwordswords\r\n0\r\n\r\n${hidden}`)
    const all = await connection.receiveAll()
    t.match(all, /^HTTP\/1\.1 400 .*\r\nConnection: close\r\n.*well-formed HTTP\/1\.1: \w/s)
    t.equal(all.split('HTTP/1.1 ').length, 2, 'one reply')
  }
  t.notOk(upstream.requests.some(({ target }) => target === '/public/hidden'))
})

t.test('a refused body that came whole leaves the connection open', async (t) => {
  const connection = await connect(gateway.url)
  t.teardown(() => connection.close())
  connection.write(writeRequest('PUT /nowhere', [], 'hi'))
  await connection.receive('the refusal', (text) => /^HTTP\/1\.1 404 /.test(text))
  connection.write(plain)
  await connection.receive('the next reply', (text) => /HTTP\/1\.1 200 /.test(text))
  t.pass()
})

t.test('plain requests sent ahead are answered in their order', async (t) => {
  const targets = ['one', 'two', 'three', 'four']
  upstream.respond(({ target }) => ({ fields: ['X-Target', target] }))
  t.teardown(() => upstream.respond(() => undefined))
  const connection = await connect(gateway.url)
  t.teardown(() => connection.close())
  connection.write(targets.map((name) => writeRequest(`GET /public/${name}`)).join(''))
  const seen = (): string[] =>
    [...connection.received().matchAll(/X-Target: \/public\/(\w+)/g)].map(([, name]) => name ?? '')
  await until('all replies', () => seen().length === targets.length || undefined)
  t.strictSame(seen(), targets)
})

t.test('bytes behind a reply are never the answer to the next request', async (t) => {
  const forged = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged'
  const raw = `HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue${forged}`
  upstream.respond(({ target }) => (target === '/public/first' ? { raw } : undefined))
  t.teardown(() => upstream.respond(() => undefined))
  const connection = await connect(gateway.url)
  t.teardown(() => connection.close())
  connection.write(writeRequest('GET /public/first') + writeRequest('GET /public/second'))
  await until(
    'both replies',
    () => connection.received().match(/HTTP\/1\.1 /g)?.length === 2 || undefined,
  )
  t.match(connection.received(), /true/)
  t.notMatch(connection.received(), /forged/)
  t.match(connection.received(), /"target":"\/public\/second"/)
})

t.test('a reply without a length is chunked, with its trailers', async (t) => {
  upstream.respond(() => ({ chunks: ['ab', 'c'], trailers: ['X-Sum', '3'] }))
  t.teardown(() => upstream.respond(() => undefined))
  const reply = await exchange([plain])
  t.match(reply, /\r\nTransfer-Encoding: chunked\r\n/)
  t.match(reply, /\r\nX-Sum: 3\r\n\r\n$/)
})

t.test('all that came upstream was well-formed', async (t) => {
  t.strictSame(upstream.violations, [])
})
