// HTTP/1.1 from outside, client side (RFC 9110, RFC 9112): which requests are refused, in which order and in
// which words, and what becomes of the connection. Exact bytes go in; of what is refused the upstream must
// not have seen a request.

import t, { type Test } from 'tap'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import { connect, send, wholeReplyBytes } from '../servers/raw-client.ts'
import { until } from '../servers/ready.ts'
import { type Recorder, startRecorder } from '../servers/recorder.ts'
import {
  ask,
  chunked,
  nextReply,
  type RawReply,
  readReply,
  withConnection,
  writeRequest,
} from './raw-exchange.ts'

const upstream: Recorder = await startRecorder()
const rule = { upstream: 'api', fallthrough: 'accepted' }
const map = {
  upstreams: { api: { url: upstream.url, timeouts: { idle: '1s' } } },
  scopes: { 'things:read': 'Read', 'things:write': 'Write', other: 'Something else' },
  routes: [
    { ...rule, name: 'public', path: '/public/{rest...}', allow: { '*': 'public' } },
    { ...rule, name: 'body', path: '/body/{rest...}', allow: { '*': 'public' }, getBody: 'allow' },
    { ...rule, name: 'things', path: '/things/{id}', allow: { GET: 'things:read' } },
    {
      ...rule,
      path: '/any/{id}',
      allow: { GET: { any: ['things:read', 'things:write'] }, POST: 'things:write' },
    },
    {
      ...rule,
      path: '/shared/{id}',
      allow: { GET: 'things:read', DELETE: 'things:write' },
      cors: { origins: ['https://app.example'], headers: ['OSF-TOKEN'], maxAge: '5m' },
    },
    { ...rule, path: '/open/{id}', allow: { GET: 'public' }, cors: '*' },
  ],
}
const gateway: Gateway = await startGateway(map)
const small: Gateway = await startGateway({
  ...map,
  server: { limits: { headBytes: '2KiB', connectionsPerAddress: 3 } },
})
t.teardown(async () => {
  await Promise.all([gateway.stop(), small.stop()])
  await upstream.stop()
})
const [reader, stranger, revoked] = await Promise.all([
  gateway.token('--subject', 'ada', '--scope', 'things:read'),
  gateway.token('--subject', 'eve', '--scope', 'other'),
  gateway.token('--subject', 'old', '--scope', 'things:read'),
])
const { stdout } = await gateway.command('token', 'list', '--json')
const records: { id: string; subject: string }[] = JSON.parse(stdout)
await gateway.command('token', 'revoke', String(records.find((one) => one.subject === 'old')?.id))

const idPattern = /^[A-Za-z0-9._-]{1,64}$/

// They take their time while the other tests run.
const slowHeads = Promise.all(
  ['GET /public/late HTTP/1.1\r\nHost: a\r\n', 'GET /pub'].map(async (start) => {
    const begunMs = Date.now()
    const connection = await connect(gateway.url)
    connection.write(start)
    const received = await until('the gateway gives up', () =>
      connection.closed() ? connection.received() : undefined,
    )
    return { start, received, tookMs: Date.now() - begunMs }
  }),
)

/** Whether any request with this text in its target has reached the upstream. */
function arrived(text: string): boolean {
  return upstream.requests.some((request) => request.target.includes(text))
}

/** Holds of every reply that the gateway makes itself. */
function checkProblem(t: Test, reply: RawReply, status: number, code: string, what: string) {
  const { problem } = reply
  t.equal(reply.status, status, `${what}: status`)
  t.equal(reply.field('Content-Type'), 'application/problem+json', `${what}: type`)
  t.match(reply.field('X-Request-Id'), idPattern, `${what}: request id`)
  t.match(
    problem,
    { type: String, title: String, detail: String, status, code },
    `${what}: problem`,
  )
  t.equal(problem.requestId, reply.field('X-Request-Id'), `${what}: one id`)
}

