// What reaches an upstream (RFC 9110 7.6): which credentials let a request through, which fields are taken
// away and which are written, and that no target gets past the route map under another reading. The
// recorder behind the gateway keeps every byte.

import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { seed } from '../search.ts'
import { type Gateway, type LogLine, startGateway } from '../servers/gateway.ts'
import { send } from '../servers/raw-client.ts'
import { type Recorded, type Recorder, startRecorder } from '../servers/recorder.ts'
import { ask, host, type RawReply, readReply } from './raw-exchange.ts'

const upstream: Recorder = await startRecorder()
const { url } = upstream
const authority = url.replace('http://', '')
const identity = { subject: 'X-Remote-User', token: 'X-Token-Id', scopes: 'X-Token-Scopes' }
const local = { host: '127.0.0.1', port: 0 }
const gateway: Gateway = await startGateway({
  listen: [
    local,
    { host: '::1', port: 0 },
    { ...local, trustedProxies: { from: ['127.0.0.1', '10.0.0.0/8'], read: 'x-forwarded' } },
    { ...local, trustedProxies: { from: ['127.0.0.0/8'], read: 'forwarded' } },
  ],
  credentials: [
    { header: 'OSF-TOKEN' },
    { header: 'X-Auth-Token' },
    { authorization: 'bearer' },
    { authorization: 'oauth2' },
    { authorization: 'basic' },
    { query: 'api_token' },
  ],
  upstreams: {
    api: { url, headers: { Authorization: 'Basic dXA6cHc=', 'X-Api-Key': 'k' }, identity },
    based: { url: `${url}/base/path/`, host: 'client' },
    passing: { url, credentials: 'forward', identity: { subject: 'X-Other-User' } },
  },
  scopes: { read: 'Read', write: 'Write', extra: 'More' },
  routes: [
    { path: '/read/{rest...}', upstream: 'api', allow: { '*': 'read' } },
    { path: '/public/{rest...}', upstream: 'api', allow: { '*': 'public' } },
    { path: '/injected/{rest...}', upstream: 'api', allow: { '*': 'public' }, inject: true },
    { path: '/optional/{rest...}', upstream: 'api', allow: { '*': 'optional' } },
    { path: '/member', upstream: 'api', allow: { '*': 'authenticated' } },
    { path: '/scoped/{rest...}', upstream: 'api', allow: 'path-scope' },
    { path: '/either', upstream: 'api', allow: { GET: { any: ['read', 'write'] } } },
    { path: '/both', upstream: 'api', allow: { GET: { all: ['read', 'write'] } } },
    { path: '/bare', upstream: 'api', allow: 'read' },
    { path: '/mixed', upstream: 'api', allow: { GET: 'public', '*': 'write' } },
    { path: '/heads', upstream: 'api', allow: { GET: 'write', HEAD: 'read' } },
    {
      path: '/narrow',
      upstream: 'api',
      allow: { '*': 'read' },
      credentials: [{ header: 'OSF-TOKEN' }],
    },
    { path: '/based/{rest...}', upstream: 'based', allow: { '*': 'public' } },
    { path: '/passing/{rest...}', upstream: 'passing', allow: { '*': 'read' } },
    { path: '/admin/{rest...}', upstream: 'api', allow: { '*': 'write' } },
    {
      path: '/loose/{rest...}',
      upstream: 'api',
      allow: { '*': 'public' },
      pathParameters: 'allow',
      encodedSlash: 'allow',
    },
  ],
})
t.teardown(async () => {
  await gateway.stop()
  await upstream.stop()
})
const [plainUrl = '', ipv6Url = '', xForwardedUrl = '', forwardedUrl = ''] = gateway
  .log()
  .filter((line: LogLine) => line.msg === 'listening' && line.management !== true)
  .map((line) => String(line.url))
const [reader, writer, both, pathed, nearby] = await Promise.all([
  gateway.token('--subject', 'ada', '--scope', 'read'),
  gateway.token('--subject', 'bea', '--scope', 'write'),
  gateway.token('--subject', 'zoë 日本', '--scope', 'read,write'),
  gateway.token('--subject', 'paths', '--scope', 'GET /scoped/a', '--scope', 'POST /scoped/b/'),
  gateway.token('--subject', 'near', '--scope', 'read', '--allow-ip', '203.0.113.7'),
])

