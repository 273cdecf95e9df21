// WebSockets (RFC 6455) through the gateway, with a real client and a real server: decided as any request
// is before the upstream sees a byte, then passed as they are, and closed with a code when they must end.

import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import net, { type AddressInfo, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { type ClientOptions, WebSocket, WebSocketServer } from 'ws'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import { connect, send } from '../servers/raw-client.ts'
import { closedPort, until } from '../servers/ready.ts'
import { type Recorder, type Script, startRecorder } from '../servers/recorder.ts'

const mebibyte = 2 ** 20
/** How soon one side hears that the other has left. */
const noticeMs = 1_000
/** RFC 6455 7.4.1. */
const goingAway = 1001
const abnormal = 1006

type Echo = {
  readonly url: string
  /** Handshakes as they arrived. */
  readonly handshakes: readonly IncomingMessage[]
  /** Connections that are open. */
  readonly open: number
  /** The server's end of the next WebSocket, which does not echo. */
  next(): Promise<WebSocket>
  stop(): Promise<void>
}

/** A server that sends every message back, speaks the subprotocol `chat`, and offers compression. */
async function startEcho(): Promise<Echo> {
  const handshakes: IncomingMessage[] = []
  const sockets = new Set<Socket>()
  const waiting: ((socket: WebSocket) => void)[] = []
  const server = http.createServer()
  const handler = new WebSocketServer({
    noServer: true,
    perMessageDeflate: true,
    handleProtocols: (offered) => (offered.has('chat') ? 'chat' : false),
  })
  handler.on('headers', (fields) => fields.push('Set-Cookie: a=1', 'Set-Cookie: b=2'))
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('upgrade', (request, socket, head) => {
    handshakes.push(request)
    handler.handleUpgrade(request, socket, head, (websocket) => {
      websocket.on('error', () => {})
      const taker = waiting.shift()
      if (taker !== undefined) taker(websocket)
      else websocket.on('message', (data, isBinary) => websocket.send(data, { binary: isBinary }))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    handshakes,
    get open() {
      return sockets.size
    },
    next: () => new Promise((resolve) => waiting.push(resolve)),
    stop: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const echo: Echo = await startEcho()
const api: Recorder = await startRecorder()
const identity = { subject: 'X-Remote-User', token: 'X-Token-Id', scopes: 'X-Token-Scopes' }
const upstreams = {
  echo: { url: echo.url, identity },
  idle: { url: echo.url, timeouts: { idle: '1s' } },
  api: { url: api.url, timeouts: { headers: '1s' } },
  down: { url: `http://127.0.0.1:${closedPort}` },
}
const configuration = {
  upstreams,
  scopes: { 'chat:use': 'Chat', 'chat:other': 'Nothing here' },
  routes: Object.keys(upstreams).map((upstream) => ({
    path: `/${upstream}/{rest...}`,
    upstream,
    methodOverride: 'ignored',
    allow: { GET: 'chat:use', POST: 'chat:use' },
  })),
}
const gateway: Gateway = await startGateway(configuration)
const token = await gateway.token('--subject', 'ada', '--scope', 'chat:use')
const other = await gateway.token('--subject', 'ada', '--scope', 'chat:other')
t.teardown(async () => {
  await gateway.stop()
  await api.stop()
  await echo.stop()
})

type Handshake = ClientOptions & { readonly token?: string; readonly protocols?: string[] }

/** A WebSocket, opening. It is ended with the test. */
function dial(t: Test, path: string, options: Handshake = {}, to = gateway): WebSocket {
  const { protocols = [], headers, ...rest } = options
  const client = new WebSocket(`${to.url.replace('http', 'ws')}${path}`, protocols, {
    headers: { 'OSF-TOKEN': options.token ?? token, ...headers },
    ...rest,
  })
  client.on('error', () => {})
  t.teardown(() => client.terminate())
  return client
}

/** An open WebSocket. */
async function open(t: Test, path: string, options: Handshake = {}, to = gateway) {
  const client = dial(t, path, options, to)
  await once(client, 'open')
  return client
}

async function closeCode(client: WebSocket): Promise<number> {
  const [code] = (await once(client, 'close')) as [number]
  return code
}

/** The HTTP reply to a handshake that is refused. */
async function refusal(client: WebSocket): Promise<{ reply: IncomingMessage; body: string }> {
  const [, reply] = (await once(client, 'unexpected-response')) as [unknown, IncomingMessage]
  let body = ''
  for await (const chunk of reply) body += String(chunk)
  return { reply, body }
}

/** The bytes of a handshake; `fields` are lines. */
function handshake(target: string, fields: readonly string[] = [], line = ''): string {
  return [
    line || `GET ${target} HTTP/1.1`,
    ...['Host: a', `OSF-TOKEN: ${token}`, 'Connection: Upgrade', 'Upgrade: websocket'],
    ...['Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='],
    ...fields,
    '\r\n',
  ].join('\r\n')
}

/** The answer to that key (RFC 6455 1.3). */
const rightAccept = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo='

t.test('Messages pass both ways, of any kind and size', async (t) => {
  const client = await open(t, '/echo/')
  for (const [sentence, message] of [
    ['text', 'häl·lo'],
    ['nothing', ''],
    ['bytes', Buffer.from([0, 255, 13, 10])],
    ['8 MiB', Buffer.alloc(8 * mebibyte, 'scope')],
  ] as [string, string | Buffer][]) {
    client.send(message)
    const [data, isBinary] = (await once(client, 'message')) as [Buffer, boolean]
    t.equal(isBinary, typeof message !== 'string', sentence)
    t.ok(data.equals(Buffer.from(message)), sentence)
  }
})

t.test('What comes along with either handshake is the first of the stream', async (t) => {
  const accepted = echo.next()
  const connection = await connect(gateway.url)
  t.teardown(() => connection.close())
  // A masked text frame `hi`, in the same packet as the head.
  connection.write(`${handshake('/echo/early')}\x81\x82\0\0\0\0hi`)
  const server = await accepted
  server.send('welcome')
  const [data] = (await once(server, 'message')) as [Buffer]
  t.equal(String(data), 'hi')
  await connection.receive('the first frame', (text) => text.endsWith('\r\n\r\n\x81\x07welcome'))
})

for (const [sentence, presented, status, code] of [
  ['no token', '', 401, 'token_required'],
  ['an unknown token', 'sgt_unknown', 401, 'invalid_token'],
  ['a token that lacks the scope', other, 403, 'insufficient_scope'],
] as const) {
  t.test(
    `With ${sentence} the handshake is ${status}, and the upstream sees nothing`,
    async (t) => {
      const before = echo.handshakes.length
      const { reply, body } = await refusal(dial(t, '/echo/', { token: presented }))
      t.equal(reply.statusCode, status)
      t.match(JSON.parse(body), { code, status, requestId: reply.headers['x-request-id'] })
      t.match(reply.headers['www-authenticate'], /^Bearer /)
      t.equal(reply.headers['content-type'], 'application/problem+json')
      await open(t, '/echo/barrier')
      t.equal(echo.handshakes.length, before + 1)
    },
  )
}

t.test(
  'A handshake for no route is 404, and one with a bad path 400, as for any request',
  async (t) => {
    const { reply } = await refusal(dial(t, '/nowhere'))
    t.equal(reply.statusCode, 404)
    const bad = await refusal(dial(t, '/echo/%41'))
    t.equal(bad.reply.statusCode, 400)
  },
)

t.test('The subprotocol that the upstream chooses is the client’s', async (t) => {
  const client = await open(t, '/echo/', { protocols: ['other', 'chat'] })
  t.equal(client.protocol, 'chat')
  t.equal(echo.handshakes.at(-1)?.headers['sec-websocket-protocol'], 'other,chat')
})

t.test('Extensions are agreed upon between the client and the upstream', async (t) => {
  const client = await open(t, '/echo/', { perMessageDeflate: { threshold: 0 } })
  t.match(client.extensions, /permessage-deflate/)
  client.send('squeezed '.repeat(1000))
  const [data] = (await once(client, 'message')) as [Buffer]
  t.equal(data.length, 9000)
  t.equal((await open(t, '/echo/', { perMessageDeflate: false })).extensions, '')
})

t.test('Credentials and forged identities are removed, and identity is set', async (t) => {
  const basic = `Basic ${Buffer.from(`user:${token}`).toString('base64')}`
  await open(t, '/echo/identity', {
    headers: {
      Authorization: basic,
      'X-Remote-User': 'root',
      X_Token_Id: 'forged',
      'X-Forwarded-For': '192.0.2.1',
      'X-Request-Id': 'mine-1',
      'X-Other': 'kept',
      Cookie: 'c=1',
    },
  })
  const { headers, rawHeaders } = echo.handshakes.at(-1) as IncomingMessage
  t.match(headers, {
    'x-remote-user': 'ada',
    'x-token-id': /^[0-9a-f-]{36}$/,
    'x-token-scopes': 'chat:use',
    'x-forwarded-for': '127.0.0.1',
    'x-forwarded-proto': 'http',
    'x-request-id': 'mine-1',
    'x-other': 'kept',
    cookie: 'c=1',
    host: new URL(echo.url).host,
  })
  t.equal(headers.authorization, undefined)
  t.equal(headers['osf-token'], undefined)
  t.notOk(rawHeaders.some((text) => text === 'X_Token_Id' || text.includes(token)))
})

t.test('The 101 has the fields of the upstream, and the request’s X-Request-Id', async (t) => {
  const client = dial(t, '/echo/', { headers: { 'X-Request-Id': 'mine-2' } })
  const [reply] = (await once(client, 'upgrade')) as [IncomingMessage]
  t.equal(reply.headers['x-request-id'], 'mine-2')
  t.same(reply.headers['set-cookie'], ['a=1', 'b=2'])
})

t.test('Path and query arrive byte for byte', async (t) => {
  const target = '/echo/%C3%A9/a:b@c,(d)=~/?q=%2F%2f&&=+%20|"<>`{}^&x=http://y/../?#'.slice(0, -1)
  const reply = await send(gateway.url, handshake(target))
  t.match(reply, /^HTTP\/1\.1 101 /)
  t.equal(echo.handshakes.at(-1)?.url, target)
})

t.test('A repeated Sec-WebSocket-Protocol arrives with all its values', async (t) => {
  const fields = ['Sec-WebSocket-Protocol: one', 'Sec-WebSocket-Protocol: chat']
  const reply = await send(gateway.url, handshake('/echo/', fields))
  t.match(reply, /\r\nSec-WebSocket-Protocol: chat\r\n/i)
  t.equal(echo.handshakes.at(-1)?.headers['sec-websocket-protocol'], 'one, chat')
})

for (const side of ['client', 'upstream'] as const) {
  t.test(`A close by the ${side} arrives with its code and reason`, async (t) => {
    const accepted = echo.next()
    const client = await open(t, '/echo/')
    const server = await accepted
    const [from, to] = side === 'client' ? [client, server] : [server, client]
    const closed = once(to, 'close')
    from.close(4321, 'enough')
    const [code, reason] = (await closed) as [number, Buffer]
    t.equal(code, 4321)
    t.equal(String(reason), 'enough')
  })

  t.test(`When the ${side} vanishes the other side hears of it within a second`, async (t) => {
    const accepted = echo.next()
    const client = await open(t, '/echo/')
    const server = await accepted
    const [from, to] = side === 'client' ? [client, server] : [server, client]
    const start = performance.now()
    from.terminate()
    t.equal(await closeCode(to), abnormal)
    t.ok(performance.now() - start < noticeMs)
  })
}

t.test('A refusal by the upstream is passed as it is', async (t) => {
  api.respond(() => ({ status: '426 Upgrade Required', fields: ['X-Why', 'old'], body: 'newer!' }))
  t.teardown(() => api.respond(() => undefined))
  const { reply, body } = await refusal(dial(t, '/api/refused'))
  t.equal(reply.statusCode, 426)
  t.equal(reply.headers['x-why'], 'old')
  t.equal(body, 'newer!')
})

const switching = '101 Switching Protocols'
const upgraded = ['Upgrade', 'websocket', 'Connection', 'Upgrade']
for (const [sentence, script, status, code] of [
  [
    'a bad Sec-WebSocket-Accept',
    {
      status: switching,
      fields: [...upgraded, 'Sec-WebSocket-Accept', 'bm90IHJpZ2h0IGF0IGFsbCE='],
    },
    502,
    'upstream_unreachable',
  ],
  ['no Sec-WebSocket-Accept', { status: switching, fields: upgraded }, 502, 'upstream_unreachable'],
  [
    'another protocol',
    {
      status: switching,
      fields: ['Upgrade', 'h2c', 'Connection', 'Upgrade', 'Sec-WebSocket-Accept', rightAccept],
    },
    502,
    'upstream_unreachable',
  ],
  ['its own 401', { status: '401 Unauthorized' }, 502, 'upstream_rejected_gateway'],
  ['a status that is none', { raw: 'HTTP/1.1 099 Odd\r\n\r\n' }, 502, 'upstream_unreachable'],
  ['what is not HTTP', { raw: 'hello\r\n\r\n' }, 502, 'upstream_unreachable'],
  ['an end without a reply', { raw: '', ending: 'close' }, 502, 'upstream_unreachable'],
  ['a reset', { raw: '', ending: 'reset' }, 502, 'upstream_unreachable'],
  ['silence', { raw: '', ending: 'stall' }, 504, 'upstream_timeout'],
] as [string, Script, number, string][]) {
  t.test(`An upstream that answers with ${sentence} is a ${status}`, async (t) => {
    api.respond(() => script)
    t.teardown(() => api.respond(() => undefined))
    const reply = await send(gateway.url, handshake('/api/bad'))
    t.match(reply, new RegExp(`^HTTP/1\\.1 ${status} `))
    t.match(reply, `"code":"${code}"`)
  })
}

t.test('An upstream that refuses with trailers is passed without them', async (t) => {
  const trailers = ['X-Sum', '6']
  api.respond(() => ({ fields: ['Trailer', 'X-Sum'], chunks: ['no', 'ne'], trailers }))
  t.teardown(() => api.respond(() => undefined))
  const { reply, body } = await refusal(dial(t, '/api/refused'))
  t.equal(reply.statusCode, 200)
  t.equal(body, 'none')
})

t.test('An upstream that is down is a 502', async (t) => {
  const { reply, body } = await refusal(dial(t, '/down/'))
  t.equal(reply.statusCode, 502)
  t.match(JSON.parse(body), { code: 'upstream_unreachable' })
})

t.test('A client that leaves before the 101 ends the handshake at the upstream', async (t) => {
  let left: boolean | undefined
  const slow = net.createServer((socket) => {
    socket.once('data', () => (left = false))
    socket.on('error', () => {}).on('close', () => (left = true))
  })
  await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve))
  t.teardown(() => slow.close())
  const url = `http://127.0.0.1:${(slow.address() as AddressInfo).port}`
  const route = { path: '/{rest...}', upstream: 'slow', allow: { GET: 'public' } }
  const own = await startGateway({ upstreams: { slow: { url } }, routes: [route] })
  t.teardown(() => own.stop())
  const client = await connect(own.url)
  client.write(handshake('/'))
  await until('the handshake', () => left === false || undefined)
  const start = performance.now()
  client.close()
  await until('the upstream is left', () => left || undefined)
  t.ok(performance.now() - start < noticeMs)
})

t.test('A WebSocket on which nothing passes is closed with 1001', async (t) => {
  const accepted = echo.next()
  const client = await open(t, '/idle/')
  const server = await accepted
  const left = once(server, 'close')
  const start = performance.now()
  t.equal(await closeCode(client), goingAway)
  const elapsed = performance.now() - start
  t.ok(elapsed > 900 && elapsed < 2_500, `after ${elapsed} ms`)
  await left
})

for (const side of ['client', 'upstream'] as const) {
  t.test(`Messages of the ${side} alone keep a WebSocket open`, async (t) => {
    const accepted = echo.next()
    const client = await open(t, '/idle/')
    const server = await accepted
    const [from, to] = side === 'client' ? [client, server] : [server, client]
    const timer = setInterval(() => from.send('alive'), 200)
    t.teardown(() => clearInterval(timer))
    let messages = 0
    to.on('message', () => messages++)
    await until('messages for longer than the limit', () => messages > 8 || undefined)
    t.equal(client.readyState, WebSocket.OPEN)
  })
}

t.test('Drain closes WebSockets with 1001, and the gateway ends', async (t) => {
  const own = await startGateway(configuration)
  const made = await own.token('--subject', 'ada', '--scope', 'chat:use')
  const accepted = echo.next()
  const client = await open(t, '/echo/', { token: made }, own)
  const server = await accepted
  const codes = Promise.all([closeCode(client), once(server, 'close')])
  await own.stop(2_000)
  t.equal((await codes)[0], goingAway)
})

for (const [sentence, fragments] of [
  ['one frame', 1],
  ['many frames', 512],
] as const) {
  t.test(`Drain in the middle of a large message of ${sentence} closes with 1001`, async (t) => {
    const own = await startGateway(configuration)
    const made = await own.token('--subject', 'ada', '--scope', 'chat:use')
    const accepted = echo.next()
    const client = await open(t, '/echo/', { token: made, perMessageDeflate: false }, own)
    const server = await accepted
    const size = 64 * mebibyte
    const fragment = Buffer.alloc(size / fragments)
    const socket = (client as unknown as { _socket: Socket })._socket
    const code = closeCode(client)
    const begun = once(socket, 'data')
    for (let left = fragments; left > 0; left--) server.send(fragment, { fin: left === 1 })
    await begun
    await own.stop(20_000)
    t.equal(await code, goingAway)
  })
}

t.test('Drain while the client sends a large message closes with 1001', async (t) => {
  const own = await startGateway(configuration)
  const made = await own.token('--subject', 'ada', '--scope', 'chat:use')
  const accepted = echo.next()
  const client = await open(t, '/echo/', { token: made, perMessageDeflate: false }, own)
  const server = await accepted
  server.pause()
  const code = closeCode(client)
  client.send(Buffer.alloc(64 * mebibyte))
  await own.stop(20_000)
  t.equal(await code, goingAway)
})

for (const [sentence, line, fields] of [
  [
    'another protocol',
    'GET /api/ordinary HTTP/1.1',
    ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABk'],
  ],
  [
    'two protocols',
    'GET /api/ordinary HTTP/1.1',
    ['Connection: Upgrade', 'Upgrade: websocket, h2c'],
  ],
  [
    'an old version',
    'GET /api/ordinary HTTP/1.1',
    ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 8'],
  ],
  [
    'HTTP/1.0',
    'GET /api/ordinary HTTP/1.0',
    ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13'],
  ],
  [
    'no Connection: Upgrade',
    'GET /api/ordinary HTTP/1.1',
    ['Upgrade: websocket', 'Sec-WebSocket-Version: 13'],
  ],
] as const) {
  t.test(`An Upgrade field with ${sentence} is dropped, and the request served`, async (t) => {
    const before = api.requests.length
    const head = [
      line,
      'Host: a',
      `OSF-TOKEN: ${token}`,
      ...fields,
      ...['Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='],
      '\r\n',
    ]
    const reply = await send(gateway.url, head.join('\r\n'))
    t.match(reply, /^HTTP\/1\.1 200 OK\r\n/)
    t.equal(api.requests.length, before + 1)
    const seen = api.requests.at(-1)
    t.same(seen?.values('upgrade'), [])
    t.same(seen?.values('http2-settings'), [])
    t.notMatch(seen?.values('connection').join(), /upgrade/i)
  })
}

t.test('POST with an Upgrade field is an ordinary request, body and all', async (t) => {
  const text = handshake('', ['Content-Length: 5'], 'POST /api/post HTTP/1.1')
  const reply = await send(gateway.url, `${text}words`)
  t.match(reply, /^HTTP\/1\.1 200 OK\r\n/)
  const seen = await api.request('the POST', ({ target }) => target === '/api/post')
  t.equal(seen.body.toString(), 'words')
  t.same(seen.values('upgrade'), [])
})

t.test('A handshake with a body is a GET with a body: 400', async (t) => {
  const before = echo.handshakes.length
  const reply = await send(gateway.url, `${handshake('/echo/', ['Content-Length: 5'])}words`)
  t.match(reply, /^HTTP\/1\.1 400 /)
  t.equal(echo.handshakes.length, before)
})

t.test('A WebSocket is one line of the log, once it has ended, with what passed', async (t) => {
  const client = await open(t, '/echo/logged', { perMessageDeflate: false })
  client.send('x'.repeat(1000))
  await once(client, 'message')
  t.notOk(gateway.log().some(({ path }) => path === '/echo/logged'))
  client.close()
  const line = await gateway.logged('the WebSocket', ({ path }) => path === '/echo/logged')
  t.match(line, { msg: 'request', method: 'GET', status: 101, outcome: 'permit', subject: 'ada' })
  t.ok(Number(line.bytesIn) >= 1000, `bytesIn ${line.bytesIn}`)
  t.ok(Number(line.bytesOut) >= 1000, `bytesOut ${line.bytesOut}`)
})

t.test('The upstream read nothing that is not strict HTTP', async (t) => {
  t.same(api.violations, [])
})
