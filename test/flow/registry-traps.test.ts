// Requests that are written so that a gateway and a registry might read them differently, byte by byte, to a
// registry that believes everything and records what arrives: a token for one repository reaches no other,
// whatever the request looks like, and what comes back names no host but the gateway's.

import t, { type Test } from 'tap'
import { sha256 } from '../servers/oci-layout.ts'
import { connect } from '../servers/raw-client.ts'
import type { Script } from '../servers/recorder.ts'
import { type RegistryGateway, scopes, startRegistryGateway } from '../servers/registry-gateway.ts'
import { type ScriptedRegistry, startScriptedRegistry } from '../servers/scripted-registry.ts'
import { ask, chunked, host, type RawReply, readReply, writeRequest } from './raw-exchange.ts'

const registry: ScriptedRegistry = await startScriptedRegistry()
const gateway: RegistryGateway = await startRegistryGateway(registry.url)
// The registry is stopped by the last test.
t.teardown(() => gateway.stop())
t.afterEach(() => registry.answer(() => undefined))

const everything = [scopes.push, scopes.delete]
const limited = await gateway.credentials(...everything, 'repository=acme/*')
const unlimited = await gateway.credentials(...everything)
const digest = sha256('a blob')
const uploads = '/v2/acme/app/blobs/uploads/'
const urlencoded = 'Content-Type: application/x-www-form-urlencoded'

/** Sends it with the limited token; resolves with the reply and with what arrived meanwhile. */
async function tryOut(line: string, fields: readonly string[] = [], body = '') {
  let reply: RawReply | undefined
  const seen = await registry.seenDuring(async () => {
    reply = await ask(gateway.url, line, [limited, ...fields], body)
  })
  return { reply: reply as RawReply, seen }
}

/** Sends all of them at once with the limited token; the replies are in their order. */
async function tryAll(lines: readonly string[]) {
  let replies: RawReply[] = []
  const seen = await registry.seenDuring(async () => {
    replies = await Promise.all(lines.map((line) => ask(gateway.url, line, [limited])))
  })
  return { replies: lines.map((line, at) => [line, replies[at]!] as const), seen }
}

/** Every endpoint, of a repository by its name. */
const endpoints: readonly ((name: string) => string)[] = [
  (name) => `GET /v2/${name}/manifests/latest`,
  (name) => `HEAD /v2/${name}/manifests/latest`,
  (name) => `PUT /v2/${name}/manifests/${digest}?tag=v1`,
  (name) => `DELETE /v2/${name}/manifests/latest`,
  (name) => `GET /v2/${name}/blobs/${digest}`,
  (name) => `HEAD /v2/${name}/blobs/${digest}`,
  (name) => `DELETE /v2/${name}/blobs/${digest}`,
  (name) => `POST /v2/${name}/blobs/uploads/`,
  (name) => `POST /v2/${name}/blobs/uploads/?digest=${digest}`,
  (name) => `POST /v2/${name}/blobs/uploads/?mount=${digest}&from=acme/app`,
  (name) => `GET /v2/${name}/blobs/uploads/u1`,
  (name) => `PATCH /v2/${name}/blobs/uploads/u1?_state=s`,
  (name) => `PUT /v2/${name}/blobs/uploads/u1?digest=${digest}`,
  (name) => `DELETE /v2/${name}/blobs/uploads/u1`,
  (name) => `GET /v2/${name}/tags/list`,
  (name) => `GET /v2/${name}/referrers/${digest}`,
]

/** Those without a mount, which are handed on as they are. */
const plainEndpoints = endpoints.filter((write) => !write('x').includes('from='))

/** Names of repositories that `acme/*` does not match. */
const foreign = [
  'secret/base',
  'secret',
  'acme',
  'acme/app/deep',
  'acmex/app',
  'xacme/app',
  'acme-2/app',
  'secret/base/manifests/acme/app',
  'secret/blobs/uploads/acme',
  'secret/tags/list',
  'acme/app/manifests/latest',
]

