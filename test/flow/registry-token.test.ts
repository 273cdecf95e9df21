// The token service from outside: what it answers and refuses, and what its grants are good for. The
// registry behind the gateway is a real one; of what is refused it must not have seen anything.

import { request } from 'node:http'
import t from 'tap'
import { grantLifetimeSeconds, leewaySeconds, writeGrant } from '../../gateway/tokens/grant.ts'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import { sha256 } from '../servers/oci-layout.ts'
import { connect } from '../servers/raw-client.ts'
import { until } from '../servers/ready.ts'
import { startRecorder } from '../servers/recorder.ts'
import { type RegistryServer, startRegistry } from '../servers/registry-server.ts'
import { tokenMaker } from '../servers/token-maker.ts'

const grantKey = 'a key of the test, of more than 32 characters'
const upstream: RegistryServer = await startRegistry()
const allow = { pull: 'read', push: 'write', delete: 'delete', catalog: 'authenticated' }
const registry = { protocol: 'registry', upstream: 'hub', allow }
const gateway: Gateway = await startGateway({
  listen: {
    host: '127.0.0.1',
    port: 0,
    trustedProxies: { from: ['127.0.0.2'], read: 'x-forwarded' },
  },
  tokens: { authority: 'sqlite:var/tokens.db', grantKey },
  upstreams: { hub: { url: upstream.url } },
  scopes: {
    read: 'Pull',
    write: { description: 'Push', implies: ['read'] },
    delete: 'Delete',
  },
  routes: [
    { ...registry, name: 'hub', challenge: 'bearer' },
    { path: '/token', service: 'registry-token', allow: 'public' },
    { path: '/api', upstream: 'hub', allow: 'authenticated' },
    { ...registry, name: 'basic', host: 'basic.test' },
    {
      host: 'basic.test',
      path: '/auth/token',
      service: 'registry-token',
      allow: 'public',
      cors: { origins: ['https://ui.test'] },
    },
    {
      ...registry,
      name: 'shared',
      host: 'shared.test',
      challenge: 'bearer',
      publicUrl: 'https://shared.test:8443/',
    },
    { host: 'shared.test', path: '/t', service: 'registry-token', allow: 'public' },
    {
      ...registry,
      name: 'open',
      host: 'open.test',
      challenge: 'bearer',
      allow: { ...allow, pull: 'public' },
    },
    {
      host: 'open.test',
      path: '/t',
      service: 'registry-token',
      publicUrl: 'https://tokens.test/deep/t',
      allow: 'public',
    },
  ],
})
t.teardown(async () => {
  await gateway.stop()
  await upstream.stop()
})

type Ask = {
  readonly host?: string
  readonly headers?: Record<string, string>
  readonly body?: string | readonly string[]
  /** Where the request comes from. */
  readonly from?: string
}
type Answer = {
  readonly status: number
  readonly challenge: string
  readonly headers: NodeJS.Dict<string | string[]>
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: replies of many shapes.
  readonly json: any
}

/** A body in several parts is sent in chunks. */
function ask(
  line: string,
  { host = 'hub.test', headers = {}, body, from }: Ask = {},
): Promise<Answer> {
  const [method = '', path = ''] = line.split(' ')
  return new Promise((resolve, reject) => {
    const options = {
      method,
      headers: { Host: host, ...headers },
      ...(from !== undefined && { localAddress: from }),
      agent: false as const,
    }
    const req = request(new URL(gateway.url).origin + path, options, (res) => {
      res.setEncoding('utf8')
      let text = ''
      res.on('data', (chunk: string) => (text += chunk))
      res.on('error', reject)
      res.on('end', () =>
        resolve({
          status: res.statusCode ?? 0,
          challenge: String(res.headers['www-authenticate'] ?? ''),
          headers: res.headers,
          text,
          json:
            /json/.test(res.headers['content-type'] ?? '') && text !== ''
              ? JSON.parse(text)
              : undefined,
        }),
      )
    })
    req.on('error', reject)
    for (const chunk of Array.isArray(body) ? body : []) req.write(chunk)
    req.end(typeof body === 'string' ? body : undefined)
  })
}

