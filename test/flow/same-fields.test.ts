// Requests with the same field lines, byte for byte: what was found out of one holds for the next only as far
// as it follows from the lines alone. Token, peer, route and query are looked at each time.

import net from 'node:net'
import t from 'tap'
import { startGateway } from '../servers/gateway.ts'
import { until } from '../servers/ready.ts'
import { startRecorder } from '../servers/recorder.ts'
import { readReply } from './raw-exchange.ts'

const one = await startRecorder()
const two = await startRecorder()
const gateway = await startGateway({
  credentials: [{ header: 'X-Auth-Token' }, { authorization: 'bearer' }, { query: 'token' }],
  upstreams: {
    one: { url: one.url, identity: { scopes: 'X-Scopes' }, headers: { 'X-Key': 'of one' } },
    two: { url: two.url, identity: { subject: 'X-Subject' } },
    bare: { url: one.url },
  },
  scopes: { read: 'Read', write: 'Write' },
  routes: [
    { path: '/one/{rest...}', upstream: 'one', allow: { GET: 'read', DELETE: 'write' } },
    { path: '/two/{rest...}', upstream: 'two', allow: 'read' },
    { path: '/bearer', upstream: 'two', allow: 'read', credentials: [{ authorization: 'bearer' }] },
    { path: '/bare', upstream: 'bare', allow: 'read' },
    { path: '/public', upstream: 'one', allow: 'public' },
    { path: '/injected', upstream: 'one', allow: 'public', inject: true },
  ],
})
t.teardown(async () => {
  await gateway.stop()
  await one.stop()
  await two.stop()
})

type Token = { readonly id: string; readonly token: string }

async function makeToken(...args: string[]): Promise<Token> {
  const { stdout } = await gateway.command('token', 'create', '--json', '--subject', 'ann', ...args)
  return JSON.parse(stdout) as Token
}

const lines = ({ token }: Token): string =>
  `Host: api.example\r\nX-Auth-Token: ${token}\r\nAccept: */*\r\nConnection: close\r\n\r\n`

/** Sends a request from an address of the loopback network. */
async function ask(line: string, fields: string, from = '127.0.0.1'): Promise<number> {
  const { hostname, port } = new URL(gateway.url)
  const socket = net.connect({ host: hostname, port: Number(port), localAddress: from })
  let received = ''
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString('latin1')
  })
  socket.on('error', () => {})
  socket.write(`${line} HTTP/1.1\r\n${fields}`)
  await new Promise<void>((resolve) => socket.once('close', () => resolve()))
  return readReply(received).status
}

function last(recorder: typeof one): (name: string) => string | undefined {
  const { fields } = recorder.requests.at(-1)!
  return (name) => {
    const at = fields.findIndex((text, i) => i % 2 === 0 && text.toLowerCase() === name)
    return at < 0 ? undefined : fields[at + 1]
  }
}

t.test('each route, method and upstream has its own decision and head', async (t) => {
  const fields = lines(await makeToken('--scope', 'read'))
  for (let round = 0; round < 3; round++) {
    t.equal(await ask('GET /one/a', fields), 200)
    t.equal(last(one)('x-scopes'), 'read')
    t.equal(last(one)('x-key'), 'of one')
    t.equal(last(one)('x-auth-token'), undefined)
    t.equal(await ask('GET /two/a', fields), 200)
    t.equal(last(two)('x-subject'), 'ann')
    t.equal(last(two)('x-key'), undefined)
    t.equal(await ask('DELETE /one/a', fields), 403)
    t.equal(await ask('GET /one/a', fields), 200)
    t.equal(await ask('GET /injected', fields), 200)
    t.equal(last(one)('x-scopes'), undefined)
    t.equal(last(one)('x-key'), 'of one')
    t.equal(await ask('GET /public', fields), 200)
    t.equal(last(one)('x-scopes'), undefined)
    t.equal(last(one)('x-key'), undefined)
    t.equal(await ask('GET /bearer', fields), 401, 'the route does not look at that carrier')
  }
})