t.test('a token for one repository reaches no other at any endpoint', async (t) => {
  for (const name of foreign) {
    const { replies, seen } = await tryAll(endpoints.map((write) => write(name)))
    t.strictSame(seen, [], `${name}: nothing arrived`)
    for (const [line, reply] of replies) {
      t.equal(reply.status, 403, line)
      if (line.startsWith('HEAD ')) continue
      const [error] = errorsOf(reply)
      t.equal(error?.code, 'DENIED', line)
      t.ok(error?.message.endsWith(name), `${line}: ${error?.message}`)
    }
  }
})

/** Ways to write `secret/base` so that another reader might find it. */
const spellings: readonly string[] = [
  '%73ecret/base',
  's%65cret/base',
  'secret%2Fbase',
  'secret%2fbase',
  'secret%5Cbase',
  '%2573ecret/base',
  'secret%252Fbase',
  'acme/../secret/base',
  'acme/%2e%2e/secret/base',
  'acme/%2E./secret/base',
  'acme/..%2fsecret/base',
  'acme/app/../../secret/base',
  'acme/..;/secret/base',
  'acme/app%2F..%2F..%2Fsecret/base',
  './secret/base',
  '/secret/base',
  'secret//base',
  'secret/base/',
  'secret/./base',
  'SECRET/base',
  'Secret/Base',
  'secret/base;v=1',
  'secret;acme/base',
  'secret\\base',
  'acme\\..\\secret\\base',
  'secret/base%00',
  'secret/base%20',
  'secret/base%0d%0a',
  'secret/base%09',
  'secret/base%23',
  'secret/base%3Fx',
  'secret/base#',
  '%C0%AEsecret/base',
  '%c1%b3ecret/base',
  'secret/base%',
  'secret/base%zz',
  'secret+/base',
  'secret/b:ase',
  'secret%3Abase',
  'http://secret/base',
  'acme/app%3F/../../secret/base',
  '..%5csecret/base',
]

t.test('nor does another spelling of its name', async (t) => {
  for (const name of spellings) {
    const { replies, seen } = await tryAll(endpoints.map((write) => write(name)))
    t.strictSame(seen, [], `${name}: nothing arrived`)
    for (const [line, reply] of replies) {
      t.ok([400, 404].includes(reply.status), `${line}: ${reply.status}`)
      if (reply.field('content-type') !== 'application/problem+json') speaksRegistry(t, reply, line)
    }
  }
})

/** A whole request that names the permitted repository, and the other one somewhere else. */
const elsewhere: readonly (readonly [why: string, line: string, ...fields: string[]])[] = [
  ['in the query', 'GET /v2/acme/app/tags/list?name=secret/base&repository=secret/base'],
  ['in a path of the query', 'GET /v2/acme/app/tags/list?last=/v2/secret/base/tags/list'],
  [
    'in fields that rewrite the path',
    'GET /v2/acme/app/tags/list',
    'X-Original-URL: /v2/secret/base/tags/list',
    'X-Rewrite-URL: /v2/secret/base/tags/list',
    'X-Original-URI: /v2/secret/base/tags/list',
    'X-Forwarded-Uri: /v2/secret/base/tags/list',
    'X-Forwarded-Prefix: /v2/secret/base',
    'X-Forwarded-Path: /v2/secret/base/tags/list',
  ],
  ['in the state of an upload', `PATCH ${uploads}u1?_state=secret/base`],
]

t.test('a name that stands elsewhere in the request changes nothing of its path', async (t) => {
  for (const [why, line, ...fields] of elsewhere) {
    const { reply, seen } = await tryOut(line, fields)
    if (reply.status === 400) t.strictSame(seen, [], why)
    else {
      t.equal(seen.length, 1, why)
      t.equal(seen[0]?.split('?')[0], line.split('?')[0], why)
      t.notMatch(
        seen[0],
        /name=|repository=/,
        `${why}: what the endpoint does not know is left out`,
      )
      const { head } = registry.requests.at(-1)!
      if (fields.length > 0) t.notMatch(head, /secret/, why)
    }
  }
})