let asked = 0

/** Asks the gateway and resolves with the reply and with what the upstream got, if it got anything. */
async function exchange(
  line: string,
  fields: readonly string[] = [],
  at = plainUrl,
): Promise<{ reply: RawReply; got: Recorded | undefined }> {
  const id = `forwarding-${++asked}`
  const reply = await ask(at, line, [`X-Request-Id: ${id}`, ...fields])
  const got = upstream.requests.filter((request) => request.values('x-request-id')[0] === id)
  if (got.length > 1) throw new Error(`${line} arrived ${got.length} times`)
  return { reply, got: got[0] }
}

async function got(line: string, fields: readonly string[] = [], at = plainUrl): Promise<Recorded> {
  const { reply, got } = await exchange(line, fields, at)
  if (got === undefined) throw new Error(`${line}: ${reply.status} ${reply.body}`)
  return got
}

function basic(text: string): string {
  return `Authorization: Basic ${Buffer.from(text).toString('base64')}`
}

t.test('a token is found in every carrier, in each of its spellings', async (t) => {
  const encoded = Buffer.from(reader).toString('base64')
  const rows: [field: string, why: string][] = [
    [`OSF-TOKEN: ${reader}`, "Foundries' own field"],
    [`osf-token: ${reader}`, 'in lower case'],
    [`X-Auth-Token: ${reader}`, 'the other field'],
    [`Authorization: Bearer ${reader}`, 'Bearer'],
    [`authorization: bearer ${reader}`, 'in lower case'],
    [`Authorization: Bearer ${encoded}`, 'Bearer with the base64 of the token'],
    [`Authorization: OAuth2 ${reader}`, "Arvados' scheme"],
    [basic(`user:${reader}`), 'Basic, as the password'],
    [basic(`:${reader}`), 'without a user name'],
    [basic(`${reader}:`), 'as the user name, without a password'],
    [basic(`${reader}:x-oauth-basic`), 'as the user name, with the placeholder'],
    [basic(reader), 'all of it, without a colon'],
  ]
  for (const [field, why] of rows) {
    t.equal((await exchange('GET /read/x', [field])).reply.status, 200, why)
  }
  t.equal((await exchange(`GET /read/x?api_token=${reader}`)).reply.status, 200, 'the query')
})

t.test('credentials that are none, bad or two are refused', async (t) => {
  const one = `OSF-TOKEN: ${reader}`
  const rows: [line: string, fields: string[], status: number, code: string, why: string][] = [
    ['GET /read/x', [], 401, 'token_required', 'none'],
    ['GET /read/x', ['OSF-TOKEN:'], 401, 'token_required', 'an empty one'],
    ['GET /read/x', ['Authorization: Digest a'], 401, 'token_required', 'another scheme'],
    ['GET /read/x', ['OSF-TOKEN: x'], 401, 'invalid_token', 'an unknown one'],
    ['GET /read/x', [`OSF-TOKEN: ${reader}x`], 401, 'invalid_token', 'one character more'],
    ['GET /read/x', [`OSF-TOKEN: ${reader.slice(0, -1)}`], 401, 'invalid_token', 'one less'],
    ['GET /read/x', [basic('user:wrong')], 401, 'invalid_token', 'a wrong password'],
    ['GET /read/x', ['Authorization: Basic !'], 401, 'invalid_token', 'Basic without base64'],
    ['GET /read/x', [one, one], 400, 'ambiguous_credentials', 'a carrier twice'],
    [
      'GET /read/x',
      [`Authorization: Bearer ${reader}`, `Authorization: Bearer ${reader}`],
      400,
      'ambiguous_credentials',
      'Authorization twice',
    ],
    [
      'GET /read/x',
      [basic(`u:${reader}`), 'Authorization: Digest a'],
      400,
      'ambiguous_credentials',
      'Authorization twice, of two schemes',
    ],
    [
      'GET /read/x',
      [one, `X-Auth-Token: ${writer}`],
      400,
      'ambiguous_credentials',
      'two tokens in two fields',
    ],
    [
      'GET /read/x',
      [one, basic(`u:${writer}`)],
      400,
      'ambiguous_credentials',
      'two tokens, one of them as a password',
    ],
    [
      `GET /read/x?api_token=${writer}`,
      [one],
      400,
      'ambiguous_credentials',
      'two tokens, one of them in the query',
    ],
    [
      `GET /read/x?api_token=${reader}&api%5Ftoken=${reader}`,
      [],
      400,
      'ambiguous_credentials',
      'the parameter twice, once in disguise',
    ],
    ['GET /optional/x', [one, `X-Auth-Token: ${writer}`], 400, 'ambiguous_credentials', 'optional'],
  ]
  for (const [line, fields, status, code, why] of rows) {
    const { reply, got } = await exchange(line, fields)
    t.match({ status: reply.status, code: reply.problem.code }, { status, code }, why)
    t.equal(got, undefined, `${why}: nothing was forwarded`)
  }
  const same = [one, `X-Auth-Token: ${reader}`, basic(`u:${reader}`)]
  t.equal((await exchange('GET /read/x', same)).reply.status, 200, 'the same token three times')
})

