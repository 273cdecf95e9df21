// Uploads and downloads of blobs as they go in the world: slow, in pieces, broken off by the client, by the
// registry or by a revocation, and refused before their bytes are sent.

import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { sha256 } from '../servers/oci-layout.ts'
import { type Connection, connect } from '../servers/raw-client.ts'
import {
  basic,
  type RegistryGateway,
  scopes,
  startRegistryGateway,
} from '../servers/registry-gateway.ts'
import { startRegistry } from '../servers/registry-server.ts'
import { type ScriptedRegistry, startScriptedRegistry } from '../servers/scripted-registry.ts'
import { ask, nextReply, type RawReply, readReply, writeRequest } from './raw-exchange.ts'

/** Every time-out that the gateway has is this short here; the head of a request has 10 s. */
const timeouts = { connect: '1s', headers: '1s', idle: '1s' }
const stepMs = 250
/** An upload that takes longer than all of them together. */
const steps = 18
/** From the end of the command that revokes to the end of what is open. */
const noticeMs = 1_000

const registry: ScriptedRegistry = await startScriptedRegistry()
const gateway: RegistryGateway = await startRegistryGateway(registry.url, { timeouts })
t.teardown(async () => {
  await gateway.stop()
  await registry.stop()
})
t.afterEach(() => registry.answer(() => undefined))

const writer = await gateway.credentials(scopes.push)
const reader = await gateway.credentials(scopes.pull)
const content = 'x'.repeat(steps)
const uploads = '/v2/acme/app/blobs/uploads/'
const octets = 'Content-Type: application/octet-stream'

/** Opens a connection that is closed with the test. */
async function open(t: Test): Promise<Connection> {
  const client = await connect(gateway.url)
  t.teardown(() => client.close())
  return client
}

/** The lines of uploads that have a body. */
const bodies = [
  `PATCH ${uploads}u1?_state=s`,
  `PUT ${uploads}u1?digest=${sha256(content)}`,
  `POST ${uploads}?digest=${sha256(content)}`,
  'PUT /v2/acme/app/manifests/v1',
]

t.test('an upload may take longer than any time-out, and outlive its token', async (t) => {
  const expires = new Date(Date.now() + steps * stepMs - 1_000)
  const expiring = basic(
    await gateway.gateway.token('--scope', scopes.push, '--expires', expires.toISOString()),
  )
  const clients = await Promise.all(
    bodies.map(async (line, at) => {
      const client = await open(t)
      // Some say how long they are, some do not.
      const framing = at % 2 === 0 ? `Content-Length: ${steps}` : 'Transfer-Encoding: chunked'
      client.write(writeRequest(line, [expiring, octets, framing]))
      return { line, client, isChunked: at % 2 === 1 }
    }),
  )
  for (let step = 0; step < steps; step++) {
    await pause(stepMs)
    for (const { client, isChunked } of clients) client.write(isChunked ? '1\r\nx\r\n' : 'x')
  }
  t.ok(Date.now() > expires.getTime(), 'the token has expired meanwhile')
  for (const { line, client, isChunked } of clients) {
    if (isChunked) client.write('0\r\n\r\n')
    const reply = await nextReply(client)
    t.ok([200, 201, 202].includes(reply.status), `${line}: ${reply.status}`)
    const arrived = registry.requests.find(({ target, bodyBytes }) => {
      return decodeURIComponent(target) === line.split(' ')[1] && bodyBytes === steps
    })
    t.equal(arrived?.state, 'complete', line)
    t.equal(`${arrived?.body}`, content, line)
  }
  const next = await ask(gateway.url, `POST ${uploads}`, [expiring])
  t.equal(next.status, 401, 'the next request is refused')
})