t.test('a method cannot be another one than its own', async (t) => {
  for (const name of ['X-HTTP-Method-Override', 'X-HTTP-Method', 'X-Method-Override']) {
    const reader = await gateway.credentials(scopes.pull)
    const seen = await registry.seenDuring(async () => {
      const fields = [reader, `${name}: DELETE`]
      await ask(gateway.url, 'GET /v2/acme/app/manifests/latest', fields)
      await ask(gateway.url, `GET /v2/acme/app/tags/list?_method=DELETE`, fields)
    })
    for (const line of seen) t.match(line, /^GET \/v2\/acme\/app\/[a-z/]+$/, name)
    for (const { head } of registry.requests.slice(-seen.length)) t.notMatch(head, /DELETE/, name)
  }
})

t.test('absolute-form names the same request, or another host and is refused', async (t) => {
  const own = await tryOut(`GET http://${host}/v2/acme/app/tags/list`)
  t.equal(own.reply.status, 200)
  t.strictSame(own.seen, ['GET /v2/acme/app/tags/list'])
  const foreign = await tryOut(`GET http://${host}/v2/secret/base/tags/list`)
  t.equal(foreign.reply.status, 403)
  t.strictSame(foreign.seen, [])
  const other = await tryOut('GET http://registry.internal/v2/acme/app/tags/list')
  t.equal(other.reply.status, 400)
  t.strictSame(other.seen, [])
})

t.test('names may hold the words of the protocol: the last ones of the path count', async (t) => {
  for (const word of ['manifests', 'blobs', 'uploads', 'tags', 'list', 'referrers', 'v2']) {
    const lines = plainEndpoints.map((write) => write(`acme/${word}`))
    const { seen } = await tryAll(lines)
    t.strictSame(seen.map(decodeURIComponent).sort(), lines.sort(), word)
  }
  for (const [line, status] of [
    ['GET /v2/manifests/manifests/manifests/manifests', 403],
    ['GET /v2/acme/tags/list', 403],
    ['POST /v2/acme/blobs/uploads/', 403],
    [`GET /v2/acme/manifests/${digest}`, 403],
    ['GET /v2/tags/list', 404],
    ['GET /v2/manifests/latest', 404],
  ] as const) {
    const { reply, seen } = await tryOut(line)
    t.equal(reply.status, status, line)
    t.strictSame(seen, [], line)
  }
})

type Mount = readonly [why: string, query: string, fields: readonly string[], body: string]

const form = (text: string, type = urlencoded): [readonly string[], string] => [[type], text]

/** A multipart form; a part is its name, or the whole of its head, and its value. */
function multipart(...parts: readonly (readonly [name: string, value: string])[]): string {
  const all = parts.map(([name, value]) => {
    const head = name.includes(':') ? name : `Content-Disposition: form-data; name="${name}"`
    return `--B\r\n${head}\r\n\r\n${value}\r\n`
  })
  return `${all.join('')}--B--\r\n`
}

const parts = 'Content-Type: multipart/form-data; boundary=B'
const steal = `mount=${digest}&from=secret/base`
const honest = `mount=${digest}&from=acme/base`

