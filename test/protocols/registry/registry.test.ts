// What a registry request wants, what is forwarded of it, and what comes back.

import t from 'tap'
import type { DenialReason } from '../../../gateway/decision/access.ts'
import { decide } from '../../../gateway/decision/decide.ts'
import { type ErrorCode, errorTable, GatewayError } from '../../../gateway/errors.ts'
import type { FieldList } from '../../../gateway/protocols/protocol.ts'
import { registry } from '../../../gateway/protocols/registry/registry.ts'
import { catalog, request, rights, route } from './calls.ts'

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`
const sha512 = `sha512:${'0123456789abcdef'.repeat(8)}`
const id = '6b3c9a93-af5d-473f-a4c4-9710022185cd'

function read(line: string, fields: FieldList = []) {
  const [method = '', target = ''] = line.split(' ')
  return registry.read(request(method, target, fields))
}

const calls: readonly (readonly [
  why: string,
  line: string,
  action: string,
  repository: string | null,
  forwarded: string,
])[] = [
  ['end-1: the base', 'GET /v2/', 'base', null, '/v2/'],
  ['the base without its slash is the base', 'GET /v2', 'base', null, '/v2/'],
  ['the base may be asked for by HEAD', 'HEAD /v2/', 'base', null, '/v2/'],
  ['the base has no parameters', 'GET /v2/?x=1', 'base', null, '/v2/'],
  [
    'end-2: a blob',
    `GET /v2/acme/app/blobs/${digest}`,
    'pull',
    'acme/app',
    `/v2/acme/app/blobs/${digest}`,
  ],
  [
    'end-2: a blob by HEAD',
    `HEAD /v2/acme/app/blobs/${digest}`,
    'pull',
    'acme/app',
    `/v2/acme/app/blobs/${digest}`,
  ],
  ['sha512 is a digest', `GET /v2/app/blobs/${sha512}`, 'pull', 'app', `/v2/app/blobs/${sha512}`],
  [
    'the colon of a digest may be escaped',
    `GET /v2/a/blobs/${digest.replace(':', '%3A')}`,
    'pull',
    'a',
    `/v2/a/blobs/${digest}`,
  ],
  [
    'in lower case too',
    `GET /v2/a/blobs/${digest.replace(':', '%3a')}`,
    'pull',
    'a',
    `/v2/a/blobs/${digest}`,
  ],
  [
    'what mirrors add is dropped',
    `GET /v2/a/blobs/${digest}?ns=docker.io`,
    'pull',
    'a',
    `/v2/a/blobs/${digest}`,
  ],
  [
    'end-3: a manifest by tag',
    'GET /v2/acme/app/manifests/v1.0',
    'pull',
    'acme/app',
    '/v2/acme/app/manifests/v1.0',
  ],
  [
    'end-3: a manifest by digest',
    `HEAD /v2/app/manifests/${digest}`,
    'pull',
    'app',
    `/v2/app/manifests/${digest}`,
  ],
  [
    'end-4a: an upload begins',
    'POST /v2/acme/app/blobs/uploads/',
    'push',
    'acme/app',
    '/v2/acme/app/blobs/uploads/',
  ],
  [
    'end-4b: a blob in one request',
    `POST /v2/a/blobs/uploads/?digest=${digest}`,
    'push',
    'a',
    `/v2/a/blobs/uploads/?digest=${digest.replace(':', '%3A')}`,
  ],
  [
    'end-4c: with an algorithm',
    'POST /v2/a/blobs/uploads/?digest-algorithm=sha512',
    'push',
    'a',
    '/v2/a/blobs/uploads/?digest-algorithm=sha512',
  ],
  [
    'end-5: a chunk',
    `PATCH /v2/a/blobs/uploads/${id}?_state=ab-_C%3D`,
    'push',
    'a',
    `/v2/a/blobs/uploads/${id}?_state=ab-_C%3D`,
  ],
  [
    'end-6: the upload ends',
    `PUT /v2/a/blobs/uploads/${id}?_state=x&digest=${digest}`,
    'push',
    'a',
    `/v2/a/blobs/uploads/${id}?_state=x&digest=${digest.replace(':', '%3A')}`,
  ],
  [
    'end-13: the state of an upload',
    `GET /v2/a/blobs/uploads/${id}`,
    'push',
    'a',
    `/v2/a/blobs/uploads/${id}`,
  ],
  [
    'end-14: an upload is cancelled',
    `DELETE /v2/a/blobs/uploads/${id}?state=x`,
    'push',
    'a',
    `/v2/a/blobs/uploads/${id}?state=x`,
  ],
  [
    'a session mounts nothing',
    `PUT /v2/a/blobs/uploads/${id}?mount=${digest}&from=b`,
    'push',
    'a',
    `/v2/a/blobs/uploads/${id}`,
  ],
  [
    'in no case of the letters',
    `PUT /v2/a/blobs/uploads/${id}?Mount=x&FROM=b`,
    'push',
    'a',
    `/v2/a/blobs/uploads/${id}`,
  ],
  [
    'end-7a: a manifest is put',
    'PUT /v2/a/manifests/latest',
    'push',
    'a',
    '/v2/a/manifests/latest',
  ],
  [
    'end-7b: with tags',
    `PUT /v2/a/manifests/${digest}?tag=x&tag=y`,
    'push',
    'a',
    `/v2/a/manifests/${digest}?tag=x&tag=y`,
  ],
  [
    'tags are for PUT',
    `DELETE /v2/a/manifests/${digest}?tag=x`,
    'delete',
    'a',
    `/v2/a/manifests/${digest}`,
  ],
  ['end-8a: the tags', 'GET /v2/acme/app/tags/list', 'pull', 'acme/app', '/v2/acme/app/tags/list'],
  [
    'end-8b: a page of them',
    'GET /v2/a/tags/list?n=5&last=v1&x=y',
    'pull',
    'a',
    '/v2/a/tags/list?n=5&last=v1',
  ],
  [
    'end-9: a manifest is deleted',
    `DELETE /v2/a/manifests/${digest}`,
    'delete',
    'a',
    `/v2/a/manifests/${digest}`,
  ],
  [
    'end-9: a tag is deleted',
    'DELETE /v2/a/manifests/latest',
    'delete',
    'a',
    '/v2/a/manifests/latest',
  ],
  [
    'end-10: a blob is deleted',
    `DELETE /v2/a/blobs/${digest}`,
    'delete',
    'a',
    `/v2/a/blobs/${digest}`,
  ],
  [
    'end-12a: the referrers',
    `GET /v2/a/referrers/${digest}`,
    'pull',
    'a',
    `/v2/a/referrers/${digest}`,
  ],
  [
    'end-12b: of one type',
    `GET /v2/a/referrers/${digest}?artifactType=text%2Fx`,
    'pull',
    'a',
    `/v2/a/referrers/${digest}?artifactType=text%2Fx`,
  ],
  [
    'a name of keywords: the last one counts',
    'GET /v2/a/manifests/blobs/manifests/latest',
    'pull',
    'a/manifests/blobs',
    '/v2/a/manifests/blobs/manifests/latest',
  ],
  [
    'a repository called tags/list',
    'GET /v2/tags/list/tags/list',
    'pull',
    'tags/list',
    '/v2/tags/list/tags/list',
  ],
  [
    'an upload in a repository called blobs/uploads',
    'POST /v2/blobs/uploads/blobs/uploads/',
    'push',
    'blobs/uploads',
    '/v2/blobs/uploads/blobs/uploads/',
  ],
  [
    'a tag called list in a repository a/tags',
    'GET /v2/a/tags/manifests/list',
    'pull',
    'a/tags',
    '/v2/a/tags/manifests/list',
  ],
  [
    'names may hold separators',
    'GET /v2/a.b/c_d/e__f/g---h/tags/list',
    'pull',
    'a.b/c_d/e__f/g---h',
    '/v2/a.b/c_d/e__f/g---h/tags/list',
  ],
]

t.test('every endpoint is one action on one repository, and its path is built anew', async (t) => {
  for (const [why, line, action, repository, forwarded] of calls) {
    const intent = read(line)
    const [access, ...others] = intent.accesses
    t.equal(others.length, 0, why)
    t.equal(access?.action, action, why)
    t.equal(access?.resources?.get('repository') ?? null, repository, why)
    t.equal(intent.path, forwarded, why)
  }
})

t.test('the requirement is that of the route, and for the base any active token', async (t) => {
  for (const action of ['GET', 'PUT', 'DELETE'] as const) {
    const [access] = read(`${action} /v2/a/manifests/x`).accesses
    t.equal(access?.requirement, route.allow.get(access?.action ?? ''), action)
  }
  t.strictSame(read('GET /v2/').accesses[0]?.requirement, { kind: 'authenticated' })
  t.equal(read('GET /v2/').accesses[0]?.resources, null)
  t.equal(read('GET /v2/_catalog').accesses[0]?.requirement, route.allow.get('catalog'))
  t.equal(read('GET /v2/_catalog').accesses[0]?.resources, null)
})

const refused: readonly (readonly [why: string, line: string, status: number, code: string])[] = [
  ['an extension that is not known', 'GET /v2/_oci/ext/discover', 404, 'NAME_UNKNOWN'],
  ['a word after the catalog', 'GET /v2/_catalog/x', 404, 'NAME_UNKNOWN'],
  ['the old version', 'GET /v1/search', 404, 'NAME_UNKNOWN'],
  ['a path that only begins alike', 'GET /v2x/a/tags/list', 404, 'NAME_UNKNOWN'],
  ['a token service of the upstream', 'GET /v2/token', 404, 'NAME_UNKNOWN'],
  ['a repository without an endpoint', 'GET /v2/acme/app', 404, 'NAME_UNKNOWN'],
  ['an endpoint without a repository', 'GET /v2/tags/list', 404, 'NAME_UNKNOWN'],
  ['a slash after an endpoint', 'GET /v2/a/tags/list/', 404, 'NAME_UNKNOWN'],
  ['a manifest without a reference', 'GET /v2/a/manifests/', 404, 'NAME_UNKNOWN'],
  ['a tag that cannot be is not there', 'GET /v2/a/manifests/.bad', 404, 'MANIFEST_UNKNOWN'],
  ['a tag that cannot be is not put', 'PUT /v2/a/manifests/.bad', 400, 'TAG_INVALID'],
  ['a tag of 129 characters', `PUT /v2/a/manifests/${'t'.repeat(129)}`, 400, 'TAG_INVALID'],
  ['capitals in a name', 'GET /v2/Acme/app/tags/list', 400, 'NAME_INVALID'],
  ['a name that begins with a dot', 'GET /v2/.a/tags/list', 400, 'NAME_INVALID'],
  ['a name that ends in a dash', 'GET /v2/a-/tags/list', 400, 'NAME_INVALID'],
  ['three underscores', 'GET /v2/a___b/tags/list', 400, 'NAME_INVALID'],
  ['a name with a colon', 'GET /v2/a%3Ab/tags/list', 400, 'NAME_INVALID'],
  ['a name of 256 characters', `GET /v2/${'a'.repeat(256)}/tags/list`, 400, 'NAME_INVALID'],
  ['an escaped blank', 'GET /v2/a%20b/tags/list', 400, 'NAME_INVALID'],
  ['an escape where nothing is known', 'GET /v2/a%20b', 400, 'NAME_INVALID'],
  ['an escaped slash', 'GET /v2/acme%2Fapp/tags/list', 400, 'NAME_INVALID'],
  ['a parameter in the path', 'GET /v2/a;x/tags/list', 400, 'NAME_INVALID'],
  ['a short digest', 'GET /v2/a/blobs/sha256:abcd', 400, 'DIGEST_INVALID'],
  [
    'a digest in capitals',
    `GET /v2/a/blobs/${digest.toUpperCase().replace('SHA', 'sha')}`,
    400,
    'DIGEST_INVALID',
  ],
  ['a digest of the wrong length', `GET /v2/a/blobs/${digest}0`, 400, 'DIGEST_INVALID'],
  ['a digest that is none in a manifest', 'GET /v2/a/manifests/x:y', 400, 'DIGEST_INVALID'],
  ['uploads without their slash', 'GET /v2/a/blobs/uploads', 400, 'DIGEST_INVALID'],
  ['an upload id with an escape', 'GET /v2/a/blobs/uploads/x%3Ay', 400, 'NAME_INVALID'],
  [
    'a digest in the query that is none',
    `PUT /v2/a/blobs/uploads/${id}?digest=x`,
    400,
    'DIGEST_INVALID',
  ],
  [
    'two digests',
    `PUT /v2/a/blobs/uploads/${id}?digest=${digest}&digest=${digest}`,
    400,
    'UNSUPPORTED',
  ],
  ['two mounts in a session', `PUT /v2/a/blobs/uploads/${id}?mount=x&mount=y`, 400, 'UNSUPPORTED'],
  ['two sources', `POST /v2/a/blobs/uploads/?mount=${digest}&from=a&from=b`, 400, 'UNSUPPORTED'],
  [
    'two sources, one of them escaped',
    `POST /v2/a/blobs/uploads/?from=a&%66rom=b`,
    400,
    'UNSUPPORTED',
  ],
  ['a ; in the query', `POST /v2/a/blobs/uploads/?x=1;from=b`, 400, 'UNSUPPORTED'],
  ['a malformed escape in the query', 'GET /v2/a/tags/list?last=%C3', 400, 'UNSUPPORTED'],
  [
    'an opaque name with an escape',
    `PATCH /v2/a/blobs/uploads/${id}?%5Fstate=x`,
    400,
    'UNSUPPORTED',
  ],
  ['an opaque name with brackets', `PATCH /v2/a/blobs/uploads/${id}?from[]=x`, 400, 'UNSUPPORTED'],
  [
    'an algorithm that is none',
    'POST /v2/a/blobs/uploads/?digest-algorithm=x/y',
    400,
    'UNSUPPORTED',
  ],
  ['a tag in the query that is none', `PUT /v2/a/manifests/${digest}?tag=.x`, 400, 'UNSUPPORTED'],
  ['a number that is none', 'GET /v2/_catalog?n=x', 400, 'PAGINATION_NUMBER_INVALID'],
  ['a negative number', 'GET /v2/_catalog?n=-1', 400, 'PAGINATION_NUMBER_INVALID'],
  ['two numbers', 'GET /v2/_catalog?n=1&n=2', 400, 'UNSUPPORTED'],
  ['a manifest is not posted', 'POST /v2/a/manifests/x', 405, 'UNSUPPORTED'],
  ['a blob is not put by its digest', `PUT /v2/a/blobs/${digest}`, 405, 'UNSUPPORTED'],
  ['the base is not posted', 'POST /v2/', 405, 'UNSUPPORTED'],
  ['the catalog is not deleted', 'DELETE /v2/_catalog', 405, 'UNSUPPORTED'],
  ['a method of the prototype', 'constructor /v2/', 405, 'UNSUPPORTED'],
]

t.test('what is not in the table is refused in the registry’s words', async (t) => {
  for (const [why, line, status, code] of refused) {
    const reply = refusalOf(() => read(line))
    t.equal(reply.status, status, why)
    t.equal(JSON.parse(String(reply.body)).errors[0].code, code, why)
  }
})

t.test('a 405 says which methods there are', async (t) => {
  const allowed = (line: string) => fieldOf(refusalOf(() => read(line)).fields, 'Allow')
  t.equal(allowed('POST /v2/a/manifests/x'), 'GET, HEAD, PUT, DELETE')
  t.equal(allowed('GET /v2/a/blobs/uploads/'), 'POST')
  t.equal(allowed('PUT /v2/_catalog'), 'GET')
})

t.test('ordinary pushes and pulls are not looked into', async (t) => {
  const none = ['Content-Length', '0']
  t.equal(read('POST /v2/a/blobs/uploads/', none).inspect, undefined)
  t.equal(read(`PATCH /v2/a/blobs/uploads/${id}`).inspect, undefined)
  t.equal(read(`PUT /v2/a/blobs/uploads/${id}?digest=${digest}`).inspect, undefined)
  t.equal(read('PUT /v2/a/manifests/x', ['Content-Type', 'application/json']).inspect, undefined)
  t.equal(read(`GET /v2/a/blobs/${digest}`).inspect, undefined)
})

const replies: readonly (readonly [
  why: string,
  status: number,
  field: readonly [string, string],
  expected: string | undefined,
])[] = [
  [
    'an upload’s next step',
    202,
    ['Location', `http://127.0.0.1:5000/v2/a/blobs/uploads/${id}?_state=x`],
    `/v2/a/blobs/uploads/${id}?_state=x`,
  ],
  [
    'whatever host the client made the upstream believe',
    202,
    ['Location', 'https://evil.example/v2/a/blobs/uploads/x'],
    '/v2/a/blobs/uploads/x',
  ],
  ['whatever port', 201, ['location', 'http://127.0.0.1:1/v2/a/blobs/x'], '/v2/a/blobs/x'],
  [
    'the state of an upload',
    204,
    ['Location', '//hub.internal/v2/a/blobs/uploads/x'],
    '/v2/a/blobs/uploads/x',
  ],
  [
    'a chunk out of order',
    416,
    ['Location', 'http://hub.internal/v2/a/blobs/uploads/x'],
    '/v2/a/blobs/uploads/x',
  ],
  [
    'below the upstream’s own base path',
    202,
    ['Location', 'http://127.0.0.1:5000/base/v2/a/x'],
    '/v2/a/x',
  ],
  ['below it on another host', 202, ['Location', 'https://hub.example/base/v2/a/x'], '/v2/a/x'],
  ['a redirect to the upstream', 307, ['Location', 'http://127.0.0.1:5000/base/v2/a/x'], '/v2/a/x'],
  [
    'a redirect to outside storage',
    307,
    ['Location', 'https://s3.example/v2/a?sig=x'],
    'https://s3.example/v2/a?sig=x',
  ],
  [
    'a page’s successor',
    200,
    ['Link', '<http://other:1/v2/a/tags/list?n=1&last=x>; rel="next"'],
    '</v2/a/tags/list?n=1&last=x>; rel="next"',
  ],
  [
    'a challenge of the upstream',
    200,
    ['WWW-Authenticate', 'Bearer realm="https://auth.internal"'],
    undefined,
  ],
  ['a cookie of the upstream', 200, ['set-cookie', 'a=b'], undefined],
  ['a digest', 200, ['Docker-Content-Digest', digest], digest],
]

