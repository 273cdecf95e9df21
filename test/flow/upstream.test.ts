// The upstream side from outside: bodies and replies that stream both ways, upstreams that fail or lie,
// clients that leave. A reply that was cut off must never look whole, and a request arrives at most once.

import { randomBytes } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import { startServer } from '../servers/lifetime.ts'
import { connect, send, wholeReplyBytes } from '../servers/raw-client.ts'
import { closedPort, until } from '../servers/ready.ts'
import { type Recorder, type Responder, type Script, startRecorder } from '../servers/recorder.ts'
import {
  ask,
  chunked,
  nextReply,
  type RawReply,
  readReply,
  withConnection,
  writeRequest,
} from './raw-exchange.ts'

/** What the product promises for an end that one side sees and the other has to. */
const endTimeoutMs = 1_000
const mebibyte = 2 ** 20

const upstream: Recorder = await startRecorder()
const full = await startFullServer()
const route = { upstream: 'api', allow: { '*': 'public' } }
const gateway: Gateway = await startGateway({
  upstreams: {
    api: { url: upstream.url },
    based: { url: `${upstream.url}/base` },
    hasty: { url: upstream.url, timeouts: { headers: '1s', idle: '1s' } },
    passing: { url: upstream.url, credentials: 'forward' },
    closed: { url: `http://127.0.0.1:${closedPort}` },
    nameless: { url: 'http://nowhere.invalid' },
    full: { url: full.url, timeouts: { connect: '1s' } },
  },
  scopes: { write: 'Write' },
  routes: [
    { ...route, path: '/public/{rest...}' },
    { ...route, path: '/got/{rest...}', getBody: 'allow' },
    { ...route, path: '/protected/{rest...}', allow: { '*': 'write' } },
    ...['based', 'hasty', 'passing', 'closed', 'nameless', 'full'].map((name) => ({
      path: `/${name}/{rest...}`,
      upstream: name,
      allow: { '*': 'public' },
    })),
  ],
})
t.teardown(async () => {
  await gateway.stop()
  await upstream.stop()
  await full.stop()
})
const writer = await gateway.token('--subject', 'ada', '--scope', 'write')
const text = 'Content-Type: text/plain'

/** Scripts the upstream for one test. */
function respond(t: Test, responder: Responder | Script, at: 'head' | 'body' = 'body'): void {
  upstream.respond(typeof responder === 'function' ? responder : () => responder, at)
  t.teardown(() => upstream.respond(() => undefined))
}

function arrivals(target: string): number {
  return upstream.requests.filter((request) => request.target === target).length
}

function checkProblem(t: Test, reply: RawReply, status: number, code: string, what: string): void {
  t.match({ status: reply.status, code: reply.problem.code }, { status, code }, what)
  t.match(reply.field('X-Request-Id'), /^[\w.-]+$/, `${what}: request id`)
}

/** A server whose queue of connections is full: it neither accepts nor refuses any more. */
async function startFullServer(): Promise<{ url: string; stop(): Promise<void> }> {
  const program = `const server = require('node:net').createServer()
    server.listen({ host: '127.0.0.1', port: 0, backlog: 1 }, () => console.log(server.address().port))`
  const server = await startServer(process.execPath, ['-e', program])
  const port = await until('a port', () => Number(server.output()) || undefined)
  const url = `http://127.0.0.1:${port}`
  server.child.kill('SIGSTOP')
  const held = await Promise.all([connect(url), connect(url)])
  const stop = async (): Promise<void> => {
    for (const connection of held) connection.close()
    server.child.kill('SIGCONT')
    await server.stop()
  }
  return { url, stop }
}

