// What clients can do with one connection (RFC 9112 9.3): requests that are sent ahead, also such as leave
// HTTP, and connections that are not given back. None of it ends the process, changes the order of replies
// or keeps a connection.

import { readdirSync } from 'node:fs'
import net, { type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import { type Connection, connect, send } from '../servers/raw-client.ts'
import { until } from '../servers/ready.ts'
import { type Recorder, startRecorder } from '../servers/recorder.ts'
import { ask, withConnection, writeRequest } from './raw-exchange.ts'

const upstream: Recorder = await startRecorder()
const gateway: Gateway = await startGateway({
  upstreams: { api: { url: upstream.url, timeouts: { idle: '1s' } } },
  scopes: { read: 'Read' },
  routes: [
    { path: '/public/{rest...}', upstream: 'api', allow: { '*': 'public' } },
    { path: '/read/{rest...}', upstream: 'api', allow: { GET: 'read' } },
    { protocol: 'registry', upstream: 'api', allow: { catalog: 'authenticated', pull: 'read' } },
  ],
})
t.teardown(async () => {
  await gateway.stop()
  await upstream.stop()
})

const handshakeFields = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
]
const handshake = writeRequest('GET /read/chat', handshakeFields)
const tunnel = writeRequest('CONNECT a:1')

/** Holds the replies to requests whose target says so, until the test lets them go. */
function hold(t: Test): () => void {
  const held = Promise.withResolvers<undefined>()
  upstream.respond((request) => (request.target.includes('held') ? held.promise : undefined))
  t.teardown(() => upstream.respond(() => undefined))
  return () => held.resolve(undefined)
}

/** The status codes of what has come, in order. */
function statuses(received: string): string[] {
  return [...received.matchAll(/^HTTP\/1\.1 (\d{3}) /gm)].map(([, status]) => status as string)
}

async function open(request: string): Promise<Connection> {
  const connection = await connect(gateway.url)
  connection.write(request)
  return connection
}

t.test('requests that are sent ahead', async (t) => {
  await t.test('reach the upstream one after the other', async (t) => {
    const letGo = hold(t)
    const before = upstream.requests.length
    await withConnection(gateway.url, async (connection) => {
      connection.write(
        writeRequest('GET /public/held') +
          writeRequest('POST /public/second', [], 'abc') +
          writeRequest('GET /public/third', ['Connection: close']),
      )
      await upstream.request('the first', ({ target }) => target === '/public/held')
      await ask(gateway.url, 'GET /public/another')
      const arrived = () => upstream.requests.slice(before).map(({ target }) => target)
      t.strictSame(arrived(), ['/public/held', '/public/another'], 'the second waits')
      letGo()
      t.strictSame(statuses(await connection.receiveAll()), ['200', '200', '200'])
      t.strictSame(arrived().slice(2), ['/public/second', '/public/third'])
    })
  })

  await t.test('are forgotten when their client leaves', async (t) => {
    const letGo = hold(t)
    const connection = await open(
      writeRequest('GET /public/held/1') + writeRequest('GET /public/forgotten'),
    )
    const first = await upstream.request('it', ({ target }) => target === '/public/held/1')
    connection.close()
    const line = await gateway.logged('its end', (entry) => entry.path === '/public/held/1')
    t.equal(line.reason, 'client_gone', first.target)
    letGo()
    await ask(gateway.url, 'GET /public/later')
    t.notOk(upstream.requests.some(({ target }) => target === '/public/forgotten'))
  })

  await t.test('cost the connection where they are too many', async (t) => {
    hold(t)
    const before = upstream.requests.length
    const connection = await open(writeRequest('GET /public/held/2').repeat(5_000))
    await connection.receiveAll()
    t.ok(upstream.requests.length - before <= 1, 'one at most has arrived')
  })
})

for (const [what, ahead, status] of [
  ['a WebSocket handshake', handshake, '401'],
  ['CONNECT', tunnel, '405'],
] as const) {
  t.test(`${what} behind a request that is not answered yet waits for its turn`, async (t) => {
    const letGo = hold(t)
    const connection = await open(writeRequest(`GET /public/held/${status}`) + ahead)
    await upstream.request('it', ({ target }) => target === `/public/held/${status}`)
    t.equal(connection.received(), '')
    letGo()
    t.strictSame(statuses(await connection.receiveAll()), ['200', status])
  })

  t.test(`${what} behind a request whose client is cut off ends nothing`, async (t) => {
    hold(t)
    const connection = await open(writeRequest(`GET /public/held/cut/${status}`) + ahead)
    await upstream.request('it', ({ target }) => target === `/public/held/cut/${status}`)
    connection.socket.resetAndDestroy()
    t.equal((await ask(gateway.url, 'GET /public/alive')).status, 200)
  })

  t.test(`A connection is given back after ${what} that is refused`, async (t) => {
    const descriptors = (): number => readdirSync(`/proc/${gateway.pid}/fd`).length
    await ask(gateway.url, 'GET /public/warm')
    const before = descriptors()
    const clients: Socket[] = []
    for (const behind of ['', 'x'.repeat(200_000)]) {
      const client = net.connect({ port: Number(new URL(gateway.url).port), allowHalfOpen: true })
      clients.push(client.on('error', () => {}).resume())
      client.write(ahead + behind)
    }
    await until('they are open', () => descriptors() > before || undefined)
    await until(
      'they are closed, though the clients stay',
      () => descriptors() <= before || undefined,
    )
    for (const client of clients) client.destroy()
    t.pass()
  })
}

t.test('A client that does not read the refusal of a handshake is cut', async (t) => {
  upstream.respond(() => ({ status: '200 OK', body: Buffer.alloc(8 * 2 ** 20) }))
  t.teardown(() => upstream.respond(() => undefined))
  const before = upstream.open
  const client = await connect(gateway.url)
  client.socket.pause()
  client.write(handshake.replace('/read/', '/public/unread/'))
  await upstream.request('it', ({ target }) => target.startsWith('/public/unread/'))
  await until('the upstream is let go', () => upstream.open <= before || undefined)
  client.close()
  t.pass()
})

t.test('A body that breaks off as it begins ends nothing but its own request', async (t) => {
  const fields = ['Transfer-Encoding: chunked']
  const broken = writeRequest('PUT /public/broken', fields, 'zz\r\n')
  const replies = await Promise.all(Array.from({ length: 20 }, () => send(gateway.url, broken)))
  t.strictSame([...new Set(replies.flatMap(statuses))], ['400'])
  t.equal((await ask(gateway.url, 'GET /public/alive')).status, 200)
})

t.test('A question of the gateway itself ends with the client for whom it is asked', async (t) => {
  const token = await gateway.token('--subject', 'ada', '--scope', 'read')
  hold(t)
  const before = upstream.open
  const target = '/v2/_catalog?n=1000'
  upstream.respond(() => new Promise(() => {}))
  const client = await open(writeRequest('GET /v2/_catalog', [`OSF-TOKEN: ${token}`]))
  await upstream.request('the question', (request) => request.target === target)
  client.close()
  await until('it is ended', () => upstream.open <= before || undefined)
  t.pass()
})

t.test('all that ever came upstream was well-formed', async (t) => {
  t.strictSame(upstream.violations, [])
})