t.test('replies name no upstream', async (t) => {
  const { reply } = read('GET /v2/a/tags/list')
  for (const [why, status, field, expected] of replies) {
    const kept = reply?.(status, field, 'http://127.0.0.1:5000', '/base')
    t.equal(kept?.[1], expected, why)
  }
})

t.test('a refusal for lack of scope names scope and repository, as docker prints it', async (t) => {
  const { accesses } = read('PUT /v2/acme/app/manifests/x')
  const denial = decide(rights(['containers:read']), accesses[0]!, '192.0.2.1', catalog)
  if (denial.outcome !== 'deny') throw new Error('it was permitted')
  const error = new GatewayError('insufficient_scope', 'short')
  const reply = registry.refuse(error, { requestId: 'r1', presented: true, denial })
  t.equal(reply.status, 403)
  t.equal(fieldOf(reply.fields, 'Docker-Distribution-Api-Version'), 'registry/2.0')
  t.equal(fieldOf(reply.fields, 'Content-Type'), 'application/json')
  t.equal(fieldOf(reply.fields, 'WWW-Authenticate'), undefined, 'clients keep the credential')
  t.strictSame(JSON.parse(String(reply.body)), {
    errors: [
      {
        code: 'DENIED',
        message:
          'requested access to the resource is denied: token lacks scope containers:read-update on acme/app',
        detail: {
          code: 'insufficient_scope',
          requestId: 'r1',
          required: ['containers:read-update'],
          granted: ['containers:read'],
        },
      },
    ],
  })
})