t.test('an upload that stalls is ended, and the registry does not take it for whole', async (t) => {
  const client = await open(t)
  client.write(writeRequest(bodies[0]!, [writer, octets, 'Content-Length: 100']))
  client.write('stalled')
  const stalled = await registry.request('the upload', ({ bodyBytes }) => bodyBytes === 7)
  const reply = readReply(await client.receiveAll())
  t.equal(reply.status, 408)
  t.match(reply.problem, { errors: [{ code: /^[A-Z_]+$/ }] })
  t.equal(stalled.state, 'cut')
})

type Refused = readonly [why: string, line: string, fields: readonly string[], status: number]

const refused: readonly Refused[] = [
  ...bodies.map((line): Refused => ['a token that may only pull', line, [reader], 403]),
  ...bodies.map((line): Refused => ['no token', line, [], 401]),
  ['a digest that is none', `PUT ${uploads}u1?digest=x`, [writer], 400],
  ['two sources of a mount', `POST ${uploads}?mount=x&from=a&from=b`, [writer], 400],
  ['no such method', `PATCH /v2/acme/app/manifests/v1`, [writer], 405],
  ['no such endpoint', 'PUT /v2/acme/app/layers/x', [writer], 404],
]

t.test('a refusal comes before the body: no 100, and the connection does not go on', async (t) => {
  for (const [why, line, fields, status] of refused) {
    for (const framing of ['Content-Length: 1000000000', 'Transfer-Encoding: chunked']) {
      const expecting = await open(t)
      expecting.write(writeRequest(line, [...fields, octets, framing, 'Expect: 100-continue']))
      const sending = await open(t)
      sending.write(writeRequest(line, [...fields, octets, framing]))
      sending.write(framing.startsWith('T') ? `400\r\n${'x'.repeat(1024)}\r\n` : 'x'.repeat(1024))
      const seen = await registry.seenDuring(async () => {
        for (const client of [expecting, sending]) {
          const reply = await nextReply(client)
          const how = `${why}: ${line}, ${framing}`
          t.equal(reply.status, status, how)
          t.strictSame(reply.interim, [], `${how}: nothing before it`)
          t.equal(reply.field('connection'), 'close', how)
          t.equal(reply.field('docker-distribution-api-version'), 'registry/2.0', how)
          client.close()
        }
      })
      t.strictSame(seen, [], why)
    }
  }
})

t.test('one that is permitted gets its 100 from the gateway, once', async (t) => {
  for (const line of bodies) {
    const client = await open(t)
    const fields = [writer, octets, `Content-Length: ${content.length}`, 'Expect: 100-continue']
    client.write(writeRequest(line, fields))
    await client.receive('100', (text) => text.startsWith('HTTP/1.1 100 '))
    client.write(content)
    const reply = await nextReply(client)
    t.strictSame(
      reply.interim.map(({ status }) => status),
      [100],
      line,
    )
    t.ok([200, 201, 202].includes(reply.status), `${line}: ${reply.status}`)
    const arrived = registry.requests.at(-1)!
    t.equal(`${arrived.body}`, content, line)
    t.strictSame(arrived.values('expect'), [], line)
    client.close()
  }
})

t.test('a client that goes in the middle leaves no whole upload behind', async (t) => {
  for (const line of bodies) {
    for (const isChunked of [false, true]) {
      const from = registry.requests.length
      const client = await open(t)
      const framing = isChunked ? 'Transfer-Encoding: chunked' : 'Content-Length: 100'
      client.write(writeRequest(line, [writer, octets, framing]))
      client.write(isChunked ? '5\r\nfirst\r\n' : 'first')
      const arrived = await registry.request('the upload', (request) => {
        return request === registry.requests[from] && request.bodyBytes === 5
      })
      client.close()
      await registry.request('its end', (request) => request === arrived && request.state === 'cut')
      t.equal(arrived.bodyBytes, 5, `${line}, ${framing}`)
    }
  }
})