/** Mounts of a blob of `secret/base`, and such as might be read as one. */
const stolen: readonly Mount[] = [
  ['in the query', `?${steal}`, [], ''],
  ['with its slash escaped', `?mount=${digest}&from=secret%2Fbase`, [], ''],
  ['with a letter escaped', `?mount=${digest}&from=%73ecret/base`, [], ''],
  ['with its key escaped', `?mount=${digest}&fr%6Fm=secret/base`, [], ''],
  ['through the permitted one', `?mount=${digest}&from=acme/../secret/base`, [], ''],
  ['the same, escaped', `?mount=${digest}&from=acme%2F..%2Fsecret%2Fbase`, [], ''],
  ['in capitals', `?mount=${digest}&from=Secret/Base`, [], ''],
  ['below the permitted one', `?mount=${digest}&from=acme/app/deep`, [], ''],
  ['with a blank before it', `?mount=${digest}&from=+secret/base`, [], ''],
  ['with keys in capitals', `?MOUNT=${digest}&FROM=secret/base`, [], ''],
  ['no source at all', `?mount=${digest}`, [], ''],
  ['an empty source', `?mount=${digest}&from=`, [], ''],
  ['two sources', `?${honest}&from=secret/base`, [], ''],
  ['two sources, the other first', `?from=secret/base&${honest}`, [], ''],
  ['two sources, a key escaped', `?${honest}&%66rom=secret/base`, [], ''],
  ['two sources behind a semicolon', `?${honest};from=secret/base`, [], ''],
  ['two blobs', `?mount=${sha256('x')}&${honest}`, [], ''],
  ['in a form', '', ...form(steal)],
  ['in a form with a charset', '', ...form(steal, `${urlencoded}; charset=utf-8`)],
  ['in a form whose type is in capitals', '', ...form(steal, urlencoded.toUpperCase())],
  ['in a form with its keys escaped', '', ...form(`%6dount=${digest}&%66rom=secret%2Fbase`)],
  ['its source in a form, the blob in the query', `?mount=${digest}`, ...form('from=secret/base')],
  ['its blob in a form, the source in the query', '?from=secret/base', ...form(`mount=${digest}`)],
  ['a form beside an honest query', `?${honest}`, ...form(steal)],
  ['a source in a form beside an honest query', `?${honest}`, ...form('from=secret/base')],
  ['an honest form beside it in the query', `?${steal}`, ...form(honest)],
  ['two sources in a form', '', ...form(`${honest}&from=secret/base`)],
  ['two sources in a form, the other first', '', ...form(`from=secret/base&${honest}`)],
  ['a semicolon in a form', '', ...form(`${honest};from=secret/base`)],
  [
    'a form in chunks',
    '',
    [urlencoded, 'Transfer-Encoding: chunked'],
    chunked(steal.slice(0, 9), steal.slice(9)),
  ],
  ['two types, one a form', '', [urlencoded, 'Content-Type: application/octet-stream'], steal],
  ['a form that says it is compressed', '', [urlencoded, 'Content-Encoding: gzip'], steal],
  ['without a type', '', [], steal],
  ['a type that is no form', '', ['Content-Type: text/plain'], steal],
  ['in a multipart form', '', [parts], multipart(['mount', digest], ['from', 'secret/base'])],
  [
    'in a multipart form with a quoted boundary',
    '',
    ['Content-Type: multipart/form-data; boundary="B"'],
    multipart(['mount', digest], ['from', 'secret/base']),
  ],
  [
    'two sources in a multipart form',
    '',
    [parts],
    multipart(['mount', digest], ['from', 'acme/base'], ['from', 'secret/base']),
  ],
  [
    'a multipart form beside an honest query',
    `?${honest}`,
    [parts],
    multipart(['mount', digest], ['from', 'secret/base']),
  ],
  [
    'a part whose name is not quoted',
    '',
    [parts],
    multipart(
      ['Content-Disposition: form-data; name=mount', digest],
      ['Content-Disposition: form-data; name=from', 'secret/base'],
    ),
  ],
  [
    'a part with a file name',
    '',
    [parts],
    multipart(
      ['mount', digest],
      ['Content-Disposition: form-data; name="from"; filename="f"', 'secret/base'],
    ),
  ],
  [
    'another kind of multipart',
    '',
    ['Content-Type: multipart/mixed; boundary=B'],
    multipart(['mount', digest], ['from', 'secret/base']),
  ],
]

t.test('no way to write a mount reaches a blob of another repository', async (t) => {
  for (const [why, query, fields, body] of stolen) {
    const from = registry.requests.length
    const { reply } = await tryOut(`POST ${uploads}${query}`, fields, body)
    t.ok([202, 400].includes(reply.status), `${why}: ${reply.status} ${reply.body}`)
    if (reply.status === 400) speaksRegistry(t, reply, why)
    const arrived = registry.requests.slice(from)
    if (reply.status === 400) t.equal(arrived.length, 0, `${why}: nothing arrived`)
    for (const request of arrived) {
      const type = request.values('content-type').join()
      t.notMatch(type, /form|multipart/i, `${why}: never as a form`)
      t.notMatch(request.target, /secret|mount|from/i, `${why}: ${request.target}`)
    }
  }
})

const permitted: readonly Mount[] = [
  ['in the query', `?${honest}`, [], ''],
  ['in a form', '', ...form(honest)],
  ['in a multipart form', '', [parts], multipart(['mount', digest], ['from', 'acme/base'])],
  ['half in the query, half in a form', `?mount=${digest}`, ...form('from=acme/base')],
  ['beside a key that only looks like it', `?${honest}&from[]=secret/base`, [], ''],
  ['with what crane adds', `?${honest}&origin=registry.example`, [], ''],
]