t.test('Expect: 100-continue', async (t) => {
  const expecting = (line: string, fields: string[] = [], expect = '100-continue'): string =>
    writeRequest(line, [`Expect: ${expect}`, 'Content-Length: 5', text, ...fields])

  await t.test('is not answered with 100 where the request is refused', async (t) => {
    const rows: [bytes: string, status: number][] = [
      [expecting('PUT /protected/x'), 401],
      [expecting('PUT /protected/x', ['OSF-TOKEN: unknown']), 401],
      [expecting('PUT /nowhere'), 404],
      [expecting('PUT /public/%41'), 400],
    ]
    for (const [bytes, status] of rows) {
      const reply = readReply(await send(gateway.url, bytes))
      t.equal(reply.status, status)
      t.strictSame(reply.interim, [], `${status}: no 100`)
    }
  })

  await t.test('is answered once the request is permitted, and never forwarded', async (t) => {
    for (const expect of ['100-continue', '100-Continue']) {
      await withConnection(gateway.url, async (connection) => {
        connection.write(expecting('PUT /protected/e', [`OSF-TOKEN: ${writer}`], expect))
        await connection.receive('100', (received) => received === 'HTTP/1.1 100 Continue\r\n\r\n')
        connection.write('abcde')
        const reply = await nextReply(connection)
        t.equal(reply.status, 200)
        t.equal(reply.interim.length, 1, 'one 100')
      })
      const request = upstream.requests.at(-1)
      t.equal(request?.body.toString(), 'abcde')
      t.strictSame(request?.values('expect'), [])
    }
  })

  await t.test('is the only expectation', async (t) => {
    const reply = readReply(await send(gateway.url, expecting('PUT /public/x', [], 'more')))
    checkProblem(t, reply, 417, 'expectation_failed', 'another one')
    const two = expecting('PUT /public/x', ['Expect: more'])
    checkProblem(t, readReply(await send(gateway.url, two)), 417, 'expectation_failed', 'two')
  })
})

t.test('1xx replies', async (t) => {
  const hint = { status: '103 Early Hints', fields: ['Link', '</a.css>; rel=preload'] }

  await t.test('pass to HTTP/1.1 clients, all but 100 and 101', async (t) => {
    respond(t, { interim: [hint, { status: '102 Processing' }, hint], body: 'done' })
    const reply = await ask(gateway.url, 'GET /public/x')
    t.strictSame(
      reply.interim.map(({ status }) => status),
      [103, 102, 103],
    )
    t.match(reply.interim[0]?.fields.join(), /Link,<\/a\.css>; rel=preload/)
    t.equal(reply.body, 'done')
    const old = await send(gateway.url, writeRequest('GET /public/x HTTP/1.0'), { until: 'close' })
    t.match(old, /^HTTP\/1\.1 200 /, 'HTTP/1.0 knows none')
  })

  await t.test('a 100 or 101 that nobody asked for is 502', async (t) => {
    for (const status of ['100 Continue', '101 Switching Protocols']) {
      const upgrade = ['Upgrade', 'websocket', 'Connection', 'Upgrade']
      respond(t, { interim: [{ status, fields: status[2] === '1' ? upgrade : [] }], body: 'x' })
      const reply = await ask(gateway.url, 'GET /public/x')
      checkProblem(t, reply, 502, 'upstream_unreachable', status)
      const posted = await ask(gateway.url, 'POST /public/x', [text], 'abc')
      checkProblem(t, posted, 502, 'upstream_unreachable', `${status} to a POST`)
    }
  })
})

t.test('trailers of a reply pass, those of a request are dropped', async (t) => {
  respond(t, { fields: ['Trailer', 'X-Sum'], chunks: ['one', 'two'], trailers: ['X-Sum', '6'] })
  const body = '3\r\nabc\r\n0\r\nX-Remote-User: root\r\nX-Own: 1\r\n\r\n'
  const fields = [text, 'Transfer-Encoding: chunked', 'Trailer: X-Own']
  const reply = await ask(gateway.url, 'PUT /public/trailers', fields, body)
  t.equal(reply.body, 'onetwo')
  t.strictSame(reply.trailers, ['X-Sum', '6'])
  const request = upstream.requests.at(-1)
  t.equal(request?.body.toString(), 'abc')
  t.strictSame(request?.trailers, [])
  t.strictSame(request?.values('trailer'), [])
})

t.test('trailers are not announced to clients that get none', async (t) => {
  respond(t, { fields: ['Trailer', 'X-Sum'], chunks: ['one'], trailers: ['X-Sum', '3'] })
  for (const line of ['HEAD /public/x', 'GET /public/x HTTP/1.0']) {
    const reply = await ask(gateway.url, line)
    t.equal(reply.status, 200, line)
    t.strictSame(reply.values('Trailer'), [], line)
  }
})

t.test('a length where no body can be stays behind (RFC 9110 8.6)', async (t) => {
  respond(t, { raw: 'HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n' })
  const reply = await ask(gateway.url, 'GET /public/x')
  t.equal(reply.status, 204)
  t.strictSame(reply.values('Content-Length'), [])
})