t.test('framing that can be read in two ways is refused and the connection closed', async (t) => {
  const post = 'POST /public/x'
  const body = (...fields: string[]): string => writeRequest(post, fields, 'abcd')
  const chunks = (text: string): string => writeRequest(post, ['Transfer-Encoding: chunked'], text)
  const field = (line: string): string => writeRequest('GET /public/x', [line])
  const rows: [bytes: string, statuses: number[], why: string][] = [
    [
      writeRequest(post, ['Content-Length: 5', 'Transfer-Encoding: chunked'], '0\r\n\r\n'),
      [400],
      'Content-Length before Transfer-Encoding (RFC 9112 6.1)',
    ],
    [
      writeRequest(post, ['Transfer-Encoding: chunked', 'Content-Length: 5'], '0\r\n\r\n'),
      [400],
      'Transfer-Encoding before Content-Length',
    ],
    [body('Content-Length: 4', 'Content-Length: 4'), [400], 'the same length twice'],
    [body('Content-Length: 4', 'content-length: 5'), [400], 'two lengths'],
    [body('Content-Length: 4, 4'), [400], 'a list of lengths'],
    [body('Content-Length: +4'), [400], 'a sign'],
    [body('Content-Length: -4'), [400], 'a negative length'],
    [body('Content-Length: 0x4'), [400], 'a hexadecimal length'],
    [body('Content-Length: 4 4'), [400], 'a length with a space in it'],
    [body('Content-Length: '), [400], 'an empty length'],
    [body('Content-Length: 99999999999999999999'), [400], 'a length beyond 64 bits'],
    [body('Content-Length: 9007199254740993'), [400], 'a length that no double holds'],
    [body('Transfer-Encoding: gzip'), [400, 501], 'a coding alone'],
    [body('Transfer-Encoding: identity'), [400, 501], 'the coding that is none'],
    [body('Transfer-Encoding: '), [400, 501], 'an empty coding'],
    [
      writeRequest(post, ['Transfer-Encoding: gzip, chunked'], chunked('abcd')),
      [400, 501],
      'a coding before chunked',
    ],
    [
      writeRequest(post, ['Transfer-Encoding: chunked, chunked'], chunked('abcd')),
      [400, 501],
      'chunked twice',
    ],
    [
      writeRequest(
        post,
        ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
        chunked('a'),
      ),
      [400, 501],
      'two fields',
    ],
    [
      writeRequest(post, ['Transfer-Encoding: chunked;q=1'], chunked('a')),
      [400, 501],
      'a parameter',
    ],
    [writeRequest(post, ['Transfer-Encoding: xchunked'], chunked('a')), [400, 501], 'a near miss'],
    [
      writeRequest(post, ['Transfer-Encoding: \x0bchunked'], chunked('a')),
      [400, 501],
      'a vertical tab before the coding',
    ],
    [
      writeRequest(`${post} HTTP/1.0`, ['Transfer-Encoding: chunked'], chunked('a')),
      [400, 501],
      'HTTP/1.0 has no codings',
    ],
    [chunks('zz\r\nabcd\r\n0\r\n\r\n'), [400], 'a chunk size that is no number'],
    [chunks('-4\r\nabcd\r\n0\r\n\r\n'), [400], 'a negative chunk size'],
    [chunks('0x4\r\nabcd\r\n0\r\n\r\n'), [400], 'a prefix before the chunk size'],
    [chunks('4\nabcd\r\n0\r\n\r\n'), [400], 'LF alone behind the chunk size'],
    [chunks('4;a\nb\r\nabcd\r\n0\r\n\r\n'), [400], 'LF alone in a chunk extension'],
    [chunks('3\r\nabcd\r\n0\r\n\r\n'), [400], 'a chunk longer than it says'],
    [chunks('fffffffffffffffff\r\nabcd\r\n0\r\n\r\n'), [400], 'a chunk size beyond 64 bits'],
    [chunks('\r\nabcd\r\n0\r\n\r\n'), [400], 'an empty chunk size'],
    [`GET /public/x HTTP/1.1\nHost: a\n\n`, [400], 'LF alone for CRLF (RFC 9112 2.2)'],
    [`GET /public/x HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n`, [400], 'LF alone between two fields'],
    [`GET /public/x HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n`, [400], 'CR alone in a field'],
    [field('X: a\r\n b'), [400], 'a folded line with a space (RFC 9112 5.2)'],
    [field('X: a\r\n\tb'), [400], 'a folded line with a tab'],
    [field('X : a'), [400], 'a space before the colon (RFC 9112 5.1)'],
    [field(': a'), [400], 'a field without a name'],
    [field('X y: a'), [400], 'a space in a name'],
    [field('X(y): a'), [400], 'a bracket in a name'],
    [field('no colon'), [400], 'a line without a colon'],
    [field('X: a\0b'), [400], 'NUL in a value'],
    [field('X: a\x01b'), [400], 'a control character in a value'],
    [field('X: a\x7fb'), [400], 'DEL in a value'],
    ['GET /public/x\r\n\r\n', [400, 505], 'HTTP/0.9'],
    ['GET /public/x\r\nHost: a\r\n\r\n', [400, 505], 'HTTP/0.9 with fields'],
    [writeRequest('GET /public/x HTTP/2.0'), [400, 505], 'a version that is not spoken here'],
    [writeRequest('GET /public/x HTTP/1.2'), [400, 505], 'a version that there never was'],
    ['GET /public/x http/1.1\r\nHost: a\r\n\r\n', [400, 505], 'a version in lower case'],
    ['GET /public/x HTTP/01.1\r\nHost: a\r\n\r\n', [400, 505], 'a version with a zero before it'],
    ['SOURCE /public/x ICE/1.0\r\nHost: a\r\n\r\n', [400, 505], 'another protocol'],
    ['FROB /public/x HTTP/1.1\r\nHost: a\r\n\r\n', [400], 'a method that HTTP does not know'],
    ['get /public/x HTTP/1.1\r\nHost: a\r\n\r\n', [400], 'a method in lower case'],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', [400, 505], 'the preface of HTTP/2'],
    ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', [400], 'a TLS hello'],
    [writeRequest('GET /public/x', [], 'abcd'), [400], 'a body on GET'],
    [writeRequest('GET /public/x', ['Transfer-Encoding: chunked'], chunked('a')), [400], 'chunked'],
    [writeRequest('HEAD /public/x', [], 'abcd'), [400], 'a body on HEAD'],
  ]
  for (const [bytes, statuses, why] of rows) {
    const canary = bytes.startsWith('\x16') ? '' : writeRequest('GET /public/smuggled')
    const text = await send(gateway.url, bytes + canary, { until: 'close' })
    const reply = readReply(text, bytes.startsWith('HEAD'))
    t.ok(statuses.includes(reply.status), `${why}: ${reply.status}`)
    if (bytes.startsWith('HEAD')) continue
    checkProblem(t, reply, reply.status, 'bad_request', why)
    t.equal(reply.field('Connection'), 'close', `${why}: says that it closes`)
    t.equal(reply.rest, '', `${why}: one reply`)
  }
  t.notOk(arrived('smuggled'), 'nothing behind a refused request was served')
  t.notOk(arrived('/public/x'), 'nothing that was refused arrived')
})