t.test('a mount that is permitted is handed on as a query, after the blob was seen', async (t) => {
  for (const [why, query, fields, body] of permitted) {
    const { reply, seen } = await tryOut(`POST ${uploads}${query}`, fields, body)
    t.equal(reply.status, 201, why)
    t.strictSame(
      seen.map(decodeURIComponent),
      [`HEAD /v2/acme/base/blobs/${digest}`, `POST ${uploads}?mount=${digest}&from=acme/base`],
      why,
    )
    t.equal(registry.requests.at(-1)?.bodyBytes, 0, why)
  }
})

t.test(
  'a registry that mounts without looking gets no mount of a blob that is not in `from`',
  async (t) => {
    for (const status of ['404 Not Found', '401 Unauthorized', '500 Internal Server Error']) {
      registry.answer(({ method }) => (method === 'HEAD' ? { status } : undefined))
      for (const [why, query, fields, body] of permitted) {
        const { reply, seen } = await tryOut(`POST ${uploads}${query}`, fields, body)
        t.equal(reply.status, 202, `${why}, ${status}`)
        t.strictSame(seen, [`HEAD /v2/acme/base/blobs/${digest}`, `POST ${uploads}`], why)
      }
    }
  },
)

t.test('a mount needs push on its target', async (t) => {
  const reader = await gateway.credentials(scopes.pull)
  const seen = await registry.seenDuring(async () => {
    const reply = await ask(gateway.url, `POST ${uploads}?${honest}`, [reader])
    t.equal(reply.status, 403)
  })
  t.strictSame(seen, [])
})

const steering = [
  'Forwarded: host=evil.example;proto=https',
  'X-Forwarded-Host: evil.example',
  'X-Forwarded-Proto: https',
  'X-Forwarded-Port: 666',
  'X-Forwarded-Server: evil.example',
  'X-Forwarded-For: 192.0.2.66',
  'X-Forwarded-Prefix: /evil.example',
  'X-Real-IP: 192.0.2.66',
  'X_Forwarded_Host: evil.example',
]

t.test('no field of the client tells the registry of another host', async (t) => {
  // As distribution builds it: from Forwarded, else X-Forwarded-*, else Host.
  registry.answer((request) => {
    const forwarded = /host="?([^";,\r]+)/.exec(request.values('forwarded').join())?.[1]
    const name = forwarded ?? request.values('x-forwarded-host')[0] ?? request.values('host')[0]
    t.notMatch(request.head, /evil\.example|192\.0\.2\.66|: 666/i)
    const location = `https://${name}/v2/acme/app/blobs/uploads/u1?_state=s`
    return { status: '202 Accepted', fields: ['Location', location] }
  })
  for (const line of [`POST ${uploads}`, `PATCH ${uploads}u1?_state=s`]) {
    for (const fields of [steering, ...steering.map((field) => [field])]) {
      const { reply } = await tryOut(line, fields)
      t.equal(reply.field('location'), `${uploads}u1?_state=s`, `${line} ${fields.join()}`)
    }
  }
})

const port = registry.url.slice('http://127.0.0.1:'.length)

/** Forms in which registries write an address of theirs, below or beside the gateway's own. */
const forms: readonly (readonly [why: string, write: (path: string) => string])[] = [
  ['absolute, its own', (path) => `${registry.url}${path}`],
  ['without its port', (path) => `http://127.0.0.1${path}`],
  ['https', (path) => `https://127.0.0.1:${port}${path}`],
  ['another host', (path) => `https://registry.internal${path}`],
  ['another host and port', (path) => `http://registry.internal:5000${path}`],
  ['an IPv6 address', (path) => `http://[2001:db8::1]:5000${path}`],
  ['the scheme in capitals', (path) => `HTTP://Registry.Internal${path}`],
  ['a path', (path) => path],
  ['without a scheme', (path) => `//registry.internal:5000${path}`],
]