t.test('a refusal of ours after a reply that cannot be passed on has its own words', async (t) => {
  respond(t, { raw: 'HTTP/1.1 099 Odd\r\n\r\n' })
  const reply = await ask(gateway.url, 'GET /public/x')
  t.match({ status: reply.status, reason: reply.reason }, { status: 502, reason: 'Bad Gateway' })
  t.ok(reply.field('Date'))
})

t.test('a connection is not used again after a body that its upstream may overlook', async (t) => {
  const connections = new Set<number>()
  for (const line of ['DELETE /public/body/1', 'OPTIONS /public/body/2', 'DELETE /public/body/3']) {
    await ask(gateway.url, line, [], 'GET /admin HTTP/1.1')
    connections.add(upstream.requests.at(-1)?.connection ?? 0)
  }
  t.equal(connections.size, 3)
})

t.test('replies pass as they are', async (t) => {
  type Row = [line: string, fields: string[], script: Script, body: string, why: string]
  const ranged = ['Content-Range', 'bytes 1-3/9', 'Accept-Ranges', 'bytes']
  const rows: Row[] = [
    ['HEAD /public/x', [], { fields: ['ETag', '"a"'], body: 'abcdef' }, '', 'HEAD'],
    ['GET /public/x', [], { status: '204 No Content', fields: ['ETag', '"a"'] }, '', '204'],
    [
      'GET /public/x',
      ['If-None-Match: "a"'],
      { status: '304 Not Modified', fields: ['ETag', '"a"'] },
      '',
      '304',
    ],
    [
      'GET /public/x',
      ['Range: bytes=1-3'],
      { status: '206 Partial Content', fields: ranged, body: 'bcd' },
      'bcd',
      'Range',
    ],
    ['GET /public/x', [], { status: '418 A Teapot', body: 'short' }, 'short', 'an odd status'],
    ['GET /public/x', [], { status: '500 Broken', body: '' }, '', 'an empty 500'],
    [
      'GET /public/x',
      [],
      { fields: ['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2', 'X', 'caf\xe9'], body: Buffer.of(255) },
      '\xff',
      'repeated fields and latin1',
    ],
    [
      'GET /public/x',
      [],
      { raw: 'HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok' },
      'ok',
      'no reason',
    ],
    [
      'GET /public/x',
      [],
      { raw: 'HTTP/1.0 200 OK\r\n\r\nto the end', ending: 'close' },
      'to the end',
      'HTTP/1.0',
    ],
    [
      'DELETE /public/x',
      [],
      { status: '303 See Other', fields: ['Location', '/y'] },
      '',
      'a redirect is not followed',
    ],
  ]
  for (const [line, fields, script, body, why] of rows) {
    respond(t, script)
    const reply = await ask(gateway.url, line, fields)
    t.equal(reply.status, Number((script.status ?? '200').slice(0, 3)), `${why}: status`)
    t.equal(reply.body, body, `${why}: body`)
    t.equal(reply.rest, '', `${why}: nothing behind it`)
    for (const [i, value] of (script.fields ?? []).entries()) {
      if (i % 2 === 1)
        t.ok(reply.values(script.fields?.[i - 1] ?? '').includes(value), `${why}: ${value}`)
    }
    for (const field of fields) {
      const [name = '', value] = field.split(': ')
      t.strictSame(upstream.requests.at(-1)?.values(name.toLowerCase()), [value], `${why}: ${name}`)
    }
    if (line.startsWith('HEAD')) t.equal(reply.field('Content-Length'), '6', 'the length of a GET')
  }
})

t.test("a reply's hop-by-hop fields stay behind", async (t) => {
  respond(t, {
    fields: [
      'Connection',
      'X-Private',
      'X-Private',
      '1',
      'Keep-Alive',
      'timeout=9',
      'Proxy-Authenticate',
      'Basic',
      'X-Kept',
      '1',
    ],
    body: 'x',
  })
  const reply = await ask(gateway.url, 'GET /public/x')
  t.strictSame(reply.values('x-private'), [])
  t.notMatch(reply.field('keep-alive'), /9/)
  t.strictSame(reply.values('proxy-authenticate'), [])
  t.strictSame(reply.values('x-kept'), ['1'])
})

