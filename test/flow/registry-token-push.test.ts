// Grants while something is under way: skopeo pushes, pulls, mounts and deletes with them; an upload whose
// token is revoked is cut, one whose grant expires goes on; and every gateway of an authority takes the
// grants of the others.

import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { grantLifetimeSeconds, leewaySeconds, writeGrant } from '../../gateway/tokens/grant.ts'
import { type Finished, run } from '../servers/command.ts'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import { makeFolder, removeFolder } from '../servers/lifetime.ts'
import { sha256, writeOciLayout } from '../servers/oci-layout.ts'
import { type Connection, connect } from '../servers/raw-client.ts'
import { until } from '../servers/ready.ts'
import { startRecorder } from '../servers/recorder.ts'
import { type RegistryServer, startRegistry } from '../servers/registry-server.ts'

const grantKey = 'a key of the test, of more than 32 characters'
/** Between the end of the command that revokes and the end of the upload. */
const noticeMs = 1_000

const upstream: RegistryServer = await startRegistry()
const folder = makeFolder('images')
const gateway: Gateway = await start({ authority: 'sqlite:var/tokens.db', grantKey })
t.teardown(async () => {
  await gateway.stop()
  await upstream.stop()
  removeFolder(folder)
})

function start(tokens: object, more: object = {}): Promise<Gateway> {
  return startGateway({
    tokens,
    upstreams: { hub: { url: upstream.url } },
    scopes: { push: 'Pull and push', delete: 'Delete' },
    routes: [
      {
        name: 'hub',
        protocol: 'registry',
        challenge: 'bearer',
        upstream: 'hub',
        allow: { pull: 'push', push: 'push', delete: 'delete', catalog: 'authenticated' },
      },
      { path: '/token', service: 'registry-token', allow: 'public' },
    ],
    ...more,
  })
}

type Token = { readonly id: string; readonly token: string }

async function makeToken(...scopes: string[]): Promise<Token> {
  const args = scopes.flatMap((scope) => ['--scope', scope])
  const { stdout } = await gateway.command('token', 'create', '--json', ...args)
  return JSON.parse(stdout) as Token
}

async function grantFor(token: string, scope: string, at = gateway): Promise<string> {
  const headers = { Authorization: `Basic ${Buffer.from(`user:${token}`).toString('base64')}` }
  const reply = await fetch(`${at.url}/token?service=hub&scope=${scope}`, { headers })
  return ((await reply.json()) as { access_token: string }).access_token
}

function ask(line: string, grant: string, at = gateway): Promise<Response> {
  const [method = '', path = ''] = line.split(' ')
  return fetch(at.url + path, { method, headers: { Authorization: `Bearer ${grant}` } })
}

t.test('skopeo logs in, pushes, pulls, mounts, lists and deletes with grants', async (t) => {
  const host = gateway.url.replace('http://', '')
  const home = join(folder, 'home')
  mkdirSync(home)
  const env = { HOME: home, XDG_RUNTIME_DIR: home }
  const skopeo = (...args: string[]): Promise<Finished> =>
    run('skopeo', ['--insecure-policy', ...args], { cwd: folder, env })
  const login = (password: string) =>
    skopeo('login', '--tls-verify=false', '-u', 'user', '-p', password, host)
  const image = writeOciLayout(join(folder, 'image'), [10, 70_000, 1_500_000])

  const wrong = await login('sgt_wrong')
  t.not(wrong.code, 0)
  t.match(wrong.stderr, 'invalid username/password')
  done(t, await login((await makeToken('push')).token))
  const to = '--dest-tls-verify=false'
  const from = '--src-tls-verify=false'
  done(t, await skopeo('copy', to, image.source, `docker://${host}/acme/app:v1`))
  const pulled = join(folder, 'pulled')
  done(t, await skopeo('copy', from, `docker://${host}/acme/app:v1`, `oci:${pulled}:latest`))
  const index = JSON.parse(readFileSync(join(pulled, 'index.json'), 'utf8'))
  t.equal(index.manifests[0].digest, image.digest)

  const before = (await upstream.requests()).length
  const [one, other] = [`docker://${host}/acme/app:v1`, `docker://${host}/team/copy:v1`]
  done(t, await skopeo('copy', from, to, one, other))
  const mounts = (await upstream.requests())
    .slice(before)
    .filter(({ uri }) => uri.includes('mount='))
  t.ok(mounts.length >= image.layers.length, 'each layer was mounted')
  t.ok(
    mounts.every(({ status }) => status === 201),
    'and none was refused',
  )
  done(t, await skopeo('list-tags', '--tls-verify=false', `docker://${host}/team/copy`))

  const refused = await skopeo('delete', '--tls-verify=false', `docker://${host}/team/copy:v1`)
  t.not(refused.code, 0)
  t.match(refused.stderr, 'token lacks scope delete on team/copy')
  done(t, await login((await makeToken('push', 'delete')).token))
  done(t, await skopeo('delete', '--tls-verify=false', `docker://${host}/team/copy:v1`))
  t.notOk(gateway.log().some(({ status }) => Number(status) >= 500))
})

