// The life of the process as operators and supervisors see it: start, readiness, log, the change of tokens
// while it runs, drain and end. Every gateway here is a process of its own, told what to do by signals.

import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { getPriority } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openSqliteStore } from '../../gateway/tokens/sqlite.ts'
import { digestSecret, type TokenRecord } from '../../gateway/tokens/token.ts'
import { type Finished, run } from '../servers/command.ts'
import { type Gateway, projectFolder, startGateway } from '../servers/gateway.ts'
import { makeFolder, removeFolder } from '../servers/lifetime.ts'
import { type Connection, connect, wholeReplyBytes } from '../servers/raw-client.ts'
import { closedPort, until } from '../servers/ready.ts'
import { type Recorder, startRecorder } from '../servers/recorder.ts'
import { makeToken } from '../tokens/records.ts'

const cli = join(projectFolder, 'gateway', 'main.js')
/** A running gateway sees a change of a token within so long. */
const changeMs = 1_000
const uploadPieces = 10
const uploadPieceMs = 200

const api: Recorder = await startRecorder()
t.teardown(() => api.stop())

const down = `http://127.0.0.1:${closedPort}`
const configuration = {
  upstreams: { api: { url: api.url }, down: { url: down } },
  scopes: { 'api:use': 'Use the API', 'api:other': 'Nothing here' },
  routes: ['api', 'down'].map((upstream) => ({
    name: upstream,
    path: `/${upstream}/{rest...}`,
    upstream,
    methodOverride: 'ignored',
    allow: { GET: 'api:use', PUT: 'api:use' },
  })),
}
const createArgs = ['--subject', 'ada', '--scope', 'api:use']

/** Runs throughout, for all that needs no gateway of its own. */
const gateway: Gateway = await startGateway({
  ...configuration,
  listen: [{ port: 0 }, { host: '0.0.0.0', port: 0 }],
  credentials: [
    ...[{ query: 'api_token' }, { header: 'OSF-TOKEN' }],
    ...[{ authorization: 'bearer' }, { authorization: 'basic' }],
  ],
})
t.teardown(() => gateway.stop())

/** A token written into the authority as another process of the gateway does it. */
async function issue(gateway: Gateway, changes: Partial<TokenRecord> = {}) {
  const token = makeToken({ scopes: ['api:use'], subject: 'ada', ...changes })
  await store(gateway, token)
  return token
}

async function store(gateway: Gateway, { record, secret }: ReturnType<typeof makeToken>) {
  const authority = openSqliteStore(join(gateway.folder, 'var', 'tokens.db'), { busyMs: 5_000 })
  await authority.create(record, [digestSecret(secret)])
  await authority.close()
}

/** The end of a `serve` that cannot start. */
async function served(t: Test, text: string | object, args: string[] = []): Promise<Finished> {
  const folder = makeFolder('running')
  t.teardown(() => removeFolder(folder))
  const file = join(folder, 'gateway.yaml')
  const whole =
    typeof text === 'string'
      ? text
      : JSON.stringify({
          version: 1,
          listen: { port: 0 },
          management: 'off',
          ...configuration,
          ...text,
        })
  writeFileSync(file, whole)
  return run(process.execPath, [cli, 'serve', '--config', file, ...args], { cwd: folder })
}

async function status(url: string, token?: string): Promise<number> {
  const headers: Record<string, string> = token === undefined ? {} : { 'OSF-TOKEN': token }
  const reply = await fetch(url, { headers })
  await reply.arrayBuffer()
  return reply.status
}

/** Milliseconds until a request with the token has this status; waits no longer than a change may take. */
async function becomes(gateway: Gateway, token: string, expected: number): Promise<number> {
  const start = performance.now()
  await until(
    `status ${expected}`,
    async () => (await status(`${gateway.url}/api/`, token)) === expected || undefined,
    changeMs,
  )
  return performance.now() - start
}

function refuses(url: string): Promise<boolean> {
  return connect(url).then(
    (connection) => {
      connection.close()
      return false
    },
    () => true,
  )
}

/** A connection that has had one reply and sends nothing. */
async function idling(gateway: Gateway): Promise<Connection> {
  const connection = await connect(gateway.url)
  connection.write('GET /none HTTP/1.1\r\nHost: a\r\n\r\n')
  await connection.receive('a reply', (text) => wholeReplyBytes(text) !== undefined)
  return connection
}