t.test('Location and Link lead to the gateway where they name the upstream', async (t) => {
  const { url, port } = upstream
  const rows: [path: string, sent: string, seen: string, why: string][] = [
    ['public', `${url}/x?y=1#z`, '/x?y=1#z', 'the upstream itself'],
    ['public', `http://127.0.0.1:${port}`, '/', 'without a path'],
    ['public', `//127.0.0.1:${port}/x`, '/x', 'without a scheme'],
    ['public', '/x?y', '/x?y', 'a path'],
    ['public', 'next', 'next', 'a relative path'],
    ['public', 'https://cdn.example/x', 'https://cdn.example/x', 'another host'],
    ['public', `http://127.0.0.1:${port + 1}/x`, `http://127.0.0.1:${port + 1}/x`, 'another port'],
    [
      'public',
      `http://127.0.0.1:${port}@evil.example/x`,
      `http://127.0.0.1:${port}@evil.example/x`,
      'a look-alike',
    ],
    ['based', `${url}/base/x`, '/x', 'below the base path'],
    ['based', '/base/x', '/x', 'a path below it'],
  ]
  for (const [path, sent, seen, why] of rows) {
    respond(t, { status: '302 Found', fields: ['Location', sent, 'Link', `<${sent}>; rel=next`] })
    const reply = await ask(gateway.url, `GET /${path}/x`)
    t.equal(reply.field('Location'), seen, `${why}: Location`)
    t.equal(reply.field('Link'), `<${seen}>; rel=next`, `${why}: Link`)
  }
})

t.test('an event stream is passed event by event, its head before the first', async (t) => {
  const events = [Promise.withResolvers<string>(), Promise.withResolvers<string>()]
  async function* stream(): AsyncGenerator<string> {
    for (const event of events) yield await event.promise
  }
  const fields = ['Content-Type', 'text/event-stream', 'X', 'caf\xe9']
  respond(t, { fields, chunks: stream() })
  await withConnection(gateway.url, async (connection) => {
    connection.write(writeRequest('GET /public/events'))
    const head = await connection.receive('the head', (got) => got.includes('\r\n\r\n'))
    t.match(head, /\r\nX: caf\xe9\r\n/, 'byte for byte')
    events[0]?.resolve('data: one\n\n')
    await connection.receive('one event', (received) => received.includes('data: one'))
    t.notMatch(connection.received(), 'data: two')
    events[1]?.resolve('data: two\n\n')
    t.equal((await nextReply(connection)).body, 'data: one\n\ndata: two\n\n')
  })
})

t.test('requests and replies stream both ways at once', async (t) => {
  const answers = [Promise.withResolvers<string>(), Promise.withResolvers<string>()]
  async function* reply(): AsyncGenerator<string> {
    for (const answer of answers) yield await answer.promise
  }
  respond(t, { chunks: reply() }, 'head')
  await withConnection(gateway.url, async (connection) => {
    const received = (bytes: number) =>
      upstream.request(
        `${bytes} bytes`,
        (one) => one.target === '/public/both' && one.bodyBytes === bytes,
      )
    connection.write(writeRequest('POST /public/both', [text, 'Transfer-Encoding: chunked']))
    connection.write('3\r\nabc\r\n')
    await received(3)
    answers[0]?.resolve('got it')
    await connection.receive('the reply', (got) => got.includes('got it'))
    connection.write('3\r\ndef\r\n0\r\n\r\n')
    const request = await received(6)
    answers[1]?.resolve(', all')
    t.equal((await nextReply(connection)).body, 'got it, all')
    t.match(request, { state: 'complete' })
    t.equal(request.body.toString(), 'abcdef')
  })
})

t.test('bodies of some size arrive byte for byte, both ways', async (t) => {
  const bytes = randomBytes(3 * mebibyte)
  const body = bytes.toString('latin1')
  respond(t, (request) => ({ body: request.bodyBytes > 0 ? request.bodySha256 : bytes }))
  const hash = (await ask(gateway.url, 'PUT /public/big', [text], body)).body
  const parts = chunked(body.slice(0, 1000), body.slice(1000, 70_000), body.slice(70_000))
  const again = await ask(
    gateway.url,
    'PUT /public/big',
    [text, 'Transfer-Encoding: chunked'],
    parts,
  )
  t.equal(again.body, hash, 'the same with chunks')
  t.equal(upstream.requests.at(-1)?.bodyBytes, body.length)
  t.ok((await ask(gateway.url, 'GET /public/big')).body === body, 'and down')
})