t.test(
  'where anyone may pull, skopeo and docker do so without a token, and push only with one',
  async (t) => {
    const open = await start(
      { authority: 'sqlite:var/tokens.db' },
      {
        routes: [
          {
            name: 'open hub',
            protocol: 'registry',
            challenge: 'bearer',
            upstream: 'hub',
            allow: { pull: 'public', push: 'push' },
          },
          { path: '/token', service: 'registry-token', allow: 'public' },
        ],
      },
    )
    t.teardown(() => open.stop())
    const image = writeOciLayout(join(folder, 'open-image'), [10, 70_000])
    const name = `${open.url.replace('http://', '')}/acme/open:v1`
    const home = join(folder, 'nobody')
    mkdirSync(home)
    const env = { HOME: home, XDG_RUNTIME_DIR: home }
    const skopeo = (...args: string[]): Promise<Finished> =>
      run('skopeo', ['--insecure-policy', ...args], { cwd: folder, env })
    const to = '--dest-tls-verify=false'
    const refused = await skopeo('copy', to, image.source, `docker://${name}`)
    t.not(refused.code, 0)
    t.match(refused.stderr, 'a token is required')
    const creds = ['--dest-creds', `user:${await open.token('--scope', 'push')}`]
    done(t, await skopeo('copy', to, ...creds, image.source, `docker://${name}`))
    const into = `oci:${join(folder, 'open-pulled')}:latest`
    done(t, await skopeo('copy', '--src-tls-verify=false', `docker://${name}`, into))
    done(t, await run('docker', ['manifest', 'inspect', '--insecure', name], { cwd: folder, env }))
    t.ok(
      open.log().some((line) => line.route === '/token' && line.status === 200 && !line.tokenId),
      'a grant of nobody was made',
    )
  },
)

/** An upload that is under way: the registry waits for the rest of so many bytes. */
async function beginUpload(
  grant: string,
  content: Buffer,
): Promise<{ connection: Connection; sendRest: () => void }> {
  const begun = await ask('POST /v2/acme/slow/blobs/uploads/', grant)
  const target = `${begun.headers.get('location')}&digest=${sha256(content)}`
  const connection = await connect(gateway.url)
  connection.write(
    `PUT ${target} HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer ${grant}\r\n` +
      `Content-Type: application/octet-stream\r\nContent-Length: ${content.length}\r\n\r\n`,
  )
  const half = content.length / 2
  connection.write(content.subarray(0, half))
  return { connection, sendRest: () => connection.write(content.subarray(half)) }
}