const tokenWith = tokenMaker(gateway)

async function basic(...rights: readonly string[]): Promise<Record<string, string>> {
  return password(await tokenWith(...rights))
}

function password(secret: string): Record<string, string> {
  return { Authorization: `Basic ${Buffer.from(`user:${secret}`).toString('base64')}` }
}

function bearer(grant: string): Record<string, string> {
  return { Authorization: `Bearer ${grant}` }
}

/** A grant of a token with these rights, for these scopes. */
async function grantOf(rights: readonly string[], scope: string, service = 'hub'): Promise<string> {
  const query = new URLSearchParams({ service, scope })
  const answer = await ask(`GET /token?${query}`, { headers: await basic(...rights) })
  return String(answer.json.access_token)
}

async function seenDuring(act: () => Promise<unknown>): Promise<string[]> {
  const before = (await upstream.requests()).length
  await act()
  return (await upstream.requests()).slice(before).map(({ method, uri }) => `${method} ${uri}`)
}

const realm = 'realm="http://hub.test/token", service="hub"'
const digest = sha256('x')

t.test('every endpoint names the token service and the scope that it needs', async (t) => {
  const rows: readonly (readonly [line: string, scope: string])[] = [
    ['GET /v2/', ''],
    ['HEAD /v2/', ''],
    ['GET /v2/a/b/manifests/x', 'repository:a/b:pull'],
    [`HEAD /v2/a/blobs/${digest}`, 'repository:a:pull'],
    ['GET /v2/a/tags/list', 'repository:a:pull'],
    ['POST /v2/a/blobs/uploads/', 'repository:a:pull,push'],
    ['PUT /v2/a/manifests/x', 'repository:a:pull,push'],
    ['DELETE /v2/a/manifests/x', 'repository:a:delete'],
    ['GET /v2/_catalog', 'registry:catalog:*'],
  ]
  for (const [line, scope] of rows) {
    const { status, challenge, headers, json } = await ask(line)
    t.equal(status, 401, line)
    t.equal(challenge, `Bearer ${realm}${scope && `, scope="${scope}"`}`, line)
    t.equal(headers['docker-distribution-api-version'], 'registry/2.0', line)
    if (!line.startsWith('HEAD')) t.equal(json.errors[0].code, 'UNAUTHORIZED', line)
  }
  const wrong = await ask('GET /v2/', { headers: password('sgt_wrong') })
  t.equal(wrong.status, 401)
  t.equal(wrong.challenge, `Bearer ${realm}`, 'no error code: docker then shows the sentence')
  t.equal(wrong.json.errors[0].message, 'the token is unknown')
})

t.test(
  'the realm is the public address of the service, or of the registry, or the own one',
  async (t) => {
    const realmAt = async (host: string, more: Ask = {}) =>
      /realm="([^"]*)"/.exec((await ask('GET /v2/', { host, ...more })).challenge)?.[1]
    t.equal(await realmAt('hub.test:8080'), 'http://hub.test:8080/token')
    t.equal(await realmAt('shared.test'), 'https://shared.test:8443/t')
    t.equal(await realmAt('open.test'), 'https://tokens.test/deep/t')
    const headers = { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'hub.example.com' }
    t.equal(await realmAt('hub.test', { headers }), 'http://hub.test/token', 'anyone may say so')
    t.equal(
      await realmAt('hub.test', { headers, from: '127.0.0.2' }),
      'https://hub.example.com/token',
      'a trusted proxy is believed',
    )
  },
)