t.test('a final reply before the body was read reaches a client that writes first', async (t) => {
  const size = 20 * mebibyte
  const upload = (line: string, fields: string[]): string =>
    writeRequest(line, [text, `Content-Length: ${size}`, ...fields])
  const rows: [head: string, status: number, why: string][] = [
    [upload('PUT /protected/big', []), 401, 'no token'],
    [upload('PUT /nowhere', []), 404, 'no route'],
    [upload('PUT /public/%41', []), 400, 'a bad target'],
    [upload('PUT /public/big', ['X-HTTP-Method-Override: GET']), 400, 'an override'],
    [upload('PUT /public/early', []), 413, "the upstream's own reply"],
    [upload('PUT /public/early-end', []), 413, 'one that ends its connection'],
    [upload('PUT /closed/x', []), 502, 'no upstream'],
  ]
  const early = 'HTTP/1.1 413 Too Much\r\nConnection: close\r\nContent-Length: 8\r\n\r\ntoo much'
  const scripts: Record<string, Script> = {
    '/public/early': { status: '413 Too Much', body: 'too much' },
    '/public/early-end': { raw: early, ending: 'close' },
  }
  respond(t, ({ target }) => scripts[target], 'head')
  for (const [head, status, why] of rows) {
    await withConnection(gateway.url, async (connection) => {
      connection.socket.pause()
      connection.write(head)
      const written = new Promise<void>((resolve, reject) => {
        connection.socket.once('error', reject)
        connection.socket.write(Buffer.alloc(size), () => resolve())
      })
      await t.resolves(written, `${why}: all is taken`)
      connection.socket.resume()
      const reply = await nextReply(connection)
      t.equal(reply.status, status, `${why}: status`)
      t.equal(reply.field('Connection'), 'close', `${why}: says that it closes`)
      await connection.receiveAll()
    })
  }
})

t.test('an upload that breaks its framing ends on both sides', async (t) => {
  await withConnection(gateway.url, async (connection) => {
    const fields = [text, 'Transfer-Encoding: chunked']
    connection.write(writeRequest('PUT /public/bad-chunk', fields, '3\r\nabc\r\n'))
    const request = await upstream.request(
      'the start',
      ({ target, bodyBytes }) => target === '/public/bad-chunk' && bodyBytes === 3,
    )
    connection.write('zz\r\n')
    checkProblem(t, readReply(await connection.receiveAll()), 400, 'bad_request', 'the client')
    await until('the upstream', () => request.state === 'cut' || undefined, endTimeoutMs)
  })
})

t.test('an upstream that fails before its head is 502', async (t) => {
  for (const name of ['closed', 'nameless']) {
    checkProblem(t, await ask(gateway.url, `GET /${name}/x`), 502, 'upstream_unreachable', name)
    const posted = await ask(gateway.url, `POST /${name}/x`, [text], 'abc')
    checkProblem(t, posted, 502, 'upstream_unreachable', `${name}, with a body`)
  }
  const ok = 'HTTP/1.1 200 OK\r\n'
  const rows: [raw: string, why: string][] = [
    ['', 'nothing'],
    ['HTTP/1.1 200', 'half a status line'],
    [`${ok}Content-Length: 5`, 'half a head'],
    ['SSH-2.0-OpenSSH_9.2\r\n', 'another protocol'],
    ['garbage\r\n\r\n', 'no status line'],
    ['<html></html>', 'HTTP/0.9'],
    ['ICY 200 OK\r\nContent-Length: 0\r\n\r\n', 'nearly HTTP'],
    ['HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n', 'a status of two digits'],
    ['HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n', 'a status below 100'],
    ['HTTP/1.1 1000 High\r\nContent-Length: 0\r\n\r\n', 'a status of four digits'],
    [`${ok}Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc`, 'two lengths'],
    [`${ok}Content-Length: 2, 3\r\n\r\nabc`, 'a list of lengths'],
    [`${ok}Content-Length: x\r\n\r\nabc`, 'no number'],
    [`${ok}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 'two framings'],
    [`${ok}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 'a coding'],
    [`${ok}Transfer-Encoding: gzip\r\n\r\nabc`, 'another coding'],
    [`${ok}X: a\n\r\n\r\n`, 'a bare LF'],
    [`${ok}X: a\r\n b\r\nContent-Length: 0\r\n\r\n`, 'a folded line'],
    [`${ok}X: a\x01\r\nContent-Length: 0\r\n\r\n`, 'a control character'],
    [`${ok}X y: a\r\nContent-Length: 0\r\n\r\n`, 'a space in a name'],
    [`${ok}X: ${'x'.repeat(65 * 1024)}\r\nContent-Length: 0\r\n\r\n`, 'a head over 64 KiB'],
  ]
  for (const [raw, why] of rows) {
    respond(t, { raw, ending: 'close' })
    checkProblem(
      t,
      await ask(gateway.url, 'POST /public/x', [text], 'a'),
      502,
      'upstream_unreachable',
      why,
    )
  }
  respond(t, { raw: '', ending: 'reset' })
  checkProblem(t, await ask(gateway.url, 'GET /public/x'), 502, 'upstream_unreachable', 'a reset')
  respond(t, { body: 'well' })
  t.equal((await ask(gateway.url, 'GET /public/x')).body, 'well', 'and the next one is served')
})