t.test('Location is a path on the gateway, whatever the registry wrote', async (t) => {
  const cases = [
    ['201 Created', `PUT /v2/acme/app/manifests/v1`, `/v2/acme/app/manifests/${digest}`],
    ['201 Created', `PUT ${uploads}u1?digest=${digest}`, `/v2/acme/app/blobs/${digest}`],
    ['202 Accepted', `POST ${uploads}`, `${uploads}u1?_state=a%2Fb=&x=http://y/`],
    ['202 Accepted', `PATCH ${uploads}u1`, `${uploads}u1?_state=s`],
    ['204 No Content', `GET ${uploads}u1`, `${uploads}u1?_state=s`],
    ['416 Range Not Satisfiable', `PATCH ${uploads}u1`, `${uploads}u1?_state=s`],
  ] as const
  for (const [why, write] of forms) {
    for (const [status, line, path] of cases) {
      registry.answer(() => ({ status, fields: ['Location', write(path)] }))
      const { reply } = await tryOut(line)
      t.equal(reply.status, Number(status.slice(0, 3)), `${why}: ${line}`)
      t.strictSame(reply.values('location'), [path], `${why}: ${line} ${status}`)
      t.notMatch(reply.fields.join('\n'), /registry\.internal|127\.0\.0\.1/i, `${why}: ${line}`)
    }
  }
})

/** Addresses beside the registry's own paths; only a path and query may be left of them. */
const besides: readonly (readonly [written: string, expected: string])[] = [
  ['https://registry.internal/artifacts-uploads/x?y=1', '/artifacts-uploads/x?y=1'],
  ['//registry.internal/up', '/up'],
  ['https://registry.internal', '/'],
  ['https://registry.internal?x=1', '/?x=1'],
  ['ftp://registry.internal/v2/x', '/v2/x'],
]

t.test('also where it stands beside the paths of the registry', async (t) => {
  for (const [written, expected] of besides) {
    registry.answer(() => ({
      status: '202 Accepted',
      fields: ['Location', written, 'Link', `<${written}>; rel="next"`],
    }))
    const { reply } = await tryOut(`POST ${uploads}`)
    t.equal(reply.field('location'), expected, written)
    t.equal(reply.field('link'), `<${expected}>; rel="next"`, written)
  }
  for (const written of ['///registry.internal/v2/x', 'https:/\\registry.internal/v2/x']) {
    registry.answer(() => ({ status: '202 Accepted', fields: ['Location', written] }))
    const location = (await tryOut(`POST ${uploads}`)).reply.field('location') ?? ''
    t.equal(new URL(location, `http://${host}${uploads}`).host, host, `${written}: ${location}`)
  }
})

t.test('a Location that is relative to the request leads to the same place', async (t) => {
  registry.answer(() => ({ status: '202 Accepted', fields: ['Location', 'u1?_state=s'] }))
  const { reply } = await tryOut(`POST ${uploads}`)
  const location = reply.field('location') ?? ''
  const { pathname, search } = new URL(location, `http://${host}${uploads}`)
  t.equal(`${pathname}${search}`, `${uploads}u1?_state=s`)
})

t.test('Link is a path on the gateway too', async (t) => {
  const pages = [
    ['GET /v2/acme/app/tags/list?n=1', '/v2/acme/app/tags/list?n=1&last=v1'],
    [`GET /v2/acme/app/referrers/${digest}`, `/v2/acme/app/referrers/${digest}?last=x&n=5`],
  ] as const
  for (const [why, write] of forms) {
    for (const [line, path] of pages) {
      registry.answer(() => ({ fields: ['Link', `<${write(path)}>; rel="next"`], body: '{}' }))
      const { reply } = await tryOut(line)
      t.strictSame(reply.values('link'), [`<${path}>; rel="next"`], `${why}: ${line}`)
    }
  }
})