/** A request whose reply never ends, after the first bytes of it. */
async function downloading(gateway: Gateway, token: string): Promise<Connection> {
  async function* endless(): AsyncGenerator<string> {
    yield 'begun'
    await new Promise(() => {})
  }
  api.respond(() => ({ chunks: endless() }))
  const connection = await connect(gateway.url)
  connection.write(`GET /api/endless HTTP/1.1\r\nHost: a\r\nOSF-TOKEN: ${token}\r\n\r\n`)
  await connection.receive('the beginning', (text) => text.includes('begun'))
  api.respond(() => undefined)
  return connection
}

t.test('Every listener says where it accepts, as a line of JSON', async (t) => {
  const lines = gateway.log().filter(({ msg }) => msg === 'listening')
  t.equal(lines.length, 3)
  for (const line of lines) {
    t.match(line, { url: /^http:\/\/127\.0\.0\.1:[1-9]\d*$/, level: 'info' })
    t.match(line.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  }
  t.equal(lines.filter(({ management }) => management === true).length, 1)
  for (const { url, management } of lines) {
    t.equal(await status(`${url}/api/`), management ? 404 : 401)
  }
})

t.test('With `management: off` there is the public listener alone', async (t) => {
  const own = await startGateway({ ...configuration, management: 'off' })
  t.equal(await status(`${own.url}/api/`), 401)
  await own.logged('the request', ({ msg }) => msg === 'request')
  await own.stop()
  t.equal(own.log().filter(({ msg }) => msg === 'listening').length, 1)
  // The whole life of a gateway has passed: all of stdout is JSON, and stderr is empty.
  t.equal(own.messages().trimEnd().split('\n').length, own.log().length)
})

t.test(
  'The management listener says that it lives, is ready, and how each part does',
  async (t) => {
    t.equal(await status(`${gateway.managementUrl}/livez`), 200)
    t.equal(await status(`${gateway.managementUrl}/readyz`), 200)
    const { secret } = await issue(gateway)
    t.equal(await status(`${gateway.url}/api/`, secret), 200)
    t.equal(await status(`${gateway.url}/down/`, secret), 502)
    const verbose = await fetch(`${gateway.managementUrl}/readyz?verbose`)
    t.equal(verbose.status, 200)
    const text = await verbose.text()
    for (const line of ['configuration: ok', 'authority: ok', 'upstream api: ok']) {
      t.match(text, new RegExp(`^${line}$`, 'm'))
    }
    t.match(text, /^upstream down: unavailable$/m)
  },
)

t.test(
  'Threads that collect and compile have less weight than the one that serves',
  { skip: process.platform !== 'linux' && 'threads have a priority of their own on Linux alone' },
  (t) => {
    const folder = `/proc/${gateway.pid}/task`
    const threads = readdirSync(folder).map(readThread)
    const theirs = threads.filter(({ name }) => name.endsWith('V8Worker'))
    t.ok(theirs.length > 0, 'they have the name that this Node gives them')
    const usual = getPriority()
    for (const { nice } of theirs) t.equal(nice, Math.min(usual + 10, 19))
    for (const { name, nice } of threads.filter((thread) => !theirs.includes(thread))) {
      t.equal(nice, usual, name)
    }
    t.end()

    /** See proc_pid_stat(5); a name is in parentheses, and field 19 is the nice value. */
    function readThread(id: string): { name: string; nice: number } {
      const [, name = '', rest = ''] =
        /^\d+ \((.*)\) (.*)$/s.exec(readFileSync(`${folder}/${id}/stat`, 'latin1')) ?? []
      return { name, nice: Number(rest.split(' ')[16]) }
    }
  },
)

t.test('What the management listener serves is not on the public one', async (t) => {
  for (const path of ['/livez', '/readyz', '/metrics']) {
    t.equal(await status(gateway.url + path), 404, path)
  }
})

t.test('The log has one line a request, with these fields and no others', async (t) => {
  const { secret, record } = await issue(gateway)
  const reply = await fetch(`${gateway.url}/api/%C3%A9?q=hidden`, {
    method: 'PUT',
    headers: { Authorization: `Bearer ${secret}`, 'X-Request-Id': 'line-1' },
    body: 'twelve bytes',
  })
  const bytesOut = (await reply.arrayBuffer()).byteLength
  const line = await gateway.logged('the request', ({ requestId }) => requestId === 'line-1')
  const { time, durationMs, upstreamMs, ...rest } = line
  t.same(rest, {
    level: 'info',
    msg: 'request',
    requestId: 'line-1',
    route: 'api',
    method: 'PUT',
    path: '/api/%C3%A9',
    status: 200,
    outcome: 'permit',
    reason: 'permitted',
    tokenId: record.id,
    subject: 'ada',
    address: '127.0.0.1',
    bytesIn: 12,
    bytesOut,
  })
  t.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  t.ok(Number(durationMs) >= Number(upstreamMs) && Number(upstreamMs) > 0)
  t.equal(gateway.log().filter(({ requestId }) => requestId === 'line-1').length, 1)
})

t.test('A denial is an audit line; a first request without credentials is none', async (t) => {
  const other = await issue(gateway, { subject: 'bob', scopes: ['api:other'] })
  for (const [sentence, token, expected, line] of [
    ['no token', undefined, 401, { reason: 'token_required', tokenId: null, subject: null }],
    ['an unknown token', 'nobodys', 401, { reason: 'invalid_token', audit: true }],
    [
      'a scope too few',
      other.secret,
      403,
      { reason: 'insufficient_scope', audit: true, subject: 'bob' },
    ],
  ] as const) {
    const path = `/api/${sentence.replaceAll(' ', '-')}`
    t.equal(await status(gateway.url + path, token), expected)
    const logged = await gateway.logged(sentence, (line) => line.path === path)
    t.match(logged, { ...line, outcome: 'deny', status: expected, msg: 'request' }, sentence)
    if (token === undefined) t.notOk('audit' in logged)
  }
})

t.test('No token, secret, Authorization value or query is ever logged', async (t) => {
  const { secret: token } = await issue(gateway)
  const basic = Buffer.from(`user:${token}`).toString('base64')
  const dead = new URL(`${gateway.url}/api/last?api_token=${token}&q=s3cr3t`)
  for (const [url, headers] of [
    [`${gateway.url}/api/?api_token=${token}&q=s3cr3t`, {}],
    [`${gateway.url}/none/?api_token=${token}&q=s3cr3t`, {}],
    [`${gateway.url}/api/?q=s3cr3t`, { 'OSF-TOKEN': token }],
    [`${gateway.url}/api/?q=s3cr3t`, { 'OSF-TOKEN': `${token}x` }],
    [`${gateway.url}/api/%41?q=s3cr3t`, { Authorization: `Basic ${basic}` }],
    [`${gateway.url}/api/?q=s3cr3t`, { Authorization: `Basic ${basic}` }],
    [dead.href, {}],
  ] as [string, Record<string, string>][]) {
    await (await fetch(url, { headers })).arrayBuffer()
  }
  await gateway.logged('the last request', ({ path }) => path === '/api/last')
  const all = gateway.messages()
  for (const secret of [token, basic, 's3cr3t', token.slice(4, 20)]) t.notOk(all.includes(secret))
})

t.test(
  'A token that the command line made works at once, and revoked it is refused within a second',
  async (t) => {
    const args = ['token', 'create', ...createArgs, '--json']
    const { token, id } = JSON.parse((await gateway.command(...args)).stdout)
    t.equal(await status(`${gateway.url}/api/`, token), 200)
    t.equal((await gateway.command('token', 'revoke', id)).code, 0)
    await becomes(gateway, token, 401)
    const reply = await fetch(`${gateway.url}/api/`, { headers: { 'OSF-TOKEN': token } })
    t.match(await reply.json(), { code: 'invalid_token', detail: /token revoked on \d{4}-/ })
  },
)

t.test('Revoking a subject ends all its tokens, and no other', async (t) => {
  const [one, two, bobs] = await Promise.all(
    ['eve', 'eve', 'bob'].map(async (subject) => (await issue(gateway, { subject })).secret),
  )
  for (const token of [one, two, bobs]) t.equal(await status(`${gateway.url}/api/`, token), 200)
  t.equal((await gateway.command('token', 'revoke', '--subject', 'eve')).code, 0)
  for (const token of [one, two]) await becomes(gateway, token as string, 401)
  t.equal(await status(`${gateway.url}/api/`, bobs), 200)
})

t.test('A token works within a second though it was asked for before it was there', async (t) => {
  const token = makeToken({ scopes: ['api:use'] })
  t.equal(await status(`${gateway.url}/api/`, token.secret), 401)
  await store(gateway, token)
  await becomes(gateway, token.secret, 200)
})

t.test('A token ends when it expires, and the reply says when', async (t) => {
  const expiry = Date.now() + 1_500
  const { secret: token } = await issue(gateway, { expiresAt: expiry })
  t.equal(await status(`${gateway.url}/api/`, token), 200)
  await until('it expires', async () => {
    const now = Date.now()
    const isGood = (await status(`${gateway.url}/api/`, token)) === 200
    if (isGood && now > expiry) throw new Error('good after it expired')
    return isGood ? undefined : true
  })
  t.ok(Date.now() >= expiry, 'not before')
  const reply = await fetch(`${gateway.url}/api/`, { headers: { 'OSF-TOKEN': token } })
  t.equal(reply.status, 401)
  t.match(await reply.json(), {
    code: 'invalid_token',
    detail: `token expired on ${new Date(expiry).toISOString()}`,
  })
})

t.test(
  'SIGTERM: unready at once, open until the delay ends, requests in flight finish',
  async (t) => {
    const gateway = await startGateway({
      ...configuration,
      server: { drain: { delay: '1s', timeout: '20s' } },
    })
    const { secret: token } = await issue(gateway)
    const idle = await idling(gateway)
    const busy = await idling(gateway)
    const upload = await connect(gateway.url)
    const piece = 'x'.repeat(1000)
    const fields = `OSF-TOKEN: ${token}\r\nContent-Length: ${uploadPieces * piece.length}\r\n`
    upload.write(`PUT /api/drained HTTP/1.1\r\nHost: a\r\n${fields}\r\n${piece}`)
    const seen = await api.request('the upload', ({ target }) => target === '/api/drained')

    gateway.signal('SIGTERM')
    await until('unready', async () => {
      return (await status(`${gateway.managementUrl}/readyz`)) === 503 || undefined
    })
    t.equal(await status(`${gateway.managementUrl}/livez`), 200)
    t.equal(await status(`${gateway.url}/api/delayed`, token), 200, 'new connections are served')
    await until(
      'new connections are refused',
      async () => (await refuses(gateway.url)) || undefined,
    )
    busy.write(`GET /api/late HTTP/1.1\r\nHost: a\r\nOSF-TOKEN: ${token}\r\n\r\n`)
    const late = await busy.receive('a late reply', (text) => text.includes('"/api/late"'))
    t.match(late, /\r\nConnection: close\r\n/i)

    for (let sent = 1; sent < uploadPieces; sent++) {
      upload.write(piece)
      const due = (sent + 1) * piece.length
      await until('the piece', () => seen.bodyBytes === due || undefined)
      await tick(uploadPieceMs)
    }
    const reply = await upload.receiveAll()
    t.match(reply, /^HTTP\/1\.1 200 OK\r\n/)
    t.match(reply, /"bodyBytes":10000/)
    t.match(reply, /\r\nConnection: close\r\n/i)
    t.equal(seen.state, 'complete')
    await idle.receiveAll()
    t.equal(idle.ending(), 'end', 'an idle connection is ended, not cut')
    t.same(await gateway.exited, { code: 0, signal: null })
    await gateway.stop()
  },
)

t.test('SIGINT drains too, and with nothing in flight it ends at once', async (t) => {
  const gateway = await startGateway(configuration)
  const start = performance.now()
  gateway.signal('SIGINT')
  t.same(await gateway.exited, { code: 0, signal: null })
  t.ok(performance.now() - start < 1_000)
  await gateway.stop()
})

t.test('`drain.timeout` cuts what is still in flight, and the exit is 0', async (t) => {
  const gateway = await startGateway({
    ...configuration,
    server: { drain: { timeout: '1s' } },
  })
  const client = await downloading(gateway, (await issue(gateway)).secret)
  const start = performance.now()
  gateway.signal('SIGTERM')
  const reply = await client.receiveAll()
  t.equal(wholeReplyBytes(reply), undefined, 'it is no whole reply')
  t.same(await gateway.exited, { code: 0, signal: null })
  const elapsed = performance.now() - start
  t.ok(elapsed > 900 && elapsed < 2_500, `after ${elapsed} ms`)
  await gateway.stop()
})

t.test('A second signal ends it at once', async (t) => {
  const gateway = await startGateway(configuration)
  const client = await downloading(gateway, (await issue(gateway)).secret)
  gateway.signal('SIGTERM')
  await until('it drains', async () => {
    return (await status(`${gateway.managementUrl}/readyz`)) === 503 || undefined
  })
  const start = performance.now()
  gateway.signal('SIGTERM')
  await gateway.exited
  t.ok(performance.now() - start < 1_000)
  client.close()
  await gateway.stop().catch(() => {})
})

for (const which of ['listen', 'management'] as const) {
  t.test(`A port of \`${which}\` that is taken ends it with 1, naming the address`, async (t) => {
    const holder = net.createServer()
    holder.listen(0, '127.0.0.1')
    await once(holder, 'listening')
    t.teardown(() => holder.close())
    const { port } = holder.address() as net.AddressInfo
    const { code, stderr } = await served(t, { [which]: { host: '127.0.0.1', port } })
    t.equal(code, 1)
    t.match(stderr, new RegExp(`127\\.0\\.0\\.1:${port}.*(taken|in use)`))
    t.notMatch(stderr, /^ +at /m, 'no stack trace')
  })
}

t.test('A database that is missing is made, with its folder, for its owner alone', async (t) => {
  const gateway = await startGateway({
    ...configuration,
    tokens: { authority: 'sqlite:new/deep/tokens.db' },
  })
  t.teardown(() => gateway.stop())
  t.equal(await status(`${gateway.url}/api/`, await gateway.token(...createArgs)), 200)
  const file = join(gateway.folder, 'new', 'deep', 'tokens.db')
  t.equal(statSync(file).mode & 0o077, 0)
})

for (const [sentence, make] of [
  ['is no database', (file: string) => writeFileSync(file, 'no database at all\n'.repeat(500))],
  ['is a folder', (file: string) => mkdirSync(file)],
] as const) {
  t.test(`A database file that ${sentence} ends it with 1, naming the file`, async (t) => {
    const folder = makeFolder('running')
    t.teardown(() => removeFolder(folder))
    const file = join(folder, 'tokens.db')
    make(file)
    const { code, stdout, stderr } = await served(t, { tokens: { authority: `sqlite:${file}` } })
    t.equal(code, 1)
    t.ok(stderr.includes(file), stderr)
    t.notMatch(stderr, /^ +at /m, 'no stack trace')
    t.equal(stdout, '')
    if (!statSync(file).isDirectory()) t.match(readFileSync(file, 'utf8'), /^no database at all\n/)
  })
}

t.test('A bad configuration ends it with 78 and every complaint in its place', async (t) => {
  const text = [
    'version: 1',
    'listen: { port: 0 }',
    'upstreams:',
    '  api: { url: http://127.0.0.1:9 }',
    'routes:',
    '  - path: /a/',
    '    upstream: apy',
    '    allow: { GET: a:read }',
    'surprise: 1',
    '',
  ].join('\n')
  const { code, stdout, stderr } = await served(t, text)
  t.equal(code, 78)
  t.equal(stdout, '')
  t.match(stderr, /gateway\.yaml:7:15: .*apy/)
  t.match(stderr, /gateway\.yaml:8:\d+: .*a:read/)
  t.match(stderr, /gateway\.yaml:9:1: .*surprise/)
})

t.test('A configuration that is not there ends it with 78 and its name', async (t) => {
  const { code, stderr } = await run(process.execPath, [
    cli,
    'serve',
    '--config',
    '/nowhere/x.yaml',
  ])
  t.equal(code, 78)
  t.match(stderr, /\/nowhere\/x\.yaml/)
  t.notMatch(stderr, /^ +at /m)
})

t.test('SCOPEGATE_CONFIG names the configuration where `--config` does not', async (t) => {
  const env = { SCOPEGATE_CONFIG: '/nowhere/y.yaml' }
  const { code, stderr } = await run(process.execPath, [cli, 'serve'], { env })
  t.equal(code, 78)
  t.match(stderr, /\/nowhere\/y\.yaml/)
})

/** The pace of a slow client. */
function tick(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