t.test('GET: a grant of what was asked for and the token may', async (t) => {
  const rows: readonly (readonly [query: string, access: object])[] = [
    ['', []],
    ['account=user&client_id=docker&offline_token=true', []],
    ['scope=repository:a/b:pull,push', [{ type: 'repository', name: 'a/b', actions: ['pull'] }]],
    ['scope=repository(plugin):a:*', [{ type: 'repository', name: 'a', actions: ['pull'] }]],
    ['scope=repository:h:5000/a:pull', []],
    [
      'scope=repository:a:pull&scope=repository:b:pull+registry:catalog:*',
      [
        { type: 'repository', name: 'a', actions: ['pull'] },
        { type: 'repository', name: 'b', actions: ['pull'] },
        { type: 'registry', name: 'catalog', actions: ['*'] },
      ],
    ],
  ]
  for (const [query, access] of rows) {
    const { status, json, headers } = await ask(`GET /token?service=hub&${query}`, {
      headers: await basic('read'),
    })
    t.equal(status, 200, query)
    t.strictSame(Object.keys(json).sort(), ['access_token', 'expires_in', 'token', 'token_type'])
    t.equal(json.token, json.access_token)
    t.equal(json.expires_in, 300)
    t.equal(headers['cache-control'], 'no-store')
    const claims = JSON.parse(Buffer.from(json.token.split('.')[1], 'base64url').toString())
    t.strictSame(claims.access, access, query)
    t.match(claims, { aud: 'hub', exp: claims.iat + 300, tid: /^[0-9a-f-]{36}$/ })
    t.notMatch(JSON.stringify(claims), await tokenWith('read'), 'the token is not in it')
  }
  const only = await ask('GET /token', { headers: await basic('read') })
  t.equal(only.status, 200, 'the service need not be named where there is one')
  t.equal((await ask('HEAD /token?service=hub', { headers: await basic('read') })).status, 200)
})

t.test('POST: the password, and an API token as refresh token, whole or in chunks', async (t) => {
  const token = await tokenWith('write')
  const form = { 'Content-Type': 'application/x-www-form-urlencoded' }
  const ends =
    'service=hub&client_id=c&access_type=offline&scope=repository:a:pull+repository:a:pull,push'
  for (const grant of [
    `grant_type=password&username=user&password=${token}`,
    `grant_type=refresh_token&refresh_token=${token}`,
  ]) {
    for (const body of [`${grant}&${ends}`, [`${grant}&`, ends.slice(0, 9), ends.slice(9)]]) {
      const { status, json } = await ask('POST /token', { headers: form, body })
      t.equal(status, 200)
      t.match(json, { expires_in: 300, scope: 'repository:a:pull,push', token: json.access_token })
      t.notOk('refresh_token' in json)
      t.notOk('issued_at' in json)
      const reply = await ask('GET /v2/a/tags/list', { headers: bearer(json.access_token) })
      t.equal(reply.status, 404, 'the registry has no such repository: it was asked')
    }
  }
})

t.test('without a good token there is no grant, and a sentence says why', async (t) => {
  const form = { 'Content-Type': 'application/x-www-form-urlencoded' }
  const { stdout } = await gateway.command('token', 'create', '--scope', 'read', '--json')
  const dead = JSON.parse(stdout) as { id: string; token: string }
  await gateway.command('token', 'revoke', dead.id)
  const grant = await grantOf(['read'], 'repository:a:pull')
  const rows: readonly (readonly [
    sentence: string,
    line: string,
    options: Ask,
    message: RegExp,
  ])[] = [
    ['no credentials', 'GET /token?service=hub', {}, /a token is required/],
    ['an unknown token', 'GET /token?service=hub', { headers: password('sgt_wrong') }, /unknown/],
    [
      'a revoked one',
      'GET /token?service=hub',
      { headers: password(dead.token) },
      /token revoked on 20/,
    ],
    ['a grant', 'GET /token?service=hub', { headers: bearer(grant) }, /\/v2\/ of its own registry/],
    ['a grant as password', 'GET /token?service=hub', { headers: password(grant) }, /unknown/],
    [
      'a grant as refresh token',
      'POST /token',
      { headers: form, body: `grant_type=refresh_token&refresh_token=${grant}` },
      /unknown/,
    ],
    [
      'a wrong password in a form',
      'POST /token',
      { headers: form, body: 'grant_type=password&username=u&password=p' },
      /unknown/,
    ],
    [
      'no password in a form, though credentials in the head',
      'POST /token',
      { headers: { ...form, ...(await basic('read')) }, body: 'grant_type=password' },
      /a token is required/,
    ],
  ]
  for (const [sentence, line, options, message] of rows) {
    const { status, challenge, json } = await ask(line, options)
    t.equal(status, 401, sentence)
    t.equal(challenge, 'Basic realm="scopegate"', sentence)
    t.match(json, { errors: [{ code: 'UNAUTHORIZED', message }] }, sentence)
  }
})