t.test('a redirect to outside storage is left alone; one to the registry is not', async (t) => {
  const line = `GET /v2/acme/app/blobs/${digest}`
  for (const status of ['302 Found', '303 See Other', '307 Temporary Redirect', '308 Permanent']) {
    const outside = 'https://bucket.storage.example/v2/blob?X-Sig=a%2Fb&e=1'
    registry.answer(() => ({ status, fields: ['Location', outside] }))
    const { reply, seen } = await tryOut(line)
    t.equal(reply.status, Number(status.slice(0, 3)))
    t.equal(reply.field('location'), outside, status)
    t.equal(seen.length, 1, `${status}: the gateway does not follow it`)
    t.notMatch(reply.fields.join('\n'), /authorization|Basic/i, status)
    for (const inside of [`${registry.url}/v2/acme/app/blobs/x`, '/v2/acme/app/blobs/x']) {
      registry.answer(() => ({ status, fields: ['Location', inside] }))
      t.equal((await tryOut(line)).reply.field('location'), '/v2/acme/app/blobs/x', inside)
    }
  }
})

t.test('a 416 that miscounts its bytes ends, and so does the connection', async (t) => {
  const head = 'HTTP/1.1 416 Requested Range Not Satisfiable\r\nContent-Type: application/json\r\n'
  registry.answer(() => ({
    raw: `${head}Content-Length: 150\r\n\r\n{"errors":[]}`,
    ending: 'close',
  }))
  const line = `GET /v2/acme/app/blobs/${digest}`
  const client = await connect(gateway.url)
  client.write(writeRequest(line, [limited, 'Range: bytes=1000-']))
  const text = await client.receiveAll()
  t.equal(readReply(text).status, 416)
  t.match(text, /\r\nContent-Length: 150\r\n/i, 'the length is not made to fit')
  client.close()
  registry.answer(() => undefined)
  t.equal((await tryOut(line)).reply.status, 200, 'the next request is answered')
})

type Refusal = readonly [
  why: string,
  line: string,
  fields: readonly string[],
  status: number,
  code: string,
]

const none: readonly string[] = []
const invalid = `Authorization: Basic ${Buffer.from('user:sgt_wrong').toString('base64')}`
const reader = await gateway.credentials(scopes.pull)

const refusals: readonly Refusal[] = [
  ['no credentials', 'GET /v2/', none, 401, 'UNAUTHORIZED'],
  ['bad credentials', 'GET /v2/', [invalid], 401, 'UNAUTHORIZED'],
  ['no credentials for an upload', `POST ${uploads}`, none, 401, 'UNAUTHORIZED'],
  ['no credentials, deep inside', 'GET /v2/acme/app/tags/list', none, 401, 'UNAUTHORIZED'],
  ['no scope', `PUT /v2/acme/app/manifests/v1`, [reader], 403, 'DENIED'],
  ['a name that is none', 'GET /v2/Acme/app/tags/list', [unlimited], 400, 'NAME_INVALID'],
  ['a digest that is none', 'GET /v2/acme/app/blobs/sha256:x', [unlimited], 400, 'DIGEST_INVALID'],
  ['an extension', 'GET /v2/_oci/ext/discover', [unlimited], 404, 'NAME_UNKNOWN'],
  ['anything that begins so', 'GET /v2/_x', [unlimited], 404, 'NAME_UNKNOWN'],
  ['the catalog’s own neighbour', 'GET /v2/_catalogue', [unlimited], 404, 'NAME_UNKNOWN'],
  ['a repository of extensions', 'GET /v2/_x/tags/list', [unlimited], 404, 'NAME_UNKNOWN'],
  ['no endpoint', 'GET /v2/acme/app', [unlimited], 404, 'NAME_UNKNOWN'],
  ['a method that is none', 'POST /v2/acme/app/manifests/v1', [unlimited], 405, 'UNSUPPORTED'],
  ['another', 'PATCH /v2/acme/app/tags/list', [unlimited], 405, 'UNSUPPORTED'],
  ['another', 'OPTIONS /v2/acme/app/tags/list', [unlimited], 405, 'UNSUPPORTED'],
  ['a number that is none', 'GET /v2/_catalog?n=x', [unlimited], 400, 'PAGINATION_NUMBER_INVALID'],
]