t.test('a carrier that a route does not accept is not looked at there', async (t) => {
  const own = `OSF-TOKEN: ${reader}`
  const other = `X-Auth-Token: ${writer}`
  const { reply } = await exchange('GET /narrow', [other])
  t.equal(reply.problem.code, 'token_required', 'a token elsewhere is none')
  const request = await got('GET /narrow', [own, other, other, basic('u:wrong')])
  t.strictSame(request.values('x-auth-token'), [], 'and it is removed all the same')
  t.equal((await got('GET /public/x', [own, own, other])).target, '/public/x', 'public takes none')
})

t.test('each requirement permits and denies as it says', async (t) => {
  const rows: [line: string, token: string, status: number, why: string][] = [
    ['GET /member', reader, 200, 'any active token'],
    ['GET /member', '', 401, 'no token'],
    ['GET /optional/x', '', 200, 'no token is needed'],
    ['GET /optional/x', reader, 200, 'an active one is used'],
    ['GET /optional/x', 'bad', 401, 'a bad one is refused'],
    ['GET /public/x', 'bad', 200, 'a bad one is not looked at'],
    ['GET /either', reader, 200, 'one of any'],
    ['GET /either', writer, 200, 'the other of any'],
    ['GET /either', pathed, 403, 'none of any'],
    ['GET /both', both, 200, 'all of all'],
    ['GET /both', reader, 403, 'one of all'],
    ['GET /bare', reader, 200, 'a bare scope stands for GET'],
    ['HEAD /bare', reader, 200, 'and HEAD'],
    ['POST /bare', reader, 405, 'and for nothing else'],
    ['HEAD /mixed', '', 200, 'HEAD follows GET, not the star'],
    ['PUT /mixed', writer, 200, 'the star is every other method'],
    ['PUT /mixed', reader, 403, 'with its scope'],
    ['HEAD /heads', reader, 200, 'HEAD may be listed itself'],
    ['GET /heads', reader, 403, 'which does not open GET'],
    ['HEAD /heads', writer, 403, 'nor does GET then open HEAD'],
    ['GET /scoped/a', pathed, 200, 'a path scope'],
    ['GET /scoped/a/', pathed, 200, 'with a trailing slash'],
    ['HEAD /scoped/a', pathed, 200, 'HEAD by the scope of GET'],
    ['GET /scoped/a/b', pathed, 403, 'not below it'],
    ['POST /scoped/a', pathed, 403, 'not by another method'],
    ['POST /scoped/b/c', pathed, 200, 'below a scope that ends in a slash'],
    ['POST /scoped/b/', pathed, 403, 'but not there itself'],
  ]
  for (const [line, token, status, why] of rows) {
    const { reply, got } = await exchange(line, token === '' ? [] : [`OSF-TOKEN: ${token}`])
    t.equal(reply.status, status, `${line}: ${why}`)
    t.equal(got !== undefined, status === 200, `${line}: forwarded if permitted`)
  }
})