t.test(
  'a token that is revoked in the middle of an upload: it is cut, the next is refused',
  async (t) => {
    const { id, token } = await makeToken('push')
    const grant = await grantFor(token, 'repository:acme/slow:pull,push')
    const content = randomBytes(2 ** 20)
    const { connection } = await beginUpload(grant, content)
    t.teardown(() => connection.close())
    t.equal((await ask('GET /v2/acme/slow/tags/list', grant)).status, 404, 'it is good until then')
    t.equal((await gateway.command('token', 'revoke', id)).code, 0)
    const revokedAt = performance.now()
    const reply = await connection.receiveAll()
    t.ok(performance.now() - revokedAt < noticeMs, 'at once')
    t.notMatch(reply, /^HTTP\/1\.1 20[0-9]/m)
    const next = await ask('POST /v2/acme/slow/blobs/uploads/', grant)
    t.equal(next.status, 401)
    t.match(next.headers.get('www-authenticate'), /error="invalid_token", .*token revoked on 20/)
    const url = `${upstream.url}/v2/acme/slow/blobs/${sha256(content)}`
    t.equal((await fetch(url, { method: 'HEAD' })).status, 404, 'the registry has no such blob')
  },
)

t.test(
  'an upload that outlasts its grant is completed, and the next request is refused',
  async (t) => {
    const { id } = await makeToken('push')
    const access = [{ type: 'repository', name: 'acme/slow', actions: ['pull', 'push'] }]
    const leftMs = 1_500
    const madeAt = Date.now() + leftMs - (grantLifetimeSeconds + leewaySeconds) * 1000
    const grant = writeGrant({ tokenId: id, access }, 'hub', Buffer.from(grantKey), madeAt)
    const content = randomBytes(2 ** 20)
    const { connection, sendRest } = await beginUpload(grant, content)
    t.teardown(() => connection.close())
    const next = await until('the grant has expired', async () => {
      const reply = await ask('GET /v2/acme/slow/tags/list', grant)
      return reply.status === 401 ? reply : undefined
    })
    t.match(next.headers.get('www-authenticate'), /error="invalid_token", .*the grant has expired/)
    sendRest()
    const reply = await connection.receive('the upload is done', (text) =>
      text.includes('\r\n\r\n'),
    )
    t.match(reply, /^HTTP\/1\.1 201 /)
  },
)

t.test('grants outlive a restart, and are good at every process of one authority', async (t) => {
  const tokens = { authority: `sqlite:${join(folder, 'shared', 'tokens.db')}` }
  const first = await start(tokens)
  const token = await first.token('--scope', 'push')
  const grant = await grantFor(token, 'repository:a:pull', first)
  t.equal((await ask('GET /v2/', grant, first)).status, 200)
  await first.stop()
  const second = await start(tokens)
  t.teardown(() => second.stop())
  const third = await start(tokens, { server: { workers: 2 } })
  t.teardown(() => third.stop())
  for (const one of [second, third, third, third, third]) {
    t.equal((await ask('GET /v2/', grant, one)).status, 200)
  }
  const other = await ask('GET /v2/', grant)
  t.equal(other.status, 401, 'another authority has another key')
})

t.test(
  'a grant reaches no registry, whichever carriers tokens have; nor does a cookie',
  async (t) => {
    const recorder = await startRecorder()
    const closed = await start(
      { authority: 'sqlite:var/tokens.db' },
      { credentials: [{ header: 'OSF-TOKEN' }], upstreams: { hub: { url: recorder.url } } },
    )
    t.teardown(async () => {
      await closed.stop()
      await recorder.stop()
    })
    const token = await closed.token('--scope', 'push')
    const basic = { Authorization: `Basic ${Buffer.from(`user:${token}`).toString('base64')}` }
    const url = `${closed.url}/token?scope=repository:a:pull`
    const { access_token: grant } = (await (await fetch(url, { headers: basic })).json()) as {
      access_token: string
    }
    const headers = { Authorization: `Bearer ${grant}`, Cookie: 'session=x' }
    t.equal((await fetch(`${closed.url}/v2/a/tags/list`, { headers })).status, 200)
    t.equal(
      (await fetch(`${closed.url}/v2/`, { headers: { Authorization: `Bearer ${token}` } })).status,
      401,
    )
    t.strictSame(
      recorder.requests.map((one) => [...one.values('authorization'), ...one.values('cookie')]),
      [[]],
    )
  },
)

function done(t: Test, finished: Finished): void {
  t.equal(finished.code, 0, finished.stderr || 'it ended well')
}