t.test('a reply that the upstream breaks off never looks whole', async (t) => {
  const ok = 'HTTP/1.1 200 OK\r\n'
  const chunkedHead = `${ok}Transfer-Encoding: chunked\r\n\r\n`
  const rows: [script: Script, why: string][] = [
    [{ body: 'part', ending: 'close' }, 'Content-Length, closed'],
    [{ body: 'part', ending: 'reset' }, 'Content-Length, reset'],
    [{ chunks: ['part'], ending: 'close' }, 'chunked, closed'],
    [{ chunks: ['part'], ending: 'reset' }, 'chunked, reset'],
    [{ raw: `${chunkedHead}4\r\npart\r\n9\r\nhal`, ending: 'close' }, 'within a chunk'],
    [{ raw: `${chunkedHead}4\r\npart\r\n0\r\nX: y\r\n`, ending: 'close' }, 'within the trailers'],
    [{ raw: `${ok}\r\npart`, ending: 'reset' }, 'delimited by its end, reset'],
    [
      { raw: `${ok}Connection: close\r\nContent-Length: 9\r\n\r\npart`, ending: 'close' },
      'said to close',
    ],
  ]
  for (const [script, why] of rows) {
    for (const version of ['HTTP/1.1', 'HTTP/1.0']) {
      const arrived = Promise.withResolvers<void>()
      respond(t, { ...script, after: arrived.promise })
      await withConnection(gateway.url, async (connection) => {
        connection.write(writeRequest(`GET /public/cut ${version}`))
        await connection.receive('a part', (received) => received.includes('part'))
        const begun = Date.now()
        arrived.resolve()
        const received = await connection.receiveAll()
        t.ok(Date.now() - begun < endTimeoutMs, `${why}, ${version}: in time`)
        t.notOk(looksWhole(received, connection.ending()), `${why}, ${version}: cut`)
      })
    }
  }
})

t.test('nor does one that breaks the framing', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n'
  for (const broken of ['zz\r\nabc\r\n', '3\r\nabcd\r\n', '-3\r\nabc\r\n', '3\nabc\r\n']) {
    respond(t, { raw: `${head}${broken}0\r\n\r\n`, ending: 'stall' })
    const received = await send(gateway.url, writeRequest('GET /public/broken'))
    const isRefused = received.startsWith('HTTP/1.1 502')
    t.ok(isRefused || wholeReplyBytes(received) === undefined, JSON.stringify(broken))
  }
})

/** Would a client take this for a whole reply? */
function looksWhole(received: string, ending: 'end' | 'cut' | undefined): boolean {
  if (wholeReplyBytes(received) !== undefined) return true
  const { values } = readReply(received)
  const isDelimited = values('content-length').length + values('transfer-encoding').length > 0
  return !isDelimited && ending === 'end'
}

t.test('an upstream that takes too long is 504, and cut off in the middle', async (t) => {
  const within = async (line: string, fields: string[] = [], body = ''): Promise<void> => {
    const begun = Date.now()
    checkProblem(t, await ask(gateway.url, line, fields, body), 504, 'upstream_timeout', line)
    const took = Date.now() - begun
    t.ok(took > 900 && took < 2_500, `${line}: after ${took} ms`)
  }
  respond(t, ({ target }) =>
    target.endsWith('silent') ? { raw: '', ending: 'stall' } : { body: 'part', ending: 'stall' },
  )
  await Promise.all([
    within('GET /full/x'),
    within('GET /hasty/silent'),
    within('POST /hasty/silent', [text], 'abc'),
    withConnection(gateway.url, async (connection) => {
      connection.write(writeRequest('GET /hasty/half'))
      await connection.receive('half', (received) => received.includes('part'))
      const begun = Date.now()
      await connection.receiveAll()
      t.ok(Date.now() - begun < 2_500, 'an idle reply is cut')
    }),
  ])
})

