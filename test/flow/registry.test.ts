// The registry from outside: real skopeo and plain requests, through the gateway, to docker-registry, with the
// route map that the product brings. Each scope of the map is shown twice, holding it and lacking it; of
// what is refused the registry must not have seen anything.

import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Finished, run } from '../servers/command.ts'
import { type Gateway, projectFolder, startGateway } from '../servers/gateway.ts'
import { makeFolder, removeFolder } from '../servers/lifetime.ts'
import { type OciImage, sha256, writeOciLayout } from '../servers/oci-layout.ts'
import { connect, send } from '../servers/raw-client.ts'
import { type RegistryServer, startRegistry } from '../servers/registry-server.ts'
import { tokenMaker } from '../servers/token-maker.ts'

const upstream: RegistryServer = await startRegistry()
const nowhere = 'http://127.0.0.1:9'
const gateway: Gateway = await startGateway({
  include: [join(projectFolder, 'config', 'routes', 'foundries.yaml')],
  upstreams: { api: { url: nowhere }, git: { url: nowhere }, hub: { url: upstream.url } },
})
const folder = makeFolder('images')
t.teardown(async () => {
  await gateway.stop()
  await upstream.stop()
  removeFolder(folder)
})

const host = gateway.url.replace('http://', '')
const push = 'containers:read-update'
/** Limited by `repository=PATTERN` among the scopes. */
const tokenWith = tokenMaker(gateway)
let homes = 0

/** skopeo with a home of its own, so that it remembers no credentials. */
function skopeo(args: readonly string[], home = `home-${++homes}`): Promise<Finished> {
  const env = { HOME: join(folder, home), XDG_RUNTIME_DIR: join(folder, home) }
  mkdirSync(env.HOME, { recursive: true })
  return run('skopeo', ['--insecure-policy', ...args], { cwd: folder, env })
}

function pushImage(image: OciImage, to: string, token: string, home?: string): Promise<Finished> {
  const to_ = ['--dest-tls-verify=false', '--dest-creds', `user:${token}`, image.source]
  return skopeo(['copy', ...to_, `docker://${host}/${to}`], home)
}

/** A request with a token of these rights; without any, without credentials. */
async function ask(
  rights: readonly string[],
  line: string,
  init: { headers?: Record<string, string>; body?: string | Buffer } = {},
): Promise<Response> {
  const [method = '', path = ''] = line.split(' ')
  const headers = new Headers(init.headers)
  if (rights.length > 0) headers.set('Authorization', basic(await tokenWith(...rights)))
  const body = init.body === undefined ? null : new Uint8Array(Buffer.from(init.body))
  return await fetch(`${gateway.url}${path}`, { method, headers, body, redirect: 'manual' })
}

function basic(token: string): string {
  return `Basic ${Buffer.from(`user:${token}`).toString('base64')}`
}

/** What the registry is asked while `act` runs, as `METHOD URI STATUS`. */
async function seenDuring(act: () => Promise<unknown>): Promise<string[]> {
  const before = (await upstream.requests()).length
  await act()
  const requests = (await upstream.requests()).slice(before)
  return requests.map(({ method, uri, status }) => `${method} ${uri} ${status}`)
}

/** A blob of these bytes in a repository, put there behind the gateway's back. */
async function putBlob(repository: string, content: string): Promise<string> {
  const digest = sha256(content)
  const begun = await fetch(`${upstream.url}/v2/${repository}/blobs/uploads/`, { method: 'POST' })
  const location = `${begun.headers.get('location')}&digest=${digest}`
  const ended = await fetch(location, { method: 'PUT', body: content })
  if (ended.status !== 201) throw new Error(`the blob was not taken: ${ended.status}`)
  return digest
}

async function hasBlob(repository: string, digest: string): Promise<boolean> {
  const url = `${upstream.url}/v2/${repository}/blobs/${digest}`
  return (await fetch(url, { method: 'HEAD' })).status === 200
}

async function errorOf(reply: Response): Promise<{ code: string; message: string }> {
  const { errors } = (await reply.json()) as { errors: { code: string; message: string }[] }
  return errors[0] as { code: string; message: string }
}

