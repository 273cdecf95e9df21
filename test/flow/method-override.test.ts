// Methods in disguise, from outside: wherever an upstream might look for another method than the one of the
// request line, a route refuses, or decides and forwards what the request becomes, or says that its upstream
// does not look there.

import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import { type Recorded, type Recorder, startRecorder } from '../servers/recorder.ts'
import {
  ask,
  chunked,
  nextReply,
  type RawReply,
  withConnection,
  writeRequest,
} from './raw-exchange.ts'

const upstream: Recorder = await startRecorder()
const route = { upstream: 'api', allow: { GET: 'read', POST: 'write', DELETE: 'delete' } }
const gateway: Gateway = await startGateway({
  upstreams: { api: { url: upstream.url } },
  scopes: { read: 'Read', write: 'Write', delete: 'Delete' },
  routes: [
    { ...route, path: '/refuse/{rest...}' },
    { ...route, path: '/effective/{rest...}', methodOverride: 'effective' },
    { ...route, path: '/ignored/{rest...}', methodOverride: 'ignored' },
    {
      path: '/any/{rest...}',
      upstream: 'api',
      allow: { '*': 'write' },
      methodOverride: 'effective',
    },
    { path: '/git/{repository...}', protocol: 'git', upstream: 'api', allow: { fetch: 'read' } },
    {
      path: '/git/{rest...}',
      upstream: 'api',
      allow: { '*': 'write' },
      methodOverride: 'effective',
    },
    {
      path: '/open/{rest...}',
      upstream: 'api',
      allow: { POST: 'public', DELETE: 'delete' },
      methodOverride: 'effective',
    },
  ],
})
t.teardown(async () => {
  await gateway.stop()
  await upstream.stop()
})
const [writer, deleter] = await Promise.all([
  gateway.token('--subject', 'ada', '--scope', 'read,write'),
  gateway.token('--subject', 'bea', '--scope', 'delete'),
])

const form = 'Content-Type: application/x-www-form-urlencoded'
const multipart = 'Content-Type: multipart/form-data; boundary=b'
const formBytesMax = 64 * 1024
let asked = 0

/** One way to ask for DELETE. */
type Disguise = {
  readonly why: string
  readonly query?: string
  readonly fields?: readonly string[]
  readonly body?: string
}

const disguises: readonly Disguise[] = [
  { why: 'the field', fields: ['X-HTTP-Method-Override: DELETE'] },
  { why: 'in other case', fields: ['x-http-method-override: delete'] },
  { why: 'its kin', fields: ['X-HTTP-Method: DELETE'] },
  { why: 'its other kin', fields: ['X-Method-Override: DELETE'] },
  { why: 'with underscores', fields: ['X_HTTP_Method_Override: DELETE'] },
  { why: 'the query', query: '?_method=DELETE' },
  { why: 'among others', query: '?a=1&_method=DELETE&b=2' },
  { why: 'an escaped name', query: '?%5Fmethod=DELETE' },
  { why: 'escaped in lower case', query: '?%5fm%65thod=D%45LETE' },
  { why: 'behind a semicolon', query: '?a=1;_method=DELETE' },
  { why: 'a form', fields: [form], body: 'a=1&_method=DELETE' },
  { why: 'an escaped name in a form', fields: [form], body: '%5Fmethod=DELETE' },
  { why: 'a form with a charset', fields: [`${form}; charset=utf-8`], body: '_method=DELETE' },
  { why: 'a form in capitals', fields: [form.toUpperCase()], body: '_method=DELETE' },
  { why: 'a body without a type', body: '_method=DELETE' },
  {
    why: 'another type that Connection names, so that it is not forwarded',
    fields: ['Content-Type: application/json', 'Connection: content-type'],
    body: '_method=DELETE',
  },
  { why: 'an empty type', fields: ['Content-Type:'], body: '_method=DELETE' },
  { why: 'a multipart form', fields: [multipart], body: part('_method', 'DELETE') },
  {
    why: 'the last part of several',
    fields: [multipart],
    body: part('a', 'x\r\ny').replace(/--b--\r\n$/, part('_method', 'DELETE')),
  },
  {
    why: 'a name without quotes',
    fields: [multipart],
    body: part('_method', 'DELETE').replaceAll('"', ''),
  },
  {
    why: 'chunks',
    fields: [form, 'Transfer-Encoding: chunked'],
    body: chunked('_met', 'hod=DEL', 'ETE'),
  },
  {
    why: 'the end of a form of 64 KiB',
    fields: [form],
    body: `a=${'x'.repeat(formBytesMax - 17)}&_method=DELETE`,
  },
]

/** A multipart form with one field. */
function part(name: string, value: string): string {
  const head = `--b\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n`
  return `${head}${value}\r\n--b--\r\n`
}