t.test('a refusal for another repository names it', async (t) => {
  const { accesses } = read('GET /v2/acme/app/manifests/x')
  const limited = rights(['containers:read'], ['other/*'])
  const denial = decide(limited, accesses[0]!, '192.0.2.1', catalog)
  if (denial.outcome !== 'deny') throw new Error('it was permitted')
  t.equal(denial.reason satisfies DenialReason, 'resource_not_allowed')
  const error = new GatewayError('resource_not_allowed', 'elsewhere')
  const reply = registry.refuse(error, { requestId: 'r1', presented: true, denial })
  t.match(JSON.parse(String(reply.body)).errors[0].message, /^requested .* denied: .*acme\/app$/)
})

const codes: Partial<Record<ErrorCode, string>> = {
  token_required: 'UNAUTHORIZED',
  invalid_token: 'UNAUTHORIZED',
  insufficient_scope: 'DENIED',
  method_not_allowed: 'UNSUPPORTED',
  too_many_requests: 'TOOMANYREQUESTS',
  lookup_unavailable: 'UNAVAILABLE',
  upstream_unreachable: 'UNAVAILABLE',
  internal_error: 'UNKNOWN',
}

t.test('every refusal is OCI JSON with its status, and only a 401 has a challenge', async (t) => {
  for (const code of Object.keys(errorTable) as ErrorCode[]) {
    const error = new GatewayError(code, 'why', { allow: 'GET', retryAfter: 7 })
    const reply = registry.refuse(error, { requestId: 'r1', presented: false })
    const [first] = JSON.parse(String(reply.body)).errors
    t.equal(reply.status, errorTable[code].status, code)
    t.match(first.code, /^[A-Z_]+$/, code)
    if (codes[code] !== undefined) t.equal(first.code, codes[code], code)
    t.equal(first.message, 'why', code)
    t.equal(fieldOf(reply.fields, 'Docker-Distribution-Api-Version'), 'registry/2.0', code)
    t.equal(fieldOf(reply.fields, 'Allow'), 'GET', code)
    t.equal(fieldOf(reply.fields, 'Retry-After'), '7', code)
    const challenge = reply.status === 401 ? 'Basic realm="scopegate"' : undefined
    t.equal(fieldOf(reply.fields, 'WWW-Authenticate'), challenge, code)
  }
})

function refusalOf(act: () => unknown) {
  try {
    act()
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    return registry.refuse(error, { requestId: 'r1', presented: false })
  }
  throw new Error('it was not refused')
}

function fieldOf(fields: FieldList, name: string): string | undefined {
  const at = fields.findIndex((field, index) => index % 2 === 0 && field === name)
  return at < 0 ? undefined : fields[at + 1]
}