const image = writeOciLayout(join(folder, 'image'), [10, 70_000, 1_500_000, 3_000_000])

t.test('an image of several layers is pushed and pulled with equal digests', async (t) => {
  const token = await tokenWith(push)
  done(t, await pushImage(image, 'acme/app:v1', token))
  const pulled = join(folder, 'pulled')
  const from = [
    '--src-tls-verify=false',
    '--src-creds',
    `user:${await tokenWith('containers:read')}`,
  ]
  done(t, await skopeo(['copy', ...from, `docker://${host}/acme/app:v1`, `oci:${pulled}:latest`]))
  const index = JSON.parse(readFileSync(join(pulled, 'index.json'), 'utf8'))
  t.equal(index.manifests[0].digest, image.digest)
  for (const digest of image.layers) {
    const blob = readFileSync(join(pulled, 'blobs', 'sha256', digest.slice('sha256:'.length)))
    t.equal(sha256(blob), digest)
  }
})

t.test('docker login: the challenge, then any token that has a scope', async (t) => {
  const challenged = await ask([], 'GET /v2/')
  t.equal(challenged.status, 401)
  const challenge = `Bearer realm="${gateway.url}/token-auth/", service="containers"`
  t.equal(challenged.headers.get('www-authenticate'), challenge)
  t.equal(challenged.headers.get('docker-distribution-api-version'), 'registry/2.0')
  t.equal((await errorOf(challenged)).code, 'UNAUTHORIZED')
  for (const rights of [['containers:read'], ['source:read'], [push, 'repository=acme/*']]) {
    t.equal((await ask(rights, 'GET /v2/')).status, 200, rights.join())
    t.equal((await ask(rights, 'HEAD /v2/')).status, 200, rights.join())
  }
  const login = async (password: string) =>
    await skopeo(['login', '--tls-verify=false', '-u', 'user', '-p', password, host])
  done(t, await login(await tokenWith('containers:delete')))
  t.not((await login('sgt_wrong')).code, 0)
  const wrong = await fetch(`${gateway.url}/v2/`, { headers: { Authorization: basic('wrong') } })
  t.equal(wrong.status, 401)
})

type Trial = {
  readonly what: string
  readonly granted: readonly string[]
  readonly short: readonly string[]
  /** Methods that the registry must not see of the refused one. */
  readonly methods: RegExp
  /** What skopeo prints of the refusal, where it does. */
  readonly lacks?: string
  act(token: string): Promise<Finished>
}

const trials: readonly Trial[] = [
  {
    what: 'containers:read lets pull',
    granted: ['containers:read'],
    short: ['containers:delete'],
    methods: /manifests/,
    lacks: 'token lacks scope containers:read on acme/app',
    act: (token) =>
      skopeo([
        'inspect',
        '--raw',
        '--tls-verify=false',
        '--creds',
        `user:${token}`,
        `docker://${host}/acme/app:v1`,
      ]),
  },
  {
    what: 'containers:read lets list tags',
    granted: ['containers:read'],
    short: ['source:read'],
    methods: /tags/,
    act: (token) =>
      skopeo([
        'list-tags',
        '--tls-verify=false',
        '--creds',
        `user:${token}`,
        `docker://${host}/acme/app`,
      ]),
  },
  {
    what: 'containers:read-update lets push',
    granted: [push],
    short: ['containers:read', 'containers:delete'],
    methods: /^(POST|PATCH|PUT) /,
    lacks: 'token lacks scope containers:read-update on acme/second',
    act: (token) => pushImage(image, 'acme/second:v1', token),
  },
  {
    what: 'containers:delete lets delete',
    granted: ['containers:read', 'containers:delete'],
    short: [push],
    methods: /^DELETE /,
    lacks: 'token lacks scope containers:delete on acme/app',
    act: (token) =>
      skopeo([
        'delete',
        '--tls-verify=false',
        '--creds',
        `user:${token}`,
        `docker://${host}/acme/app:v1`,
      ]),
  },
]