t.test('every refusal is one that registry clients read', async (t) => {
  for (const [why, line, fields, status, code] of refusals) {
    const seen = await registry.seenDuring(async () => {
      const reply = await ask(gateway.url, line, fields)
      t.equal(reply.status, status, `${why}: ${line}`)
      speaksRegistry(t, reply, why)
      t.equal(errorsOf(reply)[0]?.code, code, `${why}: ${line}`)
      t.equal(reply.values('www-authenticate').length, status === 401 ? 1 : 0, why)
      if (status === 405) t.ok(reply.field('allow'), `${why}: Allow`)
    })
    t.strictSame(seen, [], why)
  }
})

t.test('to HEAD a refusal has the same fields and no body', async (t) => {
  const pairs = [
    ['/v2/acme/app/manifests/v1', none],
    ['/v2/acme/app/manifests/v1', [await gateway.credentials('source:read')]],
    ['/v2/Acme/app/manifests/v1', [unlimited]],
    ['/v2/acme/app/blobs/sha256:x', [unlimited]],
    ['/v2/_x', [unlimited]],
  ] as const
  for (const [path, fields] of pairs) {
    const get = await ask(gateway.url, `GET ${path}`, fields)
    const client = await connect(gateway.url)
    client.write(writeRequest(`HEAD ${path}`, [...fields, 'Connection: close']))
    const text = await client.receiveAll()
    client.close()
    const head = readReply(text, true)
    t.equal(head.status, get.status, path)
    t.ok(text.endsWith('\r\n\r\n'), `${path}: no body`)
    for (const name of ['content-type', 'docker-distribution-api-version', 'www-authenticate']) {
      t.strictSame(head.values(name), get.values(name), `${path}: ${name}`)
    }
  }
})

t.test(
  'what the registry has against the gateway itself is a 502, never its challenge',
  async (t) => {
    const failures: readonly Script[] = [
      {
        status: '401 Unauthorized',
        fields: ['WWW-Authenticate', 'Bearer realm="https://auth.internal/token",service="r"'],
        body: '{"errors":[{"code":"UNAUTHORIZED","message":"internal"}]}',
      },
      {
        status: '407 Proxy Authentication Required',
        fields: ['Proxy-Authenticate', 'Basic realm="internal"'],
        body: 'internal',
      },
    ]
    for (const script of failures) {
      registry.answer(() => script)
      const { replies } = await tryAll(plainEndpoints.map((write) => write('acme/app')))
      for (const [line, reply] of replies) {
        t.equal(reply.status, 502, line)
        t.notMatch(reply.fields.join('\n'), /authenticate|internal/i, line)
        if (line.startsWith('HEAD ')) continue
        speaksRegistry(t, reply, line)
        t.notMatch(reply.body, /internal/, line)
      }
      t.equal((await tryOut('GET /v2/_catalog')).reply.status, 502, 'the catalog')
    }
  },
)

t.test('no credential of a client arrives at the registry', async (t) => {
  const from = registry.requests.length
  for (const endpoint of endpoints) {
    await tryOut(endpoint('acme/app'), ['Cookie: session=secret'])
  }
  for (const { head, method, target } of registry.requests.slice(from)) {
    t.notMatch(head, /^(authorization|proxy-authorization|cookie):|Basic/im, `${method} ${target}`)
  }
})

t.test('a registry that is not there is a 502 that clients read', async (t) => {
  await registry.stop()
  t.strictSame(registry.violations, [], 'all that it got was HTTP as it is written')
  for (const line of [`POST ${uploads}`, 'GET /v2/', 'GET /v2/_catalog']) {
    const reply = await ask(gateway.url, line, [limited])
    t.equal(reply.status, 502, line)
    speaksRegistry(t, reply, line)
  }
})

function errorsOf(reply: RawReply): { code: string; message: string }[] {
  return (reply.problem.errors ?? []) as { code: string; message: string }[]
}

/** A refusal in OCI JSON, of the version that clients look for. */
function speaksRegistry(t: Test, reply: RawReply, what: string): void {
  t.match(reply.field('content-type'), /^application\/json/, `${what}: JSON`)
  t.equal(reply.field('docker-distribution-api-version'), 'registry/2.0', `${what}: version`)
  if (reply.body === '') return
  const [error] = errorsOf(reply)
  t.match(error?.code, /^[A-Z_]+$/, `${what}: a code`)
  t.ok(error?.message, `${what}: a sentence`)
}