t.test('a request line and Host that name no target are bad_target', async (t) => {
  const rows: [bytes: string, why: string][] = [
    ['GET /public/x HTTP/1.1\r\n\r\n', 'no Host'],
    ['GET /public/x HTTP/1.0\r\n\r\n', 'no Host, HTTP/1.0'],
    ['GET /public/x HTTP/1.1\r\nHost:\r\n\r\n', 'an empty Host'],
    ['GET /public/x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n', 'Host twice'],
    ['GET http://b/public/x HTTP/1.1\r\nHost: a\r\n\r\n', 'a target on another host'],
    [writeRequest('OPTIONS *'), 'the asterisk-form'],
    [writeRequest('GET *'), 'the asterisk-form of another method'],
    [writeRequest('GET public/x'), 'no slash'],
    [writeRequest('GET /public/\xe9'), 'a byte that is not ASCII in the path'],
    [writeRequest('GET /public/x?\xe9'), 'a byte that is not ASCII in the query'],
    [writeRequest('GET /public/x#y'), 'a fragment'],
    [writeRequest('GET /public/%41'), 'a needless escape'],
    [writeRequest('GET /nowhere;a'), 'parameters where no route matches'],
    [writeRequest('GET /nowhere%2Fa'), 'an escaped slash where no route matches'],
  ]
  for (const [bytes, why] of rows) {
    checkProblem(t, readReply(await send(gateway.url, bytes)), 400, 'bad_target', why)
  }
  t.notOk(arrived('/public/x'), 'nothing arrived')
})

t.test('CONNECT and TRACE are never forwarded', async (t) => {
  for (const line of ['CONNECT gateway.example:443', 'TRACE /public/trace']) {
    const reply = await ask(gateway.url, line)
    checkProblem(t, reply, 405, 'method_not_allowed', line)
    t.match(reply.field('Allow'), /GET/, `${line}: says what is allowed`)
  }
  t.notOk(arrived('trace'), 'nothing arrived')
})