t.test("the time to a reply's head begins with the end of the upload", async (t) => {
  await withConnection(gateway.url, async (connection) => {
    connection.write(writeRequest('PUT /hasty/slow', [text, 'Content-Length: 5']))
    for (const character of 'abcde') {
      connection.write(character)
      await pause(400)
    }
    t.equal((await nextReply(connection)).status, 200)
  })
})

t.test("an upstream's own 401 and 407 are the gateway's fault, not the client's", async (t) => {
  for (const status of ['401 Unauthorized', '407 Proxy Authentication Required']) {
    respond(t, { status, fields: ['WWW-Authenticate', 'Basic realm="inner"'], body: 'inner words' })
    for (const line of ['GET /public/x', 'GET /protected/x']) {
      const reply = await ask(
        gateway.url,
        line,
        line.includes('protected') ? [`OSF-TOKEN: ${writer}`] : [],
      )
      checkProblem(t, reply, 502, 'upstream_rejected_gateway', `${line}: ${status}`)
      t.strictSame(reply.values('www-authenticate'), [], 'no challenge')
      t.notMatch(reply.body, /inner/)
    }
    const passing = await ask(gateway.url, 'GET /passing/x')
    t.equal(passing.status, Number(status.slice(0, 3)), 'where credentials are forwarded it passes')
  }
})

t.test('a request is sent again only where that is safe, and once', async (t) => {
  type Row = [
    line: string,
    body: string,
    breaks: Script[],
    status: number,
    times: number,
    why: string,
  ]
  const gone: Script = { raw: '', ending: 'close' }
  const reset: Script = { raw: '', ending: 'reset' }
  const rows: Row[] = [
    ['GET', '', [gone], 200, 2, 'a GET on a reused connection that closed'],
    ['GET', '', [reset], 200, 2, 'or was reset'],
    ['HEAD', '', [gone], 200, 2, 'a HEAD'],
    ['OPTIONS', '', [gone], 200, 2, 'an OPTIONS'],
    ['GET', '', [gone, gone], 502, 2, 'the new connection closes too'],
    ['GET', '', [{ raw: 'HTTP/1.1 2', ending: 'close' }], 502, 1, 'a reply had begun'],
    [
      'GET',
      '',
      [{ interim: [{ status: '103 Early Hints' }], raw: '', ending: 'close' }],
      502,
      1,
      'with a 103',
    ],
    ['GET', 'abc', [gone], 502, 1, 'a GET with a body'],
    ['POST', '', [gone], 502, 1, 'a POST without a body'],
    ['POST', 'abc', [gone], 502, 1, 'a POST'],
    ['PUT', 'abc', [gone], 502, 1, 'a PUT'],
    ['DELETE', '', [gone], 502, 1, 'a DELETE'],
  ]
  for (const [at, [method, body, breaks, status, times, why]] of rows.entries()) {
    const target = `/got/again${at}`
    const left = [...breaks]
    respond(t, (request) => (request.target === target ? left.shift() : undefined))
    t.equal((await ask(gateway.url, 'GET /got/warm')).status, 200)
    const reused = upstream.requests.at(-1)?.connection
    const reply = await ask(gateway.url, `${method} ${target}`, body === '' ? [] : [text], body)
    t.equal(reply.status, status, `${why}: status`)
    t.equal(arrivals(target), times, `${why}: sent ${times} times`)
    const first = upstream.requests.find((request) => request.target === target)
    t.equal(first?.connection, reused, `${why}: on a reused connection`)
  }
  respond(t, ({ target }) =>
    target === '/hasty/fresh' ? gone : { body: 'x', fields: ['Connection', 'close'] },
  )
  await ask(gateway.url, 'GET /hasty/close')
  t.equal((await ask(gateway.url, 'GET /hasty/fresh')).status, 502)
  t.equal(arrivals('/hasty/fresh'), 1, 'not where the connection was new')
})

