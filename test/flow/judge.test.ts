// What `explain` and the routes' examples say is what the gateway does: one judgement without a socket and one
// request with everything, for every combination of method, target and token here.

import t from 'tap'
import { loadConfiguration } from '../../gateway/configuration/load.ts'
import type { Rights } from '../../gateway/decision/access.ts'
import { judge } from '../../gateway/judge.ts'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import { type Recorder, startRecorder } from '../servers/recorder.ts'
import { ask } from './raw-exchange.ts'

const upstream: Recorder = await startRecorder()
const rule = { upstream: 'api', fallthrough: 'accepted' }
const gateway: Gateway = await startGateway({
  upstreams: { api: { url: upstream.url } },
  scopes: { r: 'Read', w: { description: 'Write', implies: ['r'] }, x: 'Else' },
  routes: [
    { ...rule, path: '/public/{rest...}', allow: { '*': 'public' } },
    { ...rule, path: '/optional/{id}', allow: { GET: 'optional', POST: 'w' } },
    {
      ...rule,
      path: '/effective/{id}',
      allow: { GET: 'r', POST: 'r', DELETE: 'w' },
      methodOverride: 'effective',
    },
    {
      ...rule,
      path: '/things/{id}',
      allow: { GET: 'r', POST: { all: ['r', 'x'] }, DELETE: { any: ['w', 'x'] } },
    },
    {
      ...rule,
      path: '/scoped/{rest...}',
      allow: 'path-scope',
      pathParameters: 'allow',
      encodedSlash: 'allow',
    },
    { ...rule, path: '/arvados/v1/{rest...}', allow: 'path-scope' },
    { ...rule, path: '/strict/x/', allow: { GET: 'authenticated' }, trailingSlash: 'strict' },
    { ...rule, path: '/list', allow: { GET: 'r' }, resources: { factory: 'query.factory' } },
    {
      ...rule,
      path: '/git/{group}/{repository...}',
      protocol: 'git',
      allow: { fetch: 'r', update: 'w', create: 'x' },
    },
    {
      ...rule,
      path: '/mirror/{repository...}',
      protocol: 'git',
      allow: { fetch: 'public', update: 'w' },
    },
    { ...rule, path: '/git/{rest...}', allow: { '*': 'r' } },
    { ...rule, protocol: 'registry', allow: { pull: 'r', push: 'w', catalog: 'authenticated' } },
    { ...rule, host: 'other.example', path: '/{rest...}', allow: { '*': 'x' } },
  ],
})
t.teardown(async () => {
  await gateway.stop()
  await upstream.stop()
})
const { configuration } = await loadConfiguration(gateway.configFile, {})
if (configuration === undefined) throw new Error('the configuration is not good')

const methods = ['GET', 'HEAD', 'POST', 'DELETE', 'TRACE', 'MKCOL']
const digest = `sha256:${'a'.repeat(64)}`
const current = '/arvados/v1/api_client_authorizations/current'
const targets = [
  ...['/public', '/public/a', '/optional/1', '/effective/1', '/effective/1?_method=DELETE'],
  ...[
    '/things/1',
    '/things/1/',
    '/things/',
    '/things/1;v',
    '/things/a%2Fb',
    '/things/1?_method=PUT',
  ],
  ...['/scoped/a', '/scoped/b/', '/scoped/b/c', '/scoped/b/c;x=1', '/scoped/a%2Fb', '/scoped/%7E'],
  ...[current, `${current}/`, '/arvados/v1/groups', '/strict/x', '/strict/x/'],
  ...['/list', '/list?factory=acme', '/list?factory=acme&factory=b', '/list?Factory=acme'],
  ...['/git/acme/a/info/refs', '/git/acme/a.git/info/refs?service=git-receive-pack'],
  ...['/git/acme/a/info/refs?service=x', '/git/acme/a/git-upload-pack', '/git/acme/a/HEAD'],
  ...['/git/acme/a.git/refs/heads/main', '/git/acme/a.git', '/git/other/a/objects/info/packs'],
  ...['/mirror/a/info/refs', '/mirror/a/info/refs?service=git-receive-pack'],
  ...['/v2/', '/v2', '/v2/acme/a/manifests/1', '/v2/other/a/manifests/1', '/v2/acme/a/tags/list'],
  ...['/v2/acme/a/blobs/uploads/', `/v2/acme/a/blobs/${digest}`, '/v2/acme/A/tags/list'],
  ...['/v2/_state', '/v2/_state/manifests/1', '/nowhere', '/nowhere;x', '/nowhere/a%2fb'],
  ...['/a/../b', '/%61', '//x', '/x#y', '/a\\b', '/x%zz', '*', '/public/%ff'],
]

const holders: (Rights | undefined)[] = [
  undefined,
  ...[['r'], ['w', 'x'], ['GET /scoped/a', 'GET /scoped/b/', 'GET /arvados/v1/']].map((scopes) => ({
    scopes,
    resources: null,
    allowedIps: null,
  })),
  { scopes: ['all'], resources: { factory: ['acme'] }, allowedIps: null },
  { scopes: ['all'], resources: { repository: ['acme/*'] }, allowedIps: null },
]

async function tokenOf(rights: Rights | undefined): Promise<string[]> {
  if (rights === undefined) return []
  const limits = Object.entries(rights.resources ?? {})
  const token = await gateway.token(
    ...['--subject', 'ada', ...rights.scopes.flatMap((scope) => ['--scope', scope])],
    ...limits.flatMap(([key, values]) => ['--resource', `${key}=${values.join(',')}`]),
  )
  return [`OSF-TOKEN: ${token}`]
}

for (const rights of holders) {
  const who = rights === undefined ? 'nobody' : JSON.stringify(rights)
  t.test(`judge and gateway agree on ${who}`, async (t) => {
    const fields = await tokenOf(rights)
    const differing: string[] = []
    const compare = async (method: string, host: string, target: string): Promise<void> => {
      const reply = await ask(gateway.url, `${method} ${target}`, [`Host: ${host}`, ...fields])
      const url = target.startsWith('/') ? `http://${host}${target}` : target
      const { status, reason } = judge(configuration, { method, url, rights })
      if (reply.status === status) return
      differing.push(`${method} ${url}: judge ${status} ${reason}, gateway ${reply.status}`)
    }
    for (const target of targets) {
      await Promise.all(methods.map((method) => compare(method, 'gateway.example', target)))
    }
    await compare('GET', 'other.example', '/things/1')
    await compare('FROB', 'gateway.example', '/public/a')
    t.strictSame(differing, [])
  })
}