t.test('what is harmless is not refused', async (t) => {
  const rows: [bytes: string, why: string][] = [
    [`\r\n${writeRequest('GET /public/ok')}`, 'an empty line before the request line'],
    [writeRequest('GET /public/ok', ['Content-Length: 0']), 'a body of no bytes on GET'],
    [writeRequest('POST /public/ok'), 'a POST without a body'],
    [writeRequest('GET /public/ok', ['X: caf\xe9']), 'latin1 in a value'],
    [writeRequest('GET /public/ok', ['X:']), 'an empty value'],
    [
      writeRequest(
        'PUT /public/ok',
        ['Transfer-Encoding: Chunked'],
        '4;name=value\r\nabcd\r\n0\r\n\r\n',
      ),
      'a chunk extension',
    ],
    [writeRequest('GET http://gateway.example/public/ok'), 'the absolute-form of this host'],
    [writeRequest('QUERY /public/ok', ['Content-Type: text/plain'], 'a'), 'a newer method'],
    [
      writeRequest('GET /public/ok', [
        'Upgrade: h2c',
        'Connection: Upgrade, HTTP2-Settings',
        'HTTP2-Settings: AA',
      ]),
      'an offer of HTTP/2',
    ],
    [
      writeRequest('POST /public/ok', ['Upgrade: websocket', 'Connection: Upgrade'], 'a'),
      'an Upgrade on POST',
    ],
    [
      writeRequest('GET /public/ok', [
        'Upgrade: websocket',
        'Connection: Upgrade',
        'Sec-WebSocket-Version: 8',
        'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==',
      ]),
      'another WebSocket version',
    ],
  ]
  for (const [bytes, why] of rows) {
    const reply = readReply(await send(gateway.url, bytes))
    t.equal(reply.status, 200, why)
    t.equal(JSON.parse(reply.body).target, '/public/ok', `${why}: target`)
    const request = upstream.requests.at(-1)
    t.strictSame(request?.values('upgrade'), [], `${why}: no Upgrade`)
  }
})

t.test('of two faults the earlier stage is told', async (t) => {
  type Parts = { line: string[]; fields: string[]; tokens: string[] }
  type Fault = [name: string, status: number, code: string, apply: (parts: Parts) => void]
  const faults: Fault[] = [
    [
      'two lengths',
      400,
      'bad_request',
      (p) => p.fields.push('Content-Length: 1', 'Content-Length: 2'),
    ],
    ['an expectation', 417, 'expectation_failed', (p) => p.fields.push('Expect: wonders')],
    ['a fragment', 400, 'bad_target', (p) => p.line.push('#')],
    ['two hosts', 400, 'bad_target', (p) => p.fields.push('Host: a', 'Host: b')],
    ['no route', 404, 'no_route', (p) => p.line.splice(1, 1, '/nowhere')],
    ['an override', 400, 'bad_request', (p) => p.fields.push('X-HTTP-Method-Override: PUT')],
    ['a method', 405, 'method_not_allowed', (p) => p.line.splice(0, 1, 'DELETE ')],
    ['TRACE', 405, 'method_not_allowed', (p) => p.line.splice(0, 1, 'TRACE ')],
    ['a token twice', 400, 'ambiguous_credentials', (p) => p.tokens.push(reader)],
    ['no token', 401, 'token_required', (p) => p.tokens.splice(0)],
    ['an unknown token', 401, 'invalid_token', (p) => p.tokens.splice(0, 9, 'unknown')],
    ['a narrow token', 403, 'insufficient_scope', (p) => p.tokens.splice(0, 9, stranger)],
  ]
  const sameStage = [
    ['a fragment', 'two hosts'],
    ['a method', 'TRACE'],
  ]
  for (const [at, earlier] of faults.entries()) {
    for (const later of faults.slice(at)) {
      if (sameStage.some(([one, two]) => one === earlier[0] && two === later[0])) continue
      // "A token twice" and "no token" exclude each other.
      if (earlier[0] === 'a token twice' && later[0] === 'no token') continue
      const parts: Parts = { line: ['GET ', '/things/1'], fields: [], tokens: [reader] }
      later[3](parts)
      if (later !== earlier) earlier[3](parts)
      const tokens = parts.tokens.map((token) => `OSF-TOKEN: ${token}`)
      const reply = await ask(gateway.url, parts.line.join(''), [...parts.fields, ...tokens])
      const [name, status, code] = earlier
      t.match(
        { status: reply.status, code: reply.problem.code },
        { status, code },
        `${name}, before ${later[0]}`,
      )
    }
  }
  t.notOk(arrived('/things/1'), 'nothing arrived')
})

