// A change of a token acts on what is open: downloads, uploads, event streams and WebSockets of a revoked
// token end within a second; expiry ends only what has no end of its own.

import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import { connect } from '../servers/raw-client.ts'
import { type Recorder, startRecorder } from '../servers/recorder.ts'

/** Between the end of the command and the end of what is open. */
const noticeMs = 1_000
const expiryMs = 2_500

type Token = { readonly id: string; readonly token: string }

async function makeToken(gateway: Gateway, ...args: string[]): Promise<Token> {
  const { stdout } = await gateway.command('token', 'create', '--scope', 'read', '--json', ...args)
  return JSON.parse(stdout) as Token
}

/** Revokes, and resolves with the milliseconds from the command's end to the given end. */
async function revoke(gateway: Gateway, id: string, ended: Promise<unknown>): Promise<number> {
  const { code } = await gateway.command('token', 'revoke', id)
  const at = performance.now()
  if (code !== 0) throw new Error('token revoke failed')
  await ended
  return performance.now() - at
}

async function open(t: Test): Promise<{ gateway: Gateway; upstream: Recorder; sockets: string }> {
  const upstream = await startRecorder()
  const server = http.createServer()
  const websockets = new WebSocketServer({ server })
  websockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const sockets = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const gateway = await startGateway({
    upstreams: { api: { url: upstream.url }, sockets: { url: sockets } },
    scopes: { read: 'Read and write everything' },
    routes: [
      { path: '/api/{rest...}', upstream: 'api', allow: { GET: 'read', PUT: 'read' } },
      { path: '/ws', upstream: 'sockets', allow: 'read' },
    ],
  })
  t.teardown(async () => {
    await gateway.stop()
    await upstream.stop()
    for (const client of websockets.clients) client.terminate()
    server.closeAllConnections()
    server.close()
  })
  return { gateway, upstream, sockets }
}

function head(method: string, path: string, { token }: Pick<Token, 'token'>, more = ''): string {
  return `${method} ${path} HTTP/1.1\r\nHost: a.test\r\nOSF-TOKEN: ${token}\r\n${more}\r\n`
}

t.test('a revoked token', async (t) => {
  const { gateway, upstream } = await open(t)

  await t.test('ends its event streams, and the upstream sees them end', async (t) => {
    upstream.respond(() => ({
      raw: 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n',
      ending: 'stall',
    }))
    const token = await makeToken(gateway)
    const client = await connect(gateway.url)
    client.write(head('GET', '/api/events', token))
    await client.receive('the first event', (text) => text.includes('data: 1'))
    const ms = await revoke(gateway, token.id, once(client.socket, 'close'))
    t.ok(ms < noticeMs, `ended after ${Math.round(ms)} ms`)
    t.notMatch(client.received(), /0\r\n\r\n$/, 'never a clean end')
    const line = await gateway.logged('the end', ({ path }) => path === '/api/events')
    t.match(line, { outcome: 'deny', reason: 'invalid_token', audit: true, tokenId: token.id })
  })

  await t.test('ends its uploads with 401, and the upstream never sees them whole', async (t) => {
    upstream.respond(() => undefined)
    const token = await makeToken(gateway)
    const client = await connect(gateway.url)
    client.write(head('PUT', '/api/upload', token, 'Content-Length: 100\r\n'))
    client.write('x'.repeat(50))
    await upstream.request('the upload', (request) => request.bodyBytes === 50)
    const replied = client.receive('the reply', (text) => text.includes('token revoked on'))
    const ms = await revoke(gateway, token.id, replied)
    t.ok(ms < noticeMs, `ended after ${Math.round(ms)} ms`)
    t.match(client.received(), /^HTTP\/1.1 401 /)
    t.match(client.received(), /"code":"invalid_token"/)
    client.close()
    const cut = await upstream.request('its end', ({ state, target }) => {
      return state === 'cut' && target === '/api/upload'
    })
    t.equal(cut.bodyBytes, 50)
  })

  await t.test('closes its WebSockets with 1008 and the reason', async (t) => {
    const token = await makeToken(gateway)
    const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/ws`, {
      headers: { 'OSF-TOKEN': token.token },
    })
    await once(socket, 'open')
    const closed = once(socket, 'close') as Promise<[number, Buffer]>
    const ms = await revoke(gateway, token.id, closed)
    const [code, reason] = await closed
    t.ok(ms < noticeMs, `ended after ${Math.round(ms)} ms`)
    t.equal(code, 1008)
    t.match(String(reason), /^token revoked on 20/)
  })

  await t.test('leaves the requests of other tokens alone', async (t) => {
    upstream.respond(() => ({ raw: 'HTTP/1.1 200 OK\r\n\r\nfirst', ending: 'stall' }))
    const [kept, revoked] = [await makeToken(gateway), await makeToken(gateway)]
    const [one, other] = [await connect(gateway.url), await connect(gateway.url)]
    one.write(head('GET', '/api/one', kept))
    other.write(head('GET', '/api/other', revoked))
    for (const client of [one, other]) {
      await client.receive('the start', (text) => text.includes('first'))
    }
    await revoke(gateway, revoked.id, once(other.socket, 'close'))
    t.notOk(one.closed())
    one.close()
  })
})

t.test('an expired token', async (t) => {
  const { gateway, upstream } = await open(t)
  upstream.respond(({ target }) => ({
    raw: `HTTP/1.1 200 OK\r\nContent-Type: ${target === '/api/events' ? 'text/event-stream' : 'text/plain'}\r\n\r\nfirst`,
    ending: 'stall',
  }))
  const expires = new Date(Date.now() + expiryMs)
  // Without a process of its own, which might take most of that time.
  const secret = await gateway.token('--scope', 'read', '--expires', expires.toISOString())
  const token = { token: secret }
  const [events, transfer] = [await connect(gateway.url), await connect(gateway.url)]
  events.write(head('GET', '/api/events', token))
  transfer.write(head('GET', '/api/file', token))
  for (const client of [events, transfer]) {
    await client.receive('the start', (text) => text.includes('first'))
  }
  const socket = new WebSocket(`${gateway.url.replace('http', 'ws')}/ws`, {
    headers: { 'OSF-TOKEN': token.token },
  })
  await once(socket, 'open')

  const [[code, reason]] = await Promise.all([
    once(socket, 'close') as Promise<[number, Buffer]>,
    once(events.socket, 'close'),
  ])
  const late = Date.now() - expires.getTime()
  t.ok(late >= 0 && late < noticeMs, `ends WebSockets and event streams: ${late} ms after`)
  t.equal(code, 1008)
  t.match(String(reason), /^token expired on 20/)
  t.notOk(transfer.closed(), 'but no transfer')
  transfer.close()
})