t.test('a registry that goes in the middle of an upload is a 502', async (t) => {
  registry.answer(() => ({ raw: '', ending: 'reset' }), 'head')
  for (const line of bodies) {
    const client = await open(t)
    client.write(writeRequest(line, [writer, octets, 'Content-Length: 100']))
    client.write('first')
    const reply = await nextReply(client)
    t.equal(reply.status, 502, line)
    t.match(reply.problem, { errors: [{ code: /^[A-Z_]+$/, message: /./ }] }, line)
    t.equal(reply.field('connection'), 'close', line)
    client.close()
  }
})

t.test('a registry that refuses in the middle of an upload is heard', async (t) => {
  const fields = ['Location', `${uploads}u1?_state=s`, 'Range', '0-9']
  registry.answer(() => ({ status: '416 Range Not Satisfiable', fields }), 'head')
  const client = await open(t)
  client.write(
    writeRequest(bodies[0]!, [writer, octets, 'Content-Range: 50-149', 'Content-Length: 100']),
  )
  client.write('first')
  const reply = await nextReply(client)
  t.equal(reply.status, 416)
  t.equal(reply.field('location'), `${uploads}u1?_state=s`)
  t.equal(reply.field('range'), '0-9')
  t.equal(reply.field('connection'), 'close')
})

t.test('a registry that goes in the middle of a download cuts the connection', async (t) => {
  for (const ending of ['close', 'reset'] as const) {
    for (const body of [{ body: 'half of it' }, { chunks: ['half of it'] }]) {
      registry.answer(() => ({ ...body, ending }))
      const client = await open(t)
      client.write(writeRequest(`GET /v2/acme/app/blobs/${sha256('x')}`, [reader]))
      const text = await client.receiveAll()
      t.match(text, /^HTTP\/1\.1 200 /)
      t.notMatch(text, /\r\n0\r\n\r\n$/, 'no last chunk')
      const length = /content-length: (\d+)/i.exec(text)?.[1]
      const came = text.length - text.indexOf('\r\n\r\n') - 4
      if (length !== undefined) t.ok(came < Number(length), `${came} of ${length} bytes`)
    }
  }
})

t.test('a client that goes in the middle of a download ends it at the registry', async (t) => {
  const ended = new Promise<void>((resolve) => {
    registry.answer(() => ({ chunks: endless(resolve) }))
  })
  const client = await open(t)
  client.write(writeRequest(`GET /v2/acme/app/blobs/${sha256('x')}`, [reader]))
  await client.receive('its start', (text) => text.includes('more'))
  client.close()
  await ended
  t.pass('the registry sees its reader go')
})

t.test('a revoked token', async (t) => {
  const create = ['token', 'create', '--scope', scopes.push, '--json']
  const made = await gateway.gateway.command(...create)
  const { id, token } = JSON.parse(made.stdout) as { id: string; token: string }
  const clients = await Promise.all(
    bodies.map(async (line) => {
      const client = await open(t)
      client.write(writeRequest(line, [basic(token), octets, 'Content-Length: 100']))
      client.write('half')
      return { line, client }
    }),
  )
  registry.answer(() => ({ chunks: endless() }))
  const download = await open(t)
  download.write(writeRequest(`GET /v2/acme/app/blobs/${sha256('x')}`, [basic(token)]))
  await download.receive('its start', (text) => text.includes('more'))
  const arrived = registry.requests.slice(-bodies.length - 1)
  await registry.request('all uploads', () => {
    return arrived.filter(({ bodyBytes }) => bodyBytes === 4).length === bodies.length
  })

  const ended = Promise.all([
    once(download.socket, 'close'),
    ...clients.map(({ client }) => nextReply(client)),
  ])
  // The uploads do not stall meanwhile.
  const going = setInterval(() => {
    for (const { client } of clients) client.write('.')
  }, stepMs)
  t.teardown(() => clearInterval(going))
  t.equal((await gateway.gateway.command('token', 'revoke', id)).code, 0)
  const at = performance.now()
  await ended
  clearInterval(going)
  const ms = performance.now() - at
  t.ok(ms < noticeMs, `ends all that is open: after ${Math.round(ms)} ms`)
  for (const { line, client } of clients) {
    const reply = readReply(client.received())
    t.equal(reply.status, 401, line)
    t.match(reply.problem, { errors: [{ code: 'UNAUTHORIZED', message: /revoked/ }] }, line)
    t.equal(reply.field('connection'), 'close', line)
  }
  for (const request of arrived.filter(({ method }) => method !== 'GET')) {
    const isCut = (seen: object): boolean => seen === request && request.state === 'cut'
    await registry.request('its cut', isCut)
    t.ok(request.bodyBytes < 100, `${request.method} was cut after ${request.bodyBytes} bytes`)
  }
  const seen = await registry.seenDuring(async () => {
    for (const line of ['GET /v2/', `PATCH ${uploads}u1`, `POST ${uploads}`]) {
      const next = await ask(gateway.url, line, [basic(token)])
      t.equal(next.status, 401, `${line}: and is refused from then on`)
    }
  })
  t.strictSame(seen, [])
})