t.test('a refusal is a problem with these members', async (t) => {
  const plain = ['code', 'detail', 'requestId', 'status', 'title', 'type']
  const missing = await ask(gateway.url, 'GET /things/1')
  checkProblem(t, missing, 401, 'token_required', '401')
  t.strictSame(Object.keys(missing.problem).sort(), plain)
  const denied = await ask(gateway.url, 'GET /things/1', [`OSF-TOKEN: ${stranger}`])
  checkProblem(t, denied, 403, 'insufficient_scope', '403')
  t.strictSame(Object.keys(denied.problem).sort(), [...plain, 'granted', 'required'].sort())
  t.strictSame(denied.problem.required, ['things:read'])
  t.strictSame(denied.problem.granted, ['other'])
  const head = await ask(gateway.url, 'HEAD /things/1')
  t.equal(head.status, 401)
  t.equal(head.rest, '', 'a reply to HEAD has no body')
})

t.test('401 and 403 challenge as RFC 6750 says, 405 names what is allowed', async (t) => {
  const challenge = async (line: string, ...tokens: string[]): Promise<string | undefined> => {
    const fields = tokens.map((token) => `OSF-TOKEN: ${token}`)
    return (await ask(gateway.url, line, fields)).field('WWW-Authenticate')
  }
  t.equal(await challenge('GET /things/1'), 'Bearer realm="scopegate"', 'no token: no error')
  for (const token of ['unknown', revoked]) {
    t.match(
      await challenge('GET /things/1', token),
      /^Bearer realm="scopegate", error="invalid_token"/,
      'a bad token',
    )
  }
  const denied = await challenge('GET /things/1', stranger)
  t.match(denied, /^Bearer realm="scopegate", error="insufficient_scope"/)
  t.match(denied, /scope="things:read"/)
  t.match(await challenge('GET /any/1', stranger), /scope="things:read things:write"/)
  const allowed = (await ask(gateway.url, 'PUT /any/1')).field('Allow')
  t.strictSame(allowed?.split(', ').sort(), ['GET', 'HEAD', 'POST'])
})

t.test(
  'X-Request-Id is kept where it is one, else made, on every reply and upstream',
  async (t) => {
    const rows: [sent: string | undefined, kept: boolean, why: string][] = [
      ['a', true, 'the shortest'],
      ['A-z.0_9', true, 'every kind of character'],
      ['x'.repeat(64), true, 'the longest'],
      [undefined, false, 'none'],
      ['', false, 'an empty one'],
      ['x'.repeat(65), false, 'too long'],
      ['a b', false, 'a space'],
      ['a"b', false, 'a quote'],
      ['caf\xe9', false, 'latin1'],
    ]
    upstream.respond(() => ({ fields: ['X-Request-Id', 'of-the-upstream'], body: 'x' }))
    t.teardown(() => upstream.respond(() => undefined))
    for (const [sent, kept, why] of rows) {
      for (const target of ['/public/id', '/things/1', '/nowhere', '/public/%41']) {
        const fields = sent === undefined ? [] : [`X-Request-Id: ${sent}`]
        const id = (await ask(gateway.url, `GET ${target}`, fields)).field('X-Request-Id')
        t.match(id, idPattern, `${why}, ${target}: well-formed`)
        t.equal(id === sent, kept, `${why}, ${target}: ${kept ? 'kept' : 'replaced'}`)
        if (target === '/public/id') {
          t.strictSame(upstream.requests.at(-1)?.values('x-request-id'), [id], 'sent upstream')
        }
      }
    }
  },
)

t.test('a chunked body is part of its one request, whatever the method', async (t) => {
  const inside = writeRequest('GET /public/smuggled')
  for (const method of ['DELETE', 'OPTIONS', 'GET', 'HEAD', 'PROPFIND', 'PATCH']) {
    for (const fields of [['Transfer-Encoding: chunked'], []]) {
      const before = upstream.requests.length
      const body = fields.length > 0 ? chunked('', inside).replace('0\r\n\r\n', '') : inside
      const reply = await ask(gateway.url, `${method} /body/one`, fields, body)
      t.equal(reply.status, 200, `${method} ${fields}`)
      const got = upstream.requests.slice(before)
      t.equal(got.length, 1, `${method} ${fields}: one request`)
      t.equal(got[0]?.body.toString('latin1'), inside, `${method} ${fields}: with its body`)
      const framing = [...got[0]!.values('content-length'), ...got[0]!.values('transfer-encoding')]
      t.strictSame(framing, fields.length > 0 ? ['chunked'] : [String(inside.length)])
    }
  }
  t.notOk(arrived('smuggled'))
})