t.test('what is asked wrongly is told what would be right', async (t) => {
  const headers = await basic('read')
  const rows: readonly (readonly [line: string, status: number, message: RegExp])[] = [
    ['GET /token?service=other', 400, /expected the one that .* serves hub"/],
    ['GET /token?service=basic', 400, /serves hub"/],
    ['GET /token?scope=pull', 400, /type:name:actions/],
    [`GET /token?scope=${'repository:a:pull+'.repeat(65)}`, 400, /ask for 64/],
    ['DELETE /token', 405, /asks for no grant/],
    ['GET /token/more', 404, /no route/],
    ['POST /token', 415, /urlencoded/],
  ]
  for (const [line, status, message] of rows) {
    const answer = await ask(line, { headers, ...(status === 415 && { body: '{}' }) })
    t.equal(answer.status, status, line)
    t.match(answer.text, message, line)
  }
  const names = Array.from({ length: 60 }, (_, at) => `repository:${'long'.repeat(40)}${at}:pull`)
  const long = await ask('POST /token', {
    headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    body: `grant_type=password&username=u&password=${await tokenWith('read')}&scope=${names.join('+')}`,
  })
  t.equal(long.status, 400)
  t.match(long.text, /more than 8192 characters; ask for fewer/)
})

t.test('a grant does what it holds, and no more than its token may', async (t) => {
  const write = 'repository:a:pull,push'
  const rows: readonly (readonly [
    sentence: string,
    rights: readonly string[],
    held: string,
    line: string,
    status: number,
    challenge: string,
  ])[] = [
    ['any grant logs in', ['read'], '', 'GET /v2/', 200, ''],
    ['it pulls', ['read'], 'repository:a:pull', 'GET /v2/a/tags/list', 404, ''],
    ['it pushes', ['write'], write, 'POST /v2/a/blobs/uploads/', 202, ''],
    ['it lists', ['read'], 'registry:catalog:*', 'GET /v2/_catalog', 200, ''],
    [
      'of another repository',
      ['read'],
      'repository:b:pull',
      'GET /v2/a/tags/list',
      401,
      'repository:a:pull',
    ],
    ['of pull alone', ['write'], 'repository:a:pull', 'POST /v2/a/blobs/uploads/', 401, write],
    ['of nothing', ['read'], '', 'GET /v2/_catalog', 401, 'registry:catalog:*'],
    [
      'without deletion',
      ['delete', 'write'],
      write,
      'DELETE /v2/a/manifests/x',
      401,
      'repository:a:delete',
    ],
    [
      'of neither side of a mount',
      ['write'],
      '',
      `POST /v2/a/blobs/uploads/?mount=${digest}&from=b`,
      401,
      `${write} repository:b:pull`,
    ],
    [
      'without the source of a mount',
      ['write'],
      write,
      `POST /v2/a/blobs/uploads/?mount=${digest}&from=b`,
      401,
      `${write} repository:b:pull`,
    ],
    ['its token may not push', ['read'], write, 'POST /v2/a/blobs/uploads/', 403, ''],
    [
      'its token is for others',
      ['read', 'repository=b'],
      'repository:a:pull',
      'GET /v2/a/tags/list',
      403,
      '',
    ],
  ]
  for (const [sentence, rights, held, line, status, scope] of rows) {
    const grant = await grantOf(rights, held)
    const seen = await seenDuring(async () => {
      const answer = await ask(line, { headers: bearer(grant) })
      t.equal(answer.status, status, sentence)
      if (status === 403) t.match(answer.json.errors[0], { code: 'DENIED', message: /token / })
      if (status !== 401) {
        t.equal(answer.challenge, '', sentence)
        return
      }
      const told = `the grant does not hold ${scope.replaceAll('pull,push', 'push')}; ask for it`
      const error = `error="insufficient_scope", error_description="${told}", scope="${scope}"`
      t.equal(answer.challenge, `Bearer ${realm}, ${error}`, sentence)
      t.match(answer.json.errors[0], { code: 'UNAUTHORIZED', message: told })
    })
    if (status === 401 || status === 403) t.strictSame(seen, [], `${sentence}: not forwarded`)
  }
})

t.test(
  'a mount from a source that the token may not read becomes an upload, with a grant too',
  async (t) => {
    const grant = await grantOf(['write', 'repository=a'], 'repository:a:pull,push')
    const seen = await seenDuring(async () => {
      const answer = await ask(`POST /v2/a/blobs/uploads/?mount=${digest}&from=b`, {
        headers: bearer(grant),
      })
      t.equal(answer.status, 202)
    })
    t.strictSame(seen, ['POST /v2/a/blobs/uploads/'])
  },
)

t.test('the catalog lists what the token may pull, not what the grant holds', async (t) => {
  for (const name of ['a/x', 'b/y']) {
    const begun = await ask(`POST /v2/${name}/blobs/uploads/`, { headers: await basic('write') })
    const path = `${begun.headers.location}&digest=${sha256('blob')}`
    await ask(`PUT ${path}`, { headers: await basic('write'), body: 'blob' })
  }
  const grant = await grantOf(['read', 'repository=a/*'], 'registry:catalog:*')
  const { json } = await ask('GET /v2/_catalog', { headers: bearer(grant) })
  t.strictSame(json, { repositories: ['a/x'] })
})

t.test('a grant is good at /v2/ of its own registry alone', async (t) => {
  const grant = await grantOf(['write'], 'repository:a:pull')
  t.equal((await ask('GET /v2/a/tags/list', { headers: bearer(grant) })).status, 404)
  const elsewhere: readonly (readonly [line: string, host: string])[] = [
    ['GET /v2/a/tags/list', 'shared.test'],
    ['GET /v2/a/tags/list', 'basic.test'],
    ['GET /api', 'hub.test'],
  ]
  for (const [line, host] of elsewhere) {
    const answer = await ask(line, { host, headers: bearer(grant) })
    t.equal(answer.status, 401, host)
    t.match(answer.challenge, /^Bearer .*error="invalid_token"/, host)
  }
})

t.test('an expired, a forged and a garbled grant are invalid tokens', async (t) => {
  const grant = await grantOf(['read'], 'repository:a:pull')
  const claims = JSON.parse(Buffer.from(grant.split('.')[1] ?? '', 'base64url').toString())
  const made = (key: string, at: number) =>
    writeGrant({ tokenId: claims.tid, access: claims.access }, 'hub', Buffer.from(key), at)
  const lifeMs = (grantLifetimeSeconds + leewaySeconds) * 1000
  t.equal((await ask('GET /v2/', { headers: bearer(made(grantKey, Date.now())) })).status, 200)
  const none = Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url')
  const rows: readonly (readonly [sentence: string, value: string, message: RegExp])[] = [
    ['expired', made(grantKey, Date.now() - lifeMs), /expired; ask the token service/],
    ['of the future', made(grantKey, Date.now() + 120_000), /not good yet/],
    ['of another key', made('another key of more than 32 characters', Date.now()), /not made by/],
    ['cut', grant.slice(0, -1), /not made by/],
    ['without algorithm', `${none}.${grant.split('.')[1]}.`, /unknown/],
    ['no grant at all', 'garbage', /unknown/],
  ]
  for (const [sentence, value, message] of rows) {
    const { status, challenge, json } = await ask('GET /v2/a/tags/list', { headers: bearer(value) })
    t.equal(status, 401, sentence)
    t.match(challenge, /^Bearer realm=.*, error="invalid_token", error_description="/, sentence)
    t.match(json.errors[0], { code: 'UNAUTHORIZED', message }, sentence)
  }
})

t.test('a token revoked, or of an unknown id, takes its grants with it at once', async (t) => {
  const { stdout } = await gateway.command('token', 'create', '--scope', 'read', '--json')
  const { id, token } = JSON.parse(stdout) as { id: string; token: string }
  const { json } = await ask('GET /token?scope=repository:a:pull', { headers: password(token) })
  const list = () => ask('GET /v2/a/tags/list', { headers: bearer(json.token) })
  t.equal((await list()).status, 404)
  await gateway.command('token', 'revoke', id)
  const deadline = Date.now() + 1_000
  let answer = await list()
  while (answer.status !== 401 && Date.now() < deadline) answer = await list()
  t.equal(answer.status, 401)
  t.match(answer.challenge, /error="invalid_token", error_description="token revoked on 20/)
  const unknown = { tokenId: '01a213c5-0000-7000-8000-000000000000', access: [] }
  const made = writeGrant(unknown, 'hub', Buffer.from(grantKey), Date.now())
  t.equal((await ask('GET /v2/', { headers: bearer(made) })).status, 401)
})

t.test('Basic and grants are taken whichever of the two is asked for', async (t) => {
  const host = 'basic.test'
  const asked = await ask('GET /v2/', { host })
  t.equal(asked.challenge, 'Basic realm="scopegate"')
  const { json } = await ask('GET /auth/token?service=basic&scope=repository:a:pull', {
    host,
    headers: await basic('write'),
  })
  t.equal((await ask('GET /v2/a/tags/list', { host, headers: bearer(json.token) })).status, 404)
  t.equal((await ask('GET /v2/a/tags/list', { headers: await basic('read') })).status, 404)
  t.equal((await ask('GET /v2/', { headers: bearer(await tokenWith('read')) })).status, 200)
  const narrow = await ask('POST /v2/a/blobs/uploads/', { host, headers: bearer(json.token) })
  t.equal(narrow.status, 401)
  t.match(
    narrow.challenge,
    'Bearer realm="http://basic.test/auth/token", service="basic", error="insufficient_scope"',
    'who has a grant is told where to get a wider one',
  )
})

t.test('where anyone may pull, a client without a token gets a grant of nobody', async (t) => {
  const host = 'open.test'
  t.equal((await ask('GET /v2/', { host })).status, 401, 'it is asked for one all the same')
  t.equal((await ask('GET /v2/a/tags/list', { host })).status, 404)
  const { status, json } = await ask('GET /t?scope=repository:a:pull,push+registry:catalog:*', {
    host,
  })
  t.equal(status, 200)
  const claims = JSON.parse(Buffer.from(json.token.split('.')[1], 'base64url').toString())
  t.strictSame(claims.access, [{ type: 'repository', name: 'a', actions: ['pull'] }])
  t.notOk('tid' in claims)
  t.equal((await ask('GET /v2/a/tags/list', { host, headers: bearer(json.token) })).status, 404)
  const refused = await ask('POST /v2/a/blobs/uploads/', { host, headers: bearer(json.token) })
  t.equal(refused.status, 401)
  t.match(refused.challenge, /error="insufficient_scope".*scope="repository:a:pull,push"$/)
  const wrong = await ask('GET /t', { host, headers: password('sgt_wrong') })
  t.equal(wrong.status, 401, 'a bad token is no invitation')
})

t.test('a form and a field that present two tokens are refused', async (t) => {
  const [one, two] = [
    await gateway.token('--scope', 'read'),
    await gateway.token('--scope', 'read'),
  ]
  const body = `grant_type=refresh_token&refresh_token=${one}&service=hub`
  const headers = { 'Content-Type': 'application/x-www-form-urlencoded' }
  const authorization = (token: string) => ({ ...headers, Authorization: `Bearer ${token}` })
  t.equal((await ask('POST /token', { headers: authorization(one), body })).status, 200)
  const refused = await ask('POST /token', { headers: authorization(two), body })
  t.equal(refused.status, 400)
  t.match(refused.text, /two different tokens/)
})

t.test('a form that does not come is not waited for', async (t) => {
  const connection = await connect(gateway.url)
  t.teardown(() => connection.close())
  const began = performance.now()
  connection.write(
    'POST /token HTTP/1.1\r\nHost: hub.test\r\nContent-Length: 60\r\n' +
      'Content-Type: application/x-www-form-urlencoded\r\n\r\n',
  )
  const drip = setInterval(() => connection.write('a'), 1_000)
  t.teardown(() => clearInterval(drip))
  await until('a reply', () => connection.received() !== '' || undefined)
  t.match(connection.received(), /^HTTP\/1\.1 408 /)
  t.ok(performance.now() - began < 15_000)
})

t.test('a page of another origin may read the grant where the route says so', async (t) => {
  const token = await gateway.token('--scope', 'read')
  const headers = { Origin: 'https://ui.test', Authorization: `Bearer ${token}` }
  const reply = await ask('GET /auth/token?service=basic', { host: 'basic.test', headers })
  t.equal(reply.status, 200)
  t.equal(reply.headers['access-control-allow-origin'], 'https://ui.test')
})

t.test('what a registry takes besides the carriers of the configuration', async (t) => {
  const other = await startRecorder()
  const narrow = await startGateway({
    credentials: [{ header: 'OSF-TOKEN' }],
    upstreams: { hub: { url: upstream.url }, other: { url: other.url } },
    scopes: { read: 'Pull' },
    routes: [
      { ...registry, name: 'hub', challenge: 'bearer', allow: { pull: 'read' } },
      { path: '/token', service: 'registry-token', allow: 'public' },
      { path: '/{rest...}', upstream: 'other', allow: 'public' },
    ],
  })
  t.teardown(async () => {
    await narrow.stop()
    await other.stop()
  })
  const token = await narrow.token('--scope', 'read')
  const basic = `Basic ${Buffer.from(`x:${token}`).toString('base64')}`
  const asked = (path: string, Authorization: string): Promise<Response> =>
    fetch(`${narrow.url}${path}`, { headers: { Authorization } })
  const { token: grant } = (await (await asked('/token?service=hub', basic)).json()) as {
    token: string
  }
  for (const value of [basic, `Bearer ${grant}`]) {
    t.equal((await asked('/v2/', value)).status, 200)
    t.equal((await asked('/_upload/x', value)).status, 200)
    t.notOk(other.requests.at(-1)?.fields.some((text) => /^authorization$/i.test(text)))
  }
  const foreign = await asked('/v2/', 'Bearer eyJhbGciOiJSUzI1NiJ9.e30.xx')
  t.equal(foreign.status, 401)
  t.match(foreign.headers.get('www-authenticate'), /error="invalid_token"/)
})

t.test('unknown tokens are counted here as everywhere', async (t) => {
  let answer = await ask('GET /token', { headers: password('some-token-0'), from: '127.0.0.9' })
  for (let at = 1; at < 700 && answer.status !== 429; at++) {
    answer = await ask('GET /token', { headers: password(`some-token-${at}`), from: '127.0.0.9' })
  }
  t.equal(answer.status, 429)
  t.match(answer.headers, { 'retry-after': /^\d+$/ })
  t.equal(answer.json.errors[0].code, 'TOOMANYREQUESTS')
  const known = await ask('GET /token', { headers: await basic('read'), from: '127.0.0.9' })
  t.equal(known.status, 200)
})

t.test('no token, grant, scope or query stands in the log', async (t) => {
  const grant = await grantOf(['read'], 'repository:logged/name:pull')
  await ask('GET /v2/', { headers: bearer(grant) })
  await gateway.logged('the login', ({ path }) => path === '/v2/')
  const text = gateway.messages()
  t.notMatch(text, 'logged/name')
  t.notOk(text.includes(grant))
  t.notOk(text.includes(await tokenWith('read')))
  const line = gateway.log().find(({ route, status }) => route === '/token' && status === 200)
  t.match(line, { outcome: 'permit', subject: 'ada', tokenId: /^[0-9a-f-]{36}$/ })
})