async function post(
  path: string,
  token: string,
  { query = '', fields = [], body = '' }: Omit<Disguise, 'why'>,
): Promise<{ reply: RawReply; got: Recorded | undefined }> {
  const target = `/${path}/${++asked}${query}`
  const all = [`OSF-TOKEN: ${token}`, ...fields]
  const reply = await ask(gateway.url, `POST ${target}`, all, body)
  const got = upstream.requests.filter((request) => request.target === target)
  if (got.length > 1) throw new Error(`arrived ${got.length} times`)
  return { reply, got: got[0] }
}

function checkRefused(t: Test, reply: RawReply, why: string): void {
  const { status, problem } = reply
  t.match({ status, code: problem.code }, { status: 400, code: 'bad_request' }, why)
  t.match(problem.detail, /methodOverride/, `${why}: names the key`)
}

t.test('are refused where the route says nothing, and nothing arrives', async (t) => {
  for (const disguise of disguises) {
    for (const token of [writer, deleter, 'unknown']) {
      const { reply, got } = await post('refuse', token, disguise)
      checkRefused(t, reply, disguise.why)
      t.equal(got, undefined, `${disguise.why}: nothing arrived`)
    }
  }
})

t.test('are decided and forwarded where the route says effective', async (t) => {
  for (const { why, ...disguise } of disguises) {
    const denied = await post('effective', writer, disguise)
    t.equal(denied.reply.status, 403, `${why}: who may only POST is denied`)
    t.strictSame(denied.reply.problem.required, ['delete'], `${why}: for what it becomes`)
    t.equal(denied.got, undefined, `${why}: nothing arrived`)
    const { reply, got } = await post('effective', deleter, disguise)
    t.equal(reply.status, 200, `${why}: who may DELETE is permitted`)
    t.equal(got?.method, 'DELETE', `${why}: as that method`)
    t.notMatch(got?.head, /\r\nx.(http.)?method/i, `${why}: no field asks for another`)
  }
})

t.test('become no method that is never forwarded, or not allowed, or none', async (t) => {
  for (const method of ['TRACE', 'CONNECT']) {
    for (const disguise of [
      { fields: [`X-HTTP-Method-Override: ${method}`] },
      { fields: [form], body: `_method=${method}` },
    ]) {
      const { reply, got } = await post('any', writer, disguise)
      t.equal(reply.status, 405, method)
      t.equal(got, undefined, `${method}: nothing arrived`)
    }
  }
  const put = await post('effective', writer, { query: '?_method=PUT' })
  t.equal(put.reply.status, 405)
  const rows: [disguise: Omit<Disguise, 'why'>, why: string][] = [
    [{ query: '?_method=FROB' }, 'unknown'],
    [{ query: '?_method=' }, 'empty'],
    [{ query: '?_method=HEAD' }, 'HEAD, whose reply would leave its client waiting for a body'],
    [{ query: '?_method=GET&_method=DELETE' }, 'two'],
    [{ query: '?_method=GET', fields: ['X-HTTP-Method-Override: DELETE'] }, 'two in two places'],
    [{ query: '?_method=GET', fields: [form], body: '_method=DELETE' }, 'another in the body'],
  ]
  for (const [disguise, why] of rows) {
    for (const token of [writer, deleter]) {
      const { reply, got } = await post('effective', token, disguise)
      t.equal(reply.status, 400, why)
      t.equal(got, undefined, `${why}: nothing arrived`)
    }
  }
})

t.test('become no write to a git repository past git', async (t) => {
  for (const { why, ...disguise } of disguises) {
    const { reply, got } = await post('git/a.git/refs/heads', writer, disguise)
    t.equal(reply.status, 405, why)
    t.equal(got, undefined, `${why}: nothing arrived`)
  }
})

t.test('are no matter where the route says that its upstream ignores them', async (t) => {
  for (const { why, ...disguise } of disguises) {
    const { reply, got } = await post('ignored', writer, disguise)
    t.equal(reply.status, 200, why)
    t.equal(got?.method, 'POST', `${why}: as it came`)
    t.equal((await post('ignored', deleter, disguise)).reply.status, 403, `${why}: it is a POST`)
  }
  const long = { fields: [form], body: `a=${'x'.repeat(2 * formBytesMax)}` }
  t.equal((await post('ignored', writer, long)).got?.bodyBytes, long.body.length, 'of any size')
})

t.test('cannot hide in a form that is not looked through', async (t) => {
  const zipped = gzipSync('_method=DELETE').toString('latin1')
  const padding = `a=${'x'.repeat(formBytesMax)}&_method=DELETE`
  const rows: [disguise: Omit<Disguise, 'why'>, why: string][] = [
    [{ fields: [form], body: padding }, 'a longer form'],
    [{ body: padding }, 'a longer body without a type'],
    [{ fields: [multipart], body: part('a', padding) }, 'a longer multipart form'],
    [
      { fields: [form, 'Transfer-Encoding: chunked'], body: chunked('a=', padding) },
      'a longer form in chunks',
    ],
    [{ fields: [form, 'Content-Encoding: gzip'], body: zipped }, 'a compressed form'],
    [{ fields: [multipart, 'Content-Encoding: br'], body: 'x' }, 'a compressed multipart form'],
    [{ fields: ['Content-Encoding: gzip'], body: zipped }, 'a compressed body without a type'],
  ]
  for (const path of ['refuse', 'effective']) {
    for (const [disguise, why] of rows) {
      const { reply, got } = await post(path, writer, disguise)
      checkRefused(t, reply, `${path}: ${why}`)
      t.equal(got, undefined, `${path}, ${why}: nothing arrived`)
    }
  }
})