t.test('a connection serves one request after the other, in order', async (t) => {
  await withConnection(gateway.url, async (connection) => {
    const targets = ['/public/p1', '/things/2', '/public/p3', '/nowhere', '/public/p5']
    upstream.respond(async ({ target }) => {
      if (target === '/public/p1')
        await until('a later reply is due', () => arrived('p5') || undefined, 500).catch(() => {})
      return undefined
    })
    t.teardown(() => upstream.respond(() => undefined))
    connection.write(targets.map((target) => writeRequest(`GET ${target}`)).join(''))
    const statuses: number[] = []
    let text = ''
    for (const target of targets) {
      const reply = await until(`the reply to ${target}`, () => {
        text = connection.received()
        const replies = readAll(text)
        return replies[statuses.length]
      })
      statuses.push(reply.status)
      if (reply.status === 200) t.equal(JSON.parse(reply.body).target, target, `${target} in place`)
    }
    t.strictSame(statuses, [200, 401, 200, 404, 200])
  })
})

t.test('a connection that the client wants closed is closed', async (t) => {
  const bytes = writeRequest('GET /public/last', ['Connection: close'])
  const reply = readReply(await send(gateway.url, bytes, { until: 'close' }))
  t.equal(reply.status, 200)
  t.equal(reply.field('Connection'), 'close')
})

t.test('a request that cannot be read does not harm the one before it', async (t) => {
  const text = await send(gateway.url, `${writeRequest('GET /public/good')}GARBAGE\r\n\r\n`, {
    until: 'close',
  })
  const [first, ...others] = readAll(text)
  t.equal(first?.status, 200)
  t.strictSame(
    others.filter(({ status }) => status !== 400),
    [],
    'at most a 400 follows',
  )
})

t.test('HTTP/1.0 gets what it understands', async (t) => {
  const once = async (fields: string[] = []): Promise<string> =>
    send(gateway.url, writeRequest('GET /public/old HTTP/1.0', fields), { until: 'close' })
  t.equal(readReply(await once()).status, 200, 'and the connection is closed')
  upstream.respond(() => ({ chunks: ['one', 'two'], trailers: ['X-Sum', '6'] }))
  t.teardown(() => upstream.respond(() => undefined))
  const reply = readReply(await once())
  t.strictSame(reply.values('transfer-encoding'), [], 'no chunks')
  t.equal(reply.body, 'onetwo')
  const expecting = await send(
    gateway.url,
    writeRequest('POST /public/old HTTP/1.0', ['Expect: 100-continue'], 'abcd'),
    { until: 'close' },
  )
  t.match(expecting, /^HTTP\/1\.1 200 /, 'never 100')
})

t.test('a head over the limit is 431', async (t) => {
  const long = (bytes: number): string => writeRequest(`GET /public/${'x'.repeat(bytes)}`)
  const wide = (bytes: number): string => writeRequest('GET /public/w', [`X: ${'x'.repeat(bytes)}`])
  const many = (count: number): string =>
    writeRequest(
      'GET /public/m',
      Array.from({ length: count - 1 }, (_, i) => `X-${i}: 1`),
    )
  const rows: [url: string, bytes: string, status: number, why: string][] = [
    [gateway.url, many(100), 200, '100 fields'],
    [gateway.url, many(101), 431, '101 fields'],
    [gateway.url, wide(15 * 1024), 200, 'a field of 15 KiB'],
    [gateway.url, wide(16 * 1024), 431, 'a field of 16 KiB'],
    [gateway.url, long(15 * 1024), 200, 'a target of 15 KiB'],
    [gateway.url, long(16 * 1024), 431, 'a target of 16 KiB'],
    [small.url, wide(1800), 200, 'a field below the configured size'],
    [small.url, wide(2048), 431, 'a field of the configured size'],
    [small.url, long(2048), 431, 'a target of the configured size'],
  ]
  for (const [url, bytes, status, why] of rows) {
    const reply = readReply(await send(url, bytes, status === 431 ? { until: 'close' } : {}))
    if (status === 431) checkProblem(t, reply, 431, 'head_too_large', why)
    else t.equal(reply.status, 200, why)
  }
})

t.test('an address has so many connections and no more', async (t) => {
  const open = await Promise.all([1, 2, 3].map(() => connect(small.url)))
  t.teardown(() => {
    for (const connection of open) connection.close()
  })
  for (const connection of open) {
    connection.write(writeRequest('GET /public/c'))
    t.equal((await nextReply(connection)).status, 200)
  }
  const fourth = await connect(small.url)
  fourth.write(writeRequest('GET /public/fourth'))
  t.equal(await fourth.receiveAll(), '', 'closed without a reply')
  t.notOk(arrived('fourth'))
  open[0]?.close()
  const reply = await until('a place is free again', async () => {
    const text = await send(small.url, writeRequest('GET /public/c'), { until: 'reply' })
    return text === '' ? undefined : readReply(text)
  })
  t.equal(reply.status, 200)
})