t.test('a client that leaves ends its request upstream', async (t) => {
  const leave = async (why: string, at: () => Promise<() => boolean>): Promise<void> => {
    const isOver = await at()
    const begun = Date.now()
    await until(why, () => isOver() || undefined)
    t.ok(Date.now() - begun < endTimeoutMs, why)
  }
  for (const how of ['end', 'resetAndDestroy', 'destroy'] as const) {
    await leave(`waiting, ${how}`, async () => {
      respond(t, { raw: '', ending: 'stall' })
      const connection = await connect(gateway.url)
      connection.write(writeRequest(`GET /public/waiting-${how}`))
      await upstream.request('it', ({ target }) => target.endsWith(`waiting-${how}`))
      const { open } = upstream
      connection.socket[how]()
      return () => upstream.open < open
    })
  }
  await leave('during the upload', async () => {
    const connection = await connect(gateway.url)
    connection.write(writeRequest('PUT /public/upload', [text, 'Content-Length: 9'], 'abc'))
    const request = await upstream.request(
      'it',
      (one) => one.target.endsWith('upload') && one.bodyBytes === 3,
    )
    connection.close()
    return () => request.state === 'cut'
  })
  await leave('during a chunked upload', async () => {
    const connection = await connect(gateway.url)
    connection.write(
      writeRequest('PUT /public/chunks', [text, 'Transfer-Encoding: chunked'], '3\r\nabc\r\n'),
    )
    const request = await upstream.request(
      'it',
      (one) => one.target.endsWith('chunks') && one.bodyBytes === 3,
    )
    connection.close()
    return () => request.state === 'cut'
  })
  await leave('during the download', async () => {
    let ended = false
    async function* endless(): AsyncGenerator<Buffer> {
      try {
        for (;;) yield Buffer.alloc(65_536)
      } finally {
        ended = true
      }
    }
    respond(t, () => ({ chunks: endless() }))
    const connection = await connect(gateway.url)
    connection.write(writeRequest('GET /public/download'))
    await connection.receive('some of it', (received) => received.length > mebibyte)
    connection.close()
    return () => ended
  })
  await leave('while an event stream is quiet', async () => {
    respond(t, {
      fields: ['Content-Type', 'text/event-stream'],
      chunks: ['data: 1\n\n'],
      ending: 'stall',
    })
    const connection = await connect(gateway.url)
    connection.write(writeRequest('GET /public/quiet'))
    await connection.receive('an event', (received) => received.includes('data: 1'))
    const { open } = upstream
    connection.close()
    return () => upstream.open < open
  })
})

t.test('a reader that takes nothing holds the upstream back', async (t) => {
  let pulled = 0
  const total = 64 * mebibyte
  function* plenty(): Generator<Buffer> {
    for (; pulled < total; pulled += 65_536) yield Buffer.alloc(65_536)
  }
  respond(t, () => ({ chunks: plenty() }))
  await withConnection(gateway.url, async (connection) => {
    connection.socket.pause()
    connection.write(writeRequest('GET /public/slow'))
    await settled(() => pulled)
    t.ok(pulled < total / 2, `${pulled} bytes were pulled`)
    let taken = 0
    connection.socket
      .removeAllListeners('data')
      .on('data', (chunk: Buffer) => (taken += chunk.length))
    connection.socket.resume()
    await until('all of it', () => taken > total || undefined)
  })
})

t.test('an upstream that takes nothing holds the client back', async (t) => {
  const chunk = Buffer.alloc(mebibyte / 4)
  const size = 256 * chunk.length
  let taken = 0
  t.teardown(() => upstream.reading(true))
  await withConnection(gateway.url, async (connection) => {
    connection.write(writeRequest('PUT /public/full', [text, `Content-Length: ${size + 1}`], 'a'))
    await upstream.request('it', ({ target }) => target === '/public/full')
    upstream.reading(false)
    const upload = (async () => {
      for (; taken < size; taken += chunk.length) {
        await new Promise((resolve) => connection.socket.write(chunk, resolve))
      }
    })()
    await settled(() => taken)
    t.ok(taken < size / 2, `${taken} bytes were taken`)
    upstream.reading(true)
    await upload
    t.equal((await nextReply(connection)).status, 200)
  })
})

t.test('a reader that takes nothing for the idle time is cut', async (t) => {
  let ended = false
  async function* endless(): AsyncGenerator<Buffer> {
    try {
      for (;;) yield Buffer.alloc(65_536)
    } finally {
      ended = true
    }
  }
  respond(t, () => ({ chunks: endless() }))
  await withConnection(gateway.url, async (connection) => {
    connection.socket.pause()
    connection.write(writeRequest('GET /hasty/stalled'))
    await until('the upstream is let go', () => ended || undefined)
  })
})

t.test('all that ever came upstream was well-formed', async (t) => {
  t.strictSame(upstream.violations, [])
})

/** Resolves when the number has stood still for half a second. */
async function settled(read: () => number): Promise<void> {
  let last = -1
  let since = Date.now()
  await until('standstill', () => {
    if (read() !== last) {
      last = read()
      since = Date.now()
    }
    return (last > 0 && Date.now() - since > 500) || undefined
  })
}