t.test('nor in a form that servers read in different ways', async (t) => {
  const rows: [disguise: Omit<Disguise, 'why'>, why: string][] = [
    [{ fields: [form, 'Content-Type: text/plain'], body: '_method=DELETE' }, 'two types'],
    [{ fields: ['Content-Type: text/plain', form], body: '_method=DELETE' }, 'the other way round'],
    [{ fields: [`${multipart}; boundary=c`], body: part('_method', 'DELETE') }, 'two boundaries'],
    [
      { fields: [`${form}; charset=utf-16`], body: '\0_\0m\0e\0t\0h\0o\0d\0=\0P\0U\0T' },
      'another charset',
    ],
  ]
  for (const [disguise, why] of rows) {
    const { reply, got } = await post('refuse', writer, disguise)
    t.equal(reply.status, 400, why)
    t.equal(got, undefined, `${why}: nothing arrived`)
  }
})

t.test('are not seen where there are none', async (t) => {
  const text = 'Content-Type: text/plain'
  const rows: [disguise: Omit<Disguise, 'why'>, why: string][] = [
    [{ fields: [form], body: 'a=1&method=DELETE&my_method=x' }, 'other names'],
    [{ fields: [form], body: 'a=_method=DELETE' }, 'in a value'],
    [{ query: '?method=DELETE&x=%41%zz' }, 'an ordinary query'],
    [{ fields: ['Content-Type: application/json'], body: '{"_method":"DELETE"}' }, 'JSON'],
    [{ fields: [text], body: `_method=DELETE&${'x'.repeat(2 * formBytesMax)}` }, 'a long text'],
    [{ fields: [text, 'Content-Encoding: gzip'], body: 'x' }, 'a compressed text'],
    [{ fields: [multipart], body: part('a', '_method=DELETE') }, 'the text of a part'],
    [{ body: '' }, 'no body'],
    [{ fields: [form], body: `a=${'x'.repeat(formBytesMax - 2)}` }, 'a form of 64 KiB'],
    [{ fields: [form], body: '' }, 'an empty form'],
  ]
  for (const [{ body = '', ...rest }, why] of rows) {
    for (const path of ['refuse', 'effective']) {
      const { reply, got } = await post(path, writer, { ...rest, body })
      t.equal(reply.status, 200, `${path}: ${why}`)
      t.match(got, { method: 'POST', bodyBytes: body.length }, `${path}: ${why}: as it came`)
      t.equal(got?.body.toString('latin1').slice(0, 99), body.slice(0, 99), `${why}: its bytes`)
    }
  }
})

t.test('are looked for in the query and fields of every method, in bodies of POST', async (t) => {
  const token = `OSF-TOKEN: ${writer}`
  checkRefused(t, await ask(gateway.url, 'GET /refuse/x?_method=DELETE', [token]), 'the query')
  const field = 'X-HTTP-Method-Override: POST'
  checkRefused(t, await ask(gateway.url, 'GET /refuse/x', [token, field]), 'the field')
  const deleting = [`OSF-TOKEN: ${deleter}`, form]
  const reply = await ask(gateway.url, 'DELETE /refuse/x', deleting, '_method=POST')
  t.equal(reply.status, 200, 'a form with DELETE is a body as any other')
})

t.test('a client that waits for 100 gets it before its form is looked through', async (t) => {
  const before = upstream.requests.length
  const start = (path: string, token: string): string =>
    writeRequest(`POST /${path}/${++asked}`, [
      `OSF-TOKEN: ${token}`,
      form,
      'Expect: 100-continue',
      'Content-Length: 14',
    ])
  const finish = async (path: string, token: string): Promise<RawReply> =>
    withConnection(gateway.url, async (connection) => {
      connection.write(start(path, token))
      await connection.receive('100', (received) => received.startsWith('HTTP/1.1 100 '))
      connection.write('_method=DELETE')
      return nextReply(connection)
    })
  checkRefused(t, await finish('refuse', writer), 'refused')
  const denied = await finish('effective', writer)
  t.equal(denied.status, 403, 'decided again for what it became')
  t.equal((await finish('open', 'unknown')).status, 401, 'a token is looked up for it')
  t.equal((await finish('ignored', writer)).status, 200, 'ignored')
  await withConnection(gateway.url, async (connection) => {
    connection.write(start('refuse', 'unknown'))
    const reply = await nextReply(connection)
    t.equal(reply.status, 401)
    t.strictSame(reply.interim, [], 'no 100 for whom the method alone is not permitted')
  })
  t.equal(upstream.requests.length - before, 1, 'only what was ignored arrived')
})

t.test('all that ever came upstream was well-formed', async (t) => {
  t.strictSame(upstream.violations, [])
})