t.test('a body that stalls is 408', async (t) => {
  for (const [target, start] of [
    ['/public/stalled', 'abc'],
    ['/public/stalled', ''],
    ['/any/1', 'abc'],
  ]) {
    await withConnection(gateway.url, async (connection) => {
      const begun = Date.now()
      const token = target === '/any/1' ? [`OSF-TOKEN: ${reader}`] : []
      connection.write(
        writeRequest(
          `POST ${target}`,
          ['Content-Length: 100', 'Content-Type: text/plain', ...token],
          start,
        ),
      )
      const reply = await nextReply(connection)
      if (target === '/any/1') {
        t.equal(reply.status, 403, 'a refusal does not wait for the body')
        return
      }
      checkProblem(t, reply, 408, 'request_timeout', `${start?.length} bytes`)
      t.ok(Date.now() - begun < 3_000, 'idle is 1 s')
      await connection.receiveAll()
    })
  }
})

t.test('preflights are answered by the gateway alone', async (t) => {
  const preflight = (origin: string, method: string): string[] => [
    `Origin: ${origin}`,
    `Access-Control-Request-Method: ${method}`,
    'Access-Control-Request-Headers: osf-token',
  ]
  const fields = preflight('https://app.example', 'DELETE')
  const reply = await ask(gateway.url, 'OPTIONS /shared/1', fields)
  t.equal(reply.status, 204, 'without a token')
  t.equal(reply.field('Access-Control-Allow-Origin'), 'https://app.example')
  t.match(reply.field('Access-Control-Allow-Methods'), /DELETE/)
  t.match(reply.field('Access-Control-Allow-Headers'), /osf-token/i)
  t.equal(reply.field('Access-Control-Max-Age'), '300')
  t.match(reply.field('Vary'), /Origin/i)
  t.match(reply.field('X-Request-Id'), idPattern)
  const foreign = await ask(
    gateway.url,
    'OPTIONS /shared/1',
    preflight('https://evil.example', 'GET'),
  )
  t.strictSame(foreign.values('Access-Control-Allow-Origin'), [], 'not to other origins')
  const open = await ask(gateway.url, 'OPTIONS /open/1', preflight('https://any.example', 'GET'))
  t.equal(open.status, 204)
  t.equal(open.field('Access-Control-Allow-Origin'), '*')
  t.notOk(arrived('/shared/1') || arrived('/open/1'), 'none was forwarded')
})

t.test('without cors, and without a preflight, OPTIONS is an ordinary method', async (t) => {
  const asking = ['Origin: https://app.example', 'Access-Control-Request-Method: GET']
  checkProblem(
    t,
    await ask(gateway.url, 'OPTIONS /things/1', asking),
    405,
    'method_not_allowed',
    'no cors',
  )
  checkProblem(
    t,
    await ask(gateway.url, 'OPTIONS /shared/1'),
    405,
    'method_not_allowed',
    'no preflight',
  )
  t.equal((await ask(gateway.url, 'OPTIONS /public/options', asking)).status, 200)
  t.ok(arrived('/public/options'), 'forwarded where every method is')
})

t.test('refusals can be read by the pages that cors lets in', async (t) => {
  const origin = 'Origin: https://app.example'
  const rows: [reply: Promise<RawReply>, status: number, why: string][] = [
    [ask(gateway.url, 'GET /shared/1', [origin]), 401, 'no token'],
    [ask(gateway.url, 'GET /shared/1', [origin, 'OSF-TOKEN: unknown']), 401, 'an unknown token'],
    [ask(gateway.url, 'GET /shared/1', [origin, `OSF-TOKEN: ${stranger}`]), 403, 'a narrow token'],
    [ask(gateway.url, 'PUT /shared/1', [origin]), 405, 'a method that is not listed'],
    [ask(gateway.url, 'GET /shared/1;x', [origin]), 400, "the route's rule on parameters"],
    [ask(gateway.url, 'GET /shared/1?_method=PUT', [origin]), 400, "the route's rule on overrides"],
  ]
  for (const [asked, status, why] of rows) {
    const reply = await asked
    t.equal(reply.status, status, why)
    t.equal(reply.field('Access-Control-Allow-Origin'), 'https://app.example', why)
  }
  const foreign = await ask(gateway.url, 'GET /shared/1', ['Origin: https://evil.example'])
  t.strictSame(foreign.values('Access-Control-Allow-Origin'), [])
})