t.test('no credential carrier reaches the upstream, in any spelling', async (t) => {
  const fields = [
    `OSF-TOKEN: ${reader}`,
    `X-Auth-Token: ${reader}`,
    basic(`user:${reader}`),
    `OSF_TOKEN: ${reader}`,
    `X.Auth.Token: ${reader}`,
    'Proxy-Authorization: Basic c2VjcmV0',
  ]
  for (const path of ['/read/x', '/public/x', '/optional/x', '/based/x', '/injected/x']) {
    const { head } = await got(`GET ${path}?a=1&api%5Ftoken=${reader}&b=%41`, fields)
    const text = head.replace('Authorization: Basic dXA6cHc=\r\n', '')
    t.notMatch(text, /auth|osf|secret/i, `${path}: none of the fields`)
    t.notOk(text.includes(reader) || text.includes(btoa(`user:${reader}`)), `${path}: no token`)
    t.match(text, new RegExp(`^GET (/base/path)?${path}\\?a=1&b=%41 `), `${path}: the rest stays`)
  }
  const alone = await got(`GET /read/x?api_token=${reader}`)
  t.match(alone.target, /^\/read\/x\??$/, 'a query of credentials alone')
})

t.test('an upstream that is said to take credentials gets them', async (t) => {
  const fields = [`OSF-TOKEN: ${reader}`, basic(`user:${reader}`)]
  const request = await got(`GET /passing/x?api_token=${reader}`, fields)
  t.strictSame(request.values('osf-token'), [reader])
  t.strictSame(request.values('authorization'), [fields[1]?.slice('Authorization: '.length)])
  t.equal(request.target, `/passing/x?api_token=${reader}`)
})

t.test('hop-by-hop fields, and those that Connection names, stay behind', async (t) => {
  const request = await got('POST /read/x', [
    `OSF-TOKEN: ${reader}`,
    'Connection: X-Private, x-other, Host, X-Forwarded-For, X-Remote-User, X-Api-Key, Content-Length',
    'Connection: Keep-Alive',
    'X-Private: 1',
    'X-Other: 1',
    'Keep-Alive: timeout=5',
    'Proxy-Connection: keep-alive',
    'Proxy-Authenticate: Basic',
    'TE: trailers',
    'Trailer: X-Sum',
    'Upgrade: h2c',
    'HTTP2-Settings: AA',
    'X-Kept: yes',
    'Cookie: a=b',
    'Content-Length: 0',
  ])
  const gone = `x-private x-other keep-alive proxy-connection proxy-authenticate te trailer upgrade
    http2-settings`.split(/\s+/)
  for (const name of gone) t.strictSame(request.values(name), [], name)
  t.strictSame(request.values('x-kept'), ['yes'])
  t.strictSame(request.values('cookie'), ['a=b'])
  t.strictSame(request.values('x-forwarded-for'), ['127.0.0.1'], 'what the gateway sets stays')
  t.strictSame(request.values('x-remote-user'), ['ada'])
  t.strictSame(request.values('x-api-key'), ['k'])
  t.strictSame(request.values('content-length'), ['0'])
})

t.test('forwarding fields come from the gateway alone', async (t) => {
  const forged =
    `X-Forwarded-For X-Forwarded-Proto X-Forwarded-Host X-Forwarded-Port X-Forwarded-Prefix
    X-Forwarded-Server X-Forwarded-User X-Forwarded-Uri X_Forwarded_For X-Forwarded Forwarded X-Real-IP
    X_Real_IP X-Original-URL X-Original-Uri X-Rewrite-URL X-Client-IP True-Client-IP X-Host
    X-Cluster-Client-IP`.split(/\s+/)
  const request = await got('GET /public/x', [
    `Host: ${host}:8080`,
    ...forged.map((name) => `${name}: forged`),
  ])
  t.notMatch(request.head, /forged/)
  t.strictSame(request.values('x-forwarded-for'), ['127.0.0.1'])
  t.strictSame(request.values('x-forwarded-proto'), ['http'])
  t.strictSame(request.values('x-forwarded-host'), [`${host}:8080`])
  t.strictSame(request.values('forwarded'), [`for=127.0.0.1;host="${host}:8080";proto=http`])
})

t.test('an IPv6 client is told as RFC 7239 writes it', async (t) => {
  const request = await got('GET /public/x', [], ipv6Url)
  t.strictSame(request.values('x-forwarded-for'), ['::1'])
  t.strictSame(request.values('forwarded'), [`for="[::1]";host="${host}";proto=http`])
})