for (const { what, granted, short, methods, lacks, act } of trials) {
  t.test(`${what}, and nothing else does`, async (t) => {
    let refused: Finished | undefined
    const seen = await seenDuring(async () => {
      refused = await act(await tokenWith(...short))
    })
    t.not(refused?.code, 0)
    if (lacks === undefined) t.match(refused?.stderr, '403')
    else t.match(refused?.stderr, `requested access to the resource is denied: ${lacks}`)
    t.strictSame(
      seen.filter((line) => methods.test(line)),
      [],
      'the registry saw nothing of it',
    )
    done(t, await act(await tokenWith(...granted)))
  })
}

const digest = `sha256:${'0'.repeat(64)}`
const steps: readonly (readonly [line: string, granted: string, short: readonly string[]])[] = [
  ['HEAD /v2/a/manifests/x', 'containers:read', ['containers:delete']],
  [`GET /v2/a/blobs/${digest}`, 'containers:read', ['containers:delete']],
  [`GET /v2/a/referrers/${digest}`, 'containers:read', ['containers:delete']],
  ['POST /v2/a/blobs/uploads/', push, ['containers:read', 'containers:delete']],
  ['PATCH /v2/a/blobs/uploads/x', push, ['containers:read', 'containers:delete']],
  [`PUT /v2/a/blobs/uploads/x?digest=${digest}`, push, ['containers:read', 'containers:delete']],
  ['GET /v2/a/blobs/uploads/x', push, ['containers:read', 'containers:delete']],
  ['DELETE /v2/a/blobs/uploads/x', push, ['containers:read', 'containers:delete']],
  [`PUT /v2/a/manifests/${digest}?tag=x`, push, ['containers:read', 'containers:delete']],
  ['DELETE /v2/a/manifests/x', 'containers:delete', [push]],
  [`DELETE /v2/a/blobs/${digest}`, 'containers:delete', [push]],
  ['GET /v2/_catalog', 'source:read', []],
]

t.test(
  'every step of the protocol needs its scope, and is seen by the registry only then',
  async (t) => {
    for (const [line, granted, short] of steps) {
      const refused = await seenDuring(async () => {
        const reply = await ask(short, line)
        t.equal(reply.status, short.length === 0 ? 401 : 403, line)
      })
      t.strictSame(refused, [], line)
      const permitted = await seenDuring(async () => {
        const { status } = await ask([granted], line)
        t.notMatch([401, 403], [status], line)
      })
      t.equal(permitted.length, 1, line)
    }
  },
)

t.test('a limit to repositories holds in the registry', async (t) => {
  const limited = [push, 'repository=team/*']
  t.equal((await ask(limited, 'POST /v2/team/app/blobs/uploads/')).status, 202)
  const seen = await seenDuring(async () => {
    const reply = await ask(limited, 'POST /v2/acme/app/blobs/uploads/')
    t.equal(reply.status, 403)
    t.match(await errorOf(reply), { code: 'DENIED', message: /team\/\*.*acme\/app/ })
  })
  t.strictSame(seen, [])
})