t.test('each request has an id of its own', async (t) => {
  const fields = lines(await makeToken('--scope', 'read'))
  const ids = new Set<string | undefined>()
  for (let i = 0; i < 3; i++) {
    await ask('GET /one/a', fields)
    ids.add(last(one)('x-request-id'))
  }
  t.equal(ids.size, 3)
})

t.test('each peer is told as itself, and limited to its addresses', async (t) => {
  const fields = lines(await makeToken('--scope', 'read', '--allow-ip', '127.0.0.2'))
  for (let round = 0; round < 2; round++) {
    t.equal(await ask('GET /one/a', fields, '127.0.0.2'), 200)
    t.equal(last(one)('x-forwarded-for'), '127.0.0.2')
    t.equal(await ask('GET /one/a', fields, '127.0.0.3'), 403)
  }
  const open = lines(await makeToken('--scope', 'read'))
  for (const address of ['127.0.0.2', '127.0.0.3', '127.0.0.2']) {
    t.equal(await ask('GET /one/a', open, address), 200)
    t.equal(last(one)('x-forwarded-for'), address)
    t.match(last(one)('forwarded'), `for=${address};`)
  }
})

t.test(
  'what a request shares with the one before it is no more than what is the same',
  async (t) => {
    const [ann, other] = [await makeToken('--scope', 'read'), await makeToken('--scope', 'read')]
    const sent = (token: string, host: string, ...others: string[]): string =>
      [`Host: ${host}`, `X-Auth-Token: ${token}`, ...others, 'Connection: close', '', ''].join(
        '\r\n',
      )
    for (const { token } of [ann, other, ann]) {
      for (const cookie of ['a=1', 'a=2']) {
        t.equal(await ask('GET /bare', sent(token, 'api.example', `Cookie: ${cookie}`)), 200)
        t.equal(last(one)('cookie'), cookie)
        t.equal(last(one)('x-auth-token'), undefined)
        t.equal(last(one)('x-forwarded-host'), 'api.example')
      }
      t.equal(await ask('GET /bare', sent(token, 'b.example', 'Cookie: a=2')), 200)
      t.equal(last(one)('x-forwarded-host'), 'b.example')
      t.equal(await ask('GET /bare', sent(token, 'b.example', 'X-Cook: a=2')), 200)
      t.equal(last(one)('cookie'), undefined)
      t.equal(last(one)('x-cook'), 'a=2')
      t.equal(await ask('GET /bare', sent(token, 'b.example')), 200)
      t.equal(last(one)('x-cook'), undefined)
      t.equal(await ask('GET /one/a', sent(token, 'b.example')), 200)
      t.equal(last(one)('x-scopes'), 'read')
    }
    const writer = await makeToken('--scope', 'read', '--scope', 'write')
    for (const [{ token }, scopes] of [
      [ann, 'read'],
      [writer, 'read, write'],
      [ann, 'read'],
    ] as const) {
      t.equal(await ask('GET /one/a', sent(token, 'b.example')), 200)
      t.equal(last(one)('x-scopes'), scopes, 'another token has an identity of its own')
    }
  },
)

t.test('a token in the query is looked for each time', async (t) => {
  const token = await makeToken('--scope', 'read')
  const none = 'Host: api.example\r\nConnection: close\r\n\r\n'
  for (let round = 0; round < 2; round++) {
    t.equal(await ask('GET /one/a', none), 401)
    t.equal(await ask(`GET /one/a?token=${token.token}`, none), 200)
    t.equal(last(one)('x-scopes'), 'read')
    t.equal(await ask('GET /one/a?token=unknown', lines(token)), 400, 'two different tokens')
    t.equal(await ask('GET /one/a?other=1', lines(token)), 200)
  }
})

t.test('a revoked token is refused, whatever was remembered of its requests', async (t) => {
  const token = await makeToken('--scope', 'read')
  const fields = lines(token)
  t.equal(await ask('GET /one/a', fields), 200)
  t.equal(await ask('GET /one/a', fields), 200)
  await gateway.command('token', 'revoke', token.id)
  await until('the token is refused', async () => {
    return (await ask('GET /one/a', fields)) === 401 || undefined
  })
  t.equal(await ask('GET /two/a', fields), 401)
})