t.test('what a trusted proxy says in X-Forwarded fields is kept and extended', async (t) => {
  const request = await got(
    'GET /public/x',
    [
      'X-Forwarded-For: 198.51.100.1',
      'X-Forwarded-For: 203.0.113.7, 10.0.0.9',
      'X-Forwarded-Proto: https',
      'X-Forwarded-Host: public.example',
      'Forwarded: for=192.0.2.66',
      'X-Real-IP: 192.0.2.66',
    ],
    xForwardedUrl,
  )
  const hops = '198.51.100.1, 203.0.113.7, 10.0.0.9, 127.0.0.1'
  t.strictSame(request.values('x-forwarded-for'), [hops])
  t.strictSame(request.values('x-forwarded-proto'), ['https'])
  t.strictSame(request.values('x-forwarded-host'), ['public.example'])
  t.notMatch(request.head, /192\.0\.2\.66/, 'the fields of the other kind are not believed')
  const silent = await got('GET /public/x', [], xForwardedUrl)
  t.strictSame(silent.values('x-forwarded-for'), ['127.0.0.1'], 'a proxy that says nothing')
})

t.test('what a trusted proxy says in Forwarded is kept and extended', async (t) => {
  const own = 'for=203.0.113.7;host="public.example";proto=https;by=_edge, for="[2001:db8::1]:4711"'
  const request = await got(
    'GET /public/x',
    [`Forwarded: ${own}`, 'X-Forwarded-For: 192.0.2.66'],
    forwardedUrl,
  )
  const [value = '', ...others] = request.values('forwarded')
  t.strictSame(others, [])
  t.ok(value.startsWith(`${own}, for=127.0.0.1;`), `appended to its own: ${value}`)
  t.notMatch(request.head, /192\.0\.2\.66/, 'the fields of the other kind are not believed')
  const once = await got(
    'GET /public/x',
    ['Forwarded: for=1.2.3.4;proto=https;host=p.example'],
    forwardedUrl,
  )
  t.strictSame(once.values('x-forwarded-proto'), ['https'])
  t.strictSame(once.values('x-forwarded-host'), ['p.example'])
})

t.test(
  'a token that is bound to an address is judged by the client that a proxy vouches for',
  async (t) => {
    const from = async (value: string, at: string): Promise<number> => {
      const fields = [`OSF-TOKEN: ${nearby}`, `X-Forwarded-For: ${value}`]
      return (await exchange('GET /read/x', fields, at)).reply.status
    }
    t.equal(await from('203.0.113.7', xForwardedUrl), 200, 'the client itself')
    t.equal(await from('203.0.113.7, 10.1.2.3', xForwardedUrl), 200, 'over two trusted proxies')
    t.equal(
      await from('203.0.113.7, 198.51.100.1', xForwardedUrl),
      403,
      'made up by another client',
    )
    t.equal(await from('203.0.113.7', plainUrl), 403, 'said by nobody that is trusted')
    t.equal(await from('203.0.113.7', forwardedUrl), 403, 'said in the other kind of field')
    const { reply } = await exchange('GET /read/x', [`OSF-TOKEN: ${nearby}`])
    t.equal(reply.problem.code, 'address_not_allowed')
    t.match(reply.problem.detail, /127\.0\.0\.1/, 'the sentence names the address')
  },
)

t.test('identity comes from the gateway alone, whatever the spelling', async (t) => {
  const forged = `X-Remote-User X_Remote_User x.remote.user X-REMOTE_USER X-Token-Id X_Token_Scopes
    X-Other-User X_OTHER_USER`.split(/\s+/)
  const fields = forged.map((name) => `${name}: forged`)
  for (const path of ['/read/x', '/public/x', '/optional/x', '/based/x', '/passing/x']) {
    const request = await got(`GET ${path}`, [`OSF-TOKEN: ${reader}`, ...fields])
    t.notMatch(request.head, /forged/, path)
  }
  const known = await got('GET /read/x', [`OSF-TOKEN: ${reader}`])
  t.strictSame(known.values('x-remote-user'), ['ada'])
  t.match(known.values('x-token-id'), [/^[0-9a-f-]{36}$/])
  t.strictSame(known.values('x-token-scopes'), ['read'])
  t.strictSame((await got('GET /public/x', [`OSF-TOKEN: ${reader}`])).values('x-remote-user'), [])
  const optional = await got('GET /optional/x', [`OSF-TOKEN: ${reader}`])
  t.strictSame(optional.values('x-remote-user'), ['ada'])
  const encoded = await got('GET /read/x', [`OSF-TOKEN: ${both}`])
  t.strictSame(encoded.values('x-remote-user'), ['zo%C3%AB %E6%97%A5%E6%9C%AC'])
  t.strictSame(encoded.values('x-token-scopes'), ['read, write'])
})