t.test('every reply to an upload names its next step on the gateway', async (t) => {
  const rights = [push]
  const begun = await ask(rights, 'POST /v2/acme/steps/blobs/uploads/')
  const first = begun.headers.get('location') ?? ''
  t.match(first, /^\/v2\/acme\/steps\/blobs\/uploads\/[\w-]+\?_state=/)
  const chunk = await ask(rights, `PATCH ${first}`, { body: 'some ' })
  t.equal(chunk.status, 202)
  const second = chunk.headers.get('location') ?? ''
  t.match(second, /^\/v2\/acme\/steps\//)
  const state = await ask(rights, `GET ${second}`)
  t.equal(state.status, 204)
  t.match(state.headers.get('location'), /^\/v2\/acme\/steps\//)
  const digest = sha256('some bytes')
  const ended = await ask(rights, `PUT ${second}&digest=${digest}`, { body: 'bytes' })
  t.equal(ended.status, 201)
  t.equal(ended.headers.get('location'), `/v2/acme/steps/blobs/${digest}`)
  const cancelled = await ask(rights, 'POST /v2/acme/steps/blobs/uploads/')
  const gone = await ask(rights, `DELETE ${cancelled.headers.get('location')}`)
  t.equal(gone.status, 204)
})

t.test('a range that is not there ends, though the registry miscounts its refusal', async (t) => {
  const digest = await putBlob('acme/steps', 'a few bytes')
  const reply = await ask(['containers:read'], `GET /v2/acme/steps/blobs/${digest}`, {
    headers: { Range: 'bytes=1000-' },
  })
  t.equal(reply.status, 416)
  const ending = await reply.text().catch(() => 'cut')
  t.type(ending, 'string')
})

t.test('no client can make the registry name another host', async (t) => {
  const reply = await ask([push], 'POST /v2/acme/steps/blobs/uploads/', {
    headers: { Forwarded: 'host=evil.example;proto=https', 'X-Forwarded-Host': 'evil.example' },
  })
  t.equal(reply.status, 202)
  t.match(reply.headers.get('location'), /^\/v2\//)
})

const forms: readonly (readonly [
  where: string,
  ask: (digest: string, from: string) => { query?: string; type?: string; body?: string },
])[] = [
  ['in the query', (digest, from) => ({ query: `?mount=${digest}&from=${from}` })],
  [
    'in a urlencoded body',
    (digest, from) => ({
      type: 'application/x-www-form-urlencoded',
      body: `mount=${digest}&from=${from}`,
    }),
  ],
  [
    'in a multipart body',
    (digest, from) => ({
      type: 'multipart/form-data; boundary=B',
      body: [
        ...Object.entries({ mount: digest, from }).map(
          ([name, value]) =>
            `--B\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
        ),
        '--B--\r\n',
      ].join(''),
    }),
  ],
]

t.test('a mount needs pull on its source, wherever the source is named', async (t) => {
  const rights = [push, 'repository=team/*']
  for (const [at, [where, write]] of forms.entries()) {
    const target = `team/target-${at}`
    const secret = await putBlob('secret/base', `secret ${at}`)
    const shared = await putBlob('team/base', `shared ${at}`)
    const mount = (digest: string, from: string) => {
      const { query = '', type, body } = write(digest, from)
      const headers = type === undefined ? {} : { 'Content-Type': type }
      return ask(rights, `POST /v2/${target}/blobs/uploads/${query}`, {
        headers,
        ...(body !== undefined && { body }),
      })
    }
    const seen = await seenDuring(async () => {
      const refused = await mount(secret, 'secret/base')
      t.equal(refused.status, 202, `${where}: a plain upload`)
      t.match(refused.headers.get('location'), `/v2/${target}/blobs/uploads/`)
    })
    t.strictSame(seen, [`POST /v2/${target}/blobs/uploads/ 202`], `${where}: no word of the source`)
    t.equal(await hasBlob(target, secret), false, where)
    t.equal((await mount(shared, 'team/base')).status, 201, `${where}: mounted`)
    t.equal(await hasBlob(target, shared), true, where)
    t.equal((await mount(sha256('nothing'), 'team/base')).status, 202, `${where}: no such blob`)
  }
})

t.test('this registry would have mounted from a form, were it reached', async (t) => {
  const digest = await putBlob('secret/base', 'in the open')
  for (const [at, [where, write]] of forms.entries()) {
    const { query = '', type, body } = write(digest, 'secret/base')
    const reply = await fetch(`${upstream.url}/v2/team/open-${at}/blobs/uploads/${query}`, {
      method: 'POST',
      headers: type === undefined ? {} : { 'Content-Type': type },
      body: body ?? null,
    })
    t.equal(reply.status, 201, where)
  }
})

t.test('skopeo mounts what it may pull, and pushes what it may not', async (t) => {
  const home = 'mounting'
  done(t, await pushImage(image, 'team/first:v1', await tokenWith(push), home))
  const mounts = async (to: string, ...rights: readonly string[]) => {
    let pushed: Finished | undefined
    const seen = await seenDuring(async () => {
      pushed = await pushImage(image, to, await tokenWith(...rights), home)
    })
    done(t, pushed as Finished)
    return seen.filter((line) => /^POST .*mount=.* 201$/.test(line)).length
  }
  t.ok((await mounts('team/second:v1', push)) > 0)
  t.equal(await mounts('other/third:v1', push, 'repository=other/*'), 0)
})

const traps: readonly (readonly [why: string, target: string])[] = [
  ['an escaped letter', '/v2/%73ecret/base/tags/list'],
  ['an escaped version', '/%76%32/secret/base/tags/list'],
  ['an escaped slash', '/v2/secret%2Fbase/tags/list'],
  ['a dot segment', '/v2/team/../secret/base/tags/list'],
  ['an escaped dot segment', '/v2/team/..%2Fsecret/base/tags/list'],
  ['a double slash', '/v2//secret/base/tags/list'],
  ['a parameter', '/v2/secret;/base/tags/list'],
  ['a backslash', '/v2/team\\..\\secret/tags/list'],
  ['capitals', '/v2/SECRET/base/tags/list'],
]

t.test('no other spelling of a path reaches the registry', async (t) => {
  const token = basic(await tokenWith('containers:read', 'repository=team/**'))
  for (const [why, target] of traps) {
    const seen = await seenDuring(async () => {
      const head = `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${token}\r\n\r\n`
      t.match(await send(gateway.url, head), /^HTTP\/1\.1 400 /, why)
    })
    t.strictSame(seen, [], why)
  }
})

t.test('what the registry does not offer is 404, also to a token that may do all', async (t) => {
  for (const path of ['/v2/_oci/ext/discover', '/v2/_unknown', '/v2/token', '/v2/acme/app']) {
    const seen = await seenDuring(async () => {
      const reply = await ask(['all'], `GET ${path}`)
      t.equal(reply.status, 404, path)
      t.equal((await errorOf(reply)).code, 'NAME_UNKNOWN', path)
    })
    t.strictSame(seen, [], path)
  }
})

t.test('the catalog lists what the token may pull, in pages', async (t) => {
  for (const name of ['list/a', 'list/b', 'list/c', 'hidden/x', 'mine/z']) await putBlob(name, 'x')
  const rights = ['containers:read', 'repository=list/*']
  const all = await ask(rights, 'GET /v2/_catalog')
  t.equal(all.status, 200)
  t.strictSame(await all.json(), { repositories: ['list/a', 'list/b', 'list/c'] })
  const first = await ask(rights, 'GET /v2/_catalog?n=2')
  t.strictSame(await first.json(), { repositories: ['list/a', 'list/b'] })
  t.equal(first.headers.get('link'), '</v2/_catalog?last=list%2Fb&n=2>; rel="next"')
  const second = await ask(rights, 'GET /v2/_catalog?last=list%2Fb&n=2')
  t.strictSame(await second.json(), { repositories: ['list/c'] })
  t.equal(second.headers.get('link'), null)
  t.equal((await ask(rights, 'GET /v2/_catalog?n=x')).status, 400)
})

t.test('an upload is refused before its body is sent', async (t) => {
  const token = basic(await tokenWith('containers:read'))
  const connection = await connect(gateway.url)
  t.teardown(() => connection.close())
  connection.write(
    `POST /v2/acme/app/blobs/uploads/ HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${token}\r\n` +
      'Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n',
  )
  const reply = await connection.receive('a refusal', (text) => text.includes('"errors"'))
  t.match(reply, /^HTTP\/1\.1 403 /, 'and no 100 before it')
})

t.test('a token that is revoked can do nothing any more', async (t) => {
  const made = await gateway.command('token', 'create', '--scope', 'containers:read', '--json')
  const { id, token } = JSON.parse(made.stdout) as { id: string; token: string }
  const list = () =>
    fetch(`${gateway.url}/v2/acme/app/tags/list`, { headers: { Authorization: basic(token) } })
  t.equal((await list()).status, 200)
  t.equal((await gateway.command('token', 'revoke', id)).code, 0)
  const deadline = Date.now() + 2_000
  let { status } = await list()
  while (status === 200 && Date.now() < deadline) status = (await list()).status
  t.equal(status, 401)
})

function done(t: Test, finished: Finished): void {
  t.equal(finished.code, 0, finished.stderr || 'it ended well')
}