t.test('with docker-registry', async (t) => {
  const real = await startRegistry()
  const gateway = await startRegistryGateway(real.url)
  t.teardown(async () => {
    await gateway.stop()
    await real.stop()
  })
  const credentials = await gateway.credentials(scopes.push)
  const blob = Buffer.from(Array.from({ length: 300_000 }, (_, at) => (at * at) % 251))
  const digest = sha256(blob)
  const request = (line: string, fields: readonly string[] = [], body = '') =>
    ask(gateway.url, line, [credentials, ...fields], body)
  const part = (from: number, to: number) => blob.subarray(from, to).toString('latin1')

  await t.test('an upload goes on where the registry is, on any connection', async (t) => {
    const begun = await request(`POST ${uploads}`)
    const first = await request(`PATCH ${locationOf(begun)}`, [octets], part(0, 100_000))
    t.equal(first.field('range'), '0-99999')
    const state = await request(`GET ${locationOf(first)}`)
    t.equal(state.status, 204)
    t.equal(state.field('range'), '0-99999')
    const range = 'Content-Range: 100000-299999'
    const rest = await request(
      `PATCH ${locationOf(state)}`,
      [octets, range],
      part(100_000, 300_000),
    )
    t.equal(rest.status, 202)
    t.equal(rest.field('range'), '0-299999')
    const ended = await request(`PUT ${locationOf(rest)}&digest=${digest}`)
    t.equal(ended.status, 201)
    t.equal(ended.field('docker-content-digest'), digest)
  })

  await t.test('a download is taken in ranges', async (t) => {
    const line = `GET /v2/acme/app/blobs/${digest}`
    const ranges = ['0-99999', '100000-199999', '200000-']
    const replies = await Promise.all(
      ranges.map((range) => request(line, [`Range: bytes=${range}`])),
    )
    for (const [at, reply] of replies.entries()) {
      t.equal(reply.status, 206, ranges[at]!)
      t.match(reply.field('content-range'), /^bytes \d+-\d+\/300000$/)
    }
    const whole = Buffer.from(replies.map(({ body }) => body).join(''), 'latin1')
    t.equal(sha256(whole), digest)
    const tail = await request(line, ['Range: bytes=-5'])
    t.equal(tail.status, 206)
    t.equal(tail.body, part(299_995, 300_000))
  })
})

function locationOf(reply: RawReply): string {
  const location = reply.field('location')
  if (location === undefined) throw new Error(`no Location: ${reply.status} ${reply.body}`)
  return location
}

/** A body that goes on for as long as somebody takes it, and then says so. */
async function* endless(ended = (): void => {}): AsyncGenerator<string> {
  try {
    for (;;) {
      yield 'more'
      await pause(stepMs)
    }
  } finally {
    ended()
  }
}