t.test("an upstream's own fields are set for requests with a token", async (t) => {
  const forged = ['X-Api-Key: mine', 'X_Api_Key: mine']
  const keys = async (path: string, ...fields: string[]): Promise<string[]> => {
    const request = await got(`GET ${path}`, [...forged, ...fields])
    t.notMatch(request.head, /mine/, `${path}: never the client's`)
    return [...request.values('x-api-key'), ...request.values('authorization')]
  }
  const own = ['k', 'Basic dXA6cHc=']
  t.strictSame(await keys('/read/x', `OSF-TOKEN: ${reader}`), own, 'an authenticated route')
  t.strictSame(await keys('/public/x', `OSF-TOKEN: ${reader}`), [], 'not on a public one')
  t.strictSame(await keys('/injected/x'), own, 'unless it says inject')
  t.strictSame(await keys('/optional/x'), [], 'optional without a token is as public')
  t.strictSame(await keys('/optional/x', `OSF-TOKEN: ${reader}`), own, 'optional with one')
})

t.test('Host, base path and target arrive as configured and as received', async (t) => {
  t.strictSame((await got('GET /public/x', ['Host: a.example:81'])).values('host'), [authority])
  const based = await got('GET /based/x?y', ['Host: A.example:81'])
  t.strictSame(based.values('host'), ['A.example:81'], "the client's own, where it says so")
  t.equal(based.target, '/base/path/based/x?y')
  const targets = [
    '/public',
    '/public/',
    '/public/x?',
    '/public/x?a=/../b//c/%2e%2e;d&e=%zz&f=?',
    '/public/a"<>^{|}`b',
    "/public/~u/a-b_c!$&'()*+,=:@",
    '/public/caf%C3%A9/a%20b/%7Euser/100%25',
    '/public/%e2%82%ac',
    '/loose/a;v=1/b%2Fc;d',
  ]
  for (const target of targets) t.equal((await got(`GET ${target}`)).target, target)
  t.equal((await got(`GET http://${host}/public/abs?x`)).target, '/public/abs?x', 'absolute-form')
})

t.test('a request keeps its other fields, in their order and case', async (t) => {
  const fields = ['X-One: 1', 'accept: */*', 'X-One: 2', 'User-Agent: caf\xe9', 'X-Empty:']
  const request = await got('GET /public/x', fields)
  const kept = request.fields.filter((_, i) =>
    /^(x-one|accept|user-agent|x-empty)$/i.test(request.fields[i - (i % 2)] ?? ''),
  )
  t.strictSame(kept, [
    'X-One',
    '1',
    'accept',
    '*/*',
    'X-One',
    '2',
    'User-Agent',
    'caf\xe9',
    'X-Empty',
    '',
  ])
})