t.test('one log line a request, with these fields and no secret', async (t) => {
  const names = `time level msg requestId route method path status outcome reason tokenId subject
    address bytesIn bytesOut durationMs upstreamMs`.split(/\s+/)
  const password = Buffer.from(`user:${reader}`).toString('base64')
  const line = async (id: string, request: string, fields: string[], body = '') => {
    await ask(gateway.url, request, [`X-Request-Id: ${id}`, ...fields], body)
    return gateway.logged(id, (entry) => entry.requestId === id && entry.msg === 'request')
  }
  const permit = await line('log-1', 'GET /things/9?secret=in-the-query', [`OSF-TOKEN: ${reader}`])
  t.strictSame(Object.keys(permit).sort(), [...names].sort())
  t.match(permit, {
    time: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/,
    level: 'info',
    route: 'things',
    method: 'GET',
    path: '/things/9',
    status: 200,
    outcome: 'permit',
    reason: 'permitted',
    subject: 'ada',
    address: '127.0.0.1',
    bytesIn: 0,
    durationMs: Number,
    upstreamMs: Number,
    tokenId: records.find((one) => one.subject === 'ada')?.id,
  })
  t.ok(Number(permit.bytesOut) > 0)
  const upload = await line('log-2', 'POST /public/log', ['Content-Type: text/plain'], 'abcd')
  t.match(upload, { bytesIn: 4, tokenId: null, subject: null, outcome: 'permit' })
  const none = await line('log-3', 'GET /things/9', [])
  t.match(none, { status: 401, outcome: 'deny', reason: 'token_required', upstreamMs: null })
  await line('log-4', 'GET /things/9', [`Authorization: Basic ${password}`])
  await line('log-5', 'GET /things/9', [`Authorization: Bearer ${stranger}`])
  await line('log-6', 'GET /things/9', ['OSF-TOKEN: something-unknown-and-secret'])
  await line('log-7', 'GET /nowhere?api_token=in-the-query', [])
  const lines = gateway.log().filter((entry) => entry.msg === 'request')
  for (const id of ['log-1', 'log-2', 'log-3', 'log-4', 'log-5', 'log-6', 'log-7']) {
    t.equal(lines.filter((entry) => entry.requestId === id).length, 1, `${id}: one line`)
  }
  const audited = (id: string) =>
    gateway.log().some((entry) => entry.audit === true && entry.requestId === id)
  t.ok(audited('log-5') && audited('log-6'), 'denials are audited')
  t.notOk(audited('log-3') || audited('log-1'), 'a first request without credentials is none')
  for (const secret of [
    reader,
    stranger,
    revoked,
    password,
    'unknown-and-secret',
    'in-the-query',
  ]) {
    t.notOk(gateway.messages().includes(secret), 'no secret, no query')
  }
})

t.test('a head that never became a request has its log line too', async (t) => {
  const rows: [bytes: string, expected: object, why: string][] = [
    ['FROB / HTTP/1.1\r\nHost: a\r\n\r\n', { status: 400, reason: 'bad_request' }, 'no method'],
    [writeRequest('CONNECT a:1'), { status: 405, reason: 'method_not_allowed' }, 'CONNECT'],
  ]
  for (const [bytes, expected, why] of rows) {
    const id = readReply(await send(gateway.url, bytes)).field('X-Request-Id')
    const line = await gateway.logged(why, (entry) => entry.requestId === id)
    t.match(line, { msg: 'request', outcome: 'deny', address: '127.0.0.1', ...expected }, why)
  }
})

t.test('no whole head within 10 seconds is 408', async (t) => {
  for (const { start, received, tookMs } of await slowHeads) {
    checkProblem(t, readReply(received), 408, 'request_timeout', JSON.stringify(start))
    t.ok(tookMs > 9_000 && tookMs < 12_000, `after ${tookMs} ms`)
  }
})

t.test('all that ever came upstream was well-formed', async (t) => {
  t.strictSame(upstream.violations, [])
})

/** Every whole reply of the text, to requests other than HEAD. */
function readAll(text: string): RawReply[] {
  const replies: RawReply[] = []
  for (let rest = text; wholeReplyBytes(rest) !== undefined; ) {
    const reply = readReply(rest)
    replies.push(reply)
    rest = reply.rest
  }
  return replies
}