// One reading of a path after the other; any server behind the gateway uses some of them, in some order.
const readings: ((path: string) => string)[] = [
  (path) => path.replace(/[?#].*$/s, ''),
  (path) => path.replace(/%([0-9a-f]{2})/gi, (_, hex) => character(hex)),
  (path) => path.replace(/%u00([0-9a-f]{2})/gi, (_, hex) => character(hex)),
  (path) => path.replaceAll('\\', '/'),
  (path) => path.replace(/;[^/]*/g, ''),
  (path) => path.replace(/\/{2,}/g, '/'),
  (path) => path.toLowerCase(),
  (path) => Buffer.from(path, 'latin1').toString('utf8').normalize('NFKC'),
  (path) => path.replace(/[\0-\x20\x7f]/g, ''),
  (path) => path.replace(/\0.*$/s, ''),
  (path) => path.replace(/^https?:\/\/[^/?#]*/i, ''),
  resolveDots,
]
const readingsDepthMax = 4
const protectedPattern = /^\/+admin(?![a-z0-9_-])/i

function character(hex: string): string {
  return String.fromCharCode(Number.parseInt(hex, 16))
}

function resolveDots(path: string): string {
  const kept: string[] = []
  for (const segment of path.split('/')) {
    if (segment === '..') kept.pop()
    else if (segment !== '.') kept.push(segment)
  }
  const resolved = kept.join('/')
  return resolved.startsWith('/') ? resolved : `/${resolved}`
}

/** Every path that the target is under up to so many of the readings, one after the other. */
function readAsPaths(target: string): Set<string> {
  const seen = new Set([target])
  let fresh = [target]
  for (let depth = 0; depth < readingsDepthMax; depth++) {
    const next = fresh.flatMap((path) => readings.map((read) => read(path)))
    fresh = [...new Set(next)].filter((path) => !seen.has(path))
    for (const path of fresh) seen.add(path)
  }
  return seen
}

/** Sends the target without a token; whatever arrives is nothing that needs one. True if it arrived. */
async function staysOutside(target: string, hosts: readonly string[] = [host]): Promise<boolean> {
  const id = `outside-${++asked}`
  const fields = [...hosts.map((value) => `Host: ${value}`), `X-Request-Id: ${id}`]
  const bytes = `GET ${target} HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n`
  const { status } = readReply(await send(gateway.url, bytes))
  const arrivals = upstream.requests.filter((one) => one.values('x-request-id')[0] === id)
  if (arrivals.length !== (status === 200 ? 1 : 0)) throw new Error(`${arrivals.length} arrived`)
  for (const { target: arrived } of arrivals) {
    const inside = [...readAsPaths(arrived)].find((path) => protectedPattern.test(path))
    if (inside !== undefined) throw new Error(`${arrived} may be read as ${inside}`)
  }
  return status === 200
}

t.test('no second path gets in beside the one that is decided on', async (t) => {
  for (const method of ['COPY', 'MOVE']) {
    const reply = await ask(gateway.url, `${method} /public/x`, ['Destination: /admin/y'])
    t.match(
      { status: reply.status, code: reply.problem.code },
      { status: 400, code: 'bad_request' },
    )
  }
  t.notOk(upstream.requests.some((request) => request.values('destination').length > 0))
})

t.test('no target of the table gets in without a token under any common reading', async (t) => {
  const table = readFileSync(new URL('../fixtures/request-targets.tsv', import.meta.url), 'utf8')
  const bytesOf = (text: string): string =>
    text.replace(/\\x([0-9a-f]{2})/g, (_, hex) => character(hex))
  let served = 0
  for (const line of table.split('\n')) {
    const [raw, hosts] = line.split('\t')
    if (raw === undefined || hosts === undefined) continue
    const values = { '-': [host], none: [], empty: [''] }[hosts] ?? bytesOf(hosts).split('|')
    const prefixes = ['', '/public', '/loose', '/public/x/../..', '/admin']
    const sent = prefixes.map((prefix) => staysOutside(`${prefix}${bytesOf(raw)}`, values))
    for (const arrived of await Promise.all(sent)) if (arrived) served += 1
  }
  t.ok(served > 40, 'and ordinary ones are served')
})

t.test('nor does any made-up target', async () => {
  const pieces = `/ // . .. ; %3b %2f %2F %5c %2e %2E %252e %252f %c0%ae %ef%bc%8e %00 %09 % %u002e ? #
    admin ADMIN %61dmin public loose x a%2Fb ..; .; %20 %7e @ : http://gateway.example ..%2f ..%5c`
  const piece = fc.constantFrom(...pieces.split(/\s+/), '\\', '\xc0\xae', '\t')
  const start = fc.constantFrom(
    '/public/',
    '/loose/',
    '/public',
    '/',
    '',
    'http://gateway.example/',
  )
  const target = fc
    .tuple(start, fc.array(piece, { minLength: 1, maxLength: 8 }))
    .map(([first, rest]) => first + rest.join(''))
  const several = fc.array(target, { minLength: 8, maxLength: 8 })
  const property = fc.asyncProperty(several, async (made) => {
    await Promise.all(made.map((one) => staysOutside(one)))
  })
  await fc.assert(property, { seed, numRuns: 100 })
})

t.test('the property finds what it looks for', async (t) => {
  const caught = ['/public/../admin', '/public/%252e%252e/admin', '/public/..;/admin', '/ADMIN/x']
  for (const target of caught) {
    t.ok(
      [...readAsPaths(target)].some((path) => /^\/admin/.test(path)),
      target,
    )
  }
  t.notOk([...readAsPaths('/public/administer')].some((path) => /^\/admin/.test(path)))
})

t.test('all that ever came upstream was well-formed', async (t) => {
  t.strictSame(upstream.violations, [])
})
