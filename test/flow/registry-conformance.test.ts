// The OCI distribution specification through the gateway: the four workflows of its conformance suite (pull,
// push, content discovery, content management) and every endpoint of its table, end-1 to end-14, each request
// sent straight to a registry and through the gateway to another that was told the same. Replies must be
// equal in status, in the fields that a client reads, and in the bytes of the body. What docker-registry does
// not offer is asked of a scripted registry.
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#endpoints

import t from 'tap'
import { sha256 } from '../servers/oci-layout.ts'
import { scopes, startRegistryGateway } from '../servers/registry-gateway.ts'
import { startRegistry } from '../servers/registry-server.ts'
import { type Answer, apiVersion, startScriptedRegistry } from '../servers/scripted-registry.ts'
import { ask, type RawReply } from './raw-exchange.ts'

type Step = {
  /** The endpoint of the specification's table and what is asked of it. */
  readonly what: string
  /** Method and target; `{upload}` is where the last upload goes on. */
  readonly line: string
  readonly fields?: readonly string[]
  readonly body?: string
  /** What the specification demands of both; where it is left out, only that they are equal. */
  readonly status?: number
}

/** What a client reads of a reply. */
const readFields = [
  'accept-ranges',
  'allow',
  'cache-control',
  'content-length',
  'content-range',
  'content-type',
  'docker-content-digest',
  'docker-distribution-api-version',
  'docker-upload-uuid',
  'etag',
  'link',
  'location',
  'oci-chunk-min-length',
  'oci-filters-applied',
  'oci-subject',
  'oci-tag',
  'range',
  'retry-after',
  'warning',
]

const manifestType = 'application/vnd.oci.image.manifest.v1+json'
const indexType = 'application/vnd.oci.image.index.v1+json'
const config = '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
const layer = 'the bytes of a layer, long enough for two chunks'
const manifest = JSON.stringify({
  schemaVersion: 2,
  mediaType: manifestType,
  config: describe('application/vnd.oci.image.config.v1+json', config),
  layers: [describe('application/vnd.oci.image.layer.v1.tar', layer)],
})
const orphan = manifest.replace(sha256(layer), sha256('a layer that nobody pushed'))
const missing = sha256('nothing')
const app = '/v2/acme/app'
const session = `${app}/blobs/uploads/`
const octets = 'Content-Type: application/octet-stream'
const [first, second] = [layer.slice(0, 20), layer.slice(20)]

function describe(mediaType: string, content: string) {
  return { mediaType, digest: sha256(content), size: content.length }
}

const pushing: readonly Step[] = [
  { what: 'end-1: the base', line: 'GET /v2/', status: 200 },
  { what: 'end-4a: an upload begins', line: `POST ${session}`, status: 202 },
  {
    what: 'end-5: a chunk out of order',
    line: 'PATCH {upload}',
    fields: [octets, `Content-Range: 20-${layer.length - 1}`],
    body: second,
  },
  { what: 'end-4a: another begins', line: `POST ${session}`, status: 202 },
  {
    what: 'end-5: the first chunk',
    line: 'PATCH {upload}',
    fields: [octets, 'Content-Range: 0-19'],
    body: first,
    status: 202,
  },
  { what: 'end-13: how far it came', line: 'GET {upload}', status: 204 },
  {
    what: 'end-5: the second chunk',
    line: 'PATCH {upload}',
    fields: [octets, `Content-Range: 20-${layer.length - 1}`],
    body: second,
    status: 202,
  },
  {
    what: 'end-6: the upload ends',
    line: `PUT {upload}&digest=${sha256(layer)}`,
    fields: ['Content-Length: 0'],
    status: 201,
  },
  { what: 'end-13: an upload that ended', line: 'GET {upload}' },
  {
    what: 'end-4b: a blob in one POST (this registry takes it for a POST alone)',
    line: `POST ${session}?digest=${sha256(config)}`,
    fields: [octets],
    body: config,
    status: 202,
  },
  {
    what: 'end-6: a blob in one PUT',
    line: `PUT {upload}&digest=${sha256(config)}`,
    fields: [octets],
    body: config,
    status: 201,
  },
  { what: 'end-4c: an algorithm', line: `POST ${session}?digest-algorithm=sha512`, status: 202 },
  {
    what: 'end-6: bytes that do not have the digest',
    line: `PUT {upload}&digest=${missing}`,
    body: 'other bytes',
    status: 400,
  },
  {
    what: 'end-4a: an upload to be resumed',
    line: `POST ${session}`,
    fields: ['Content-Length: 0'],
    status: 202,
  },
  {
    what: 'end-5: a chunk without a range, in chunks of HTTP',
    line: 'PATCH {upload}',
    fields: [octets, 'Transfer-Encoding: chunked'],
    body: '5\r\n01234\r\n0\r\n\r\n',
    status: 202,
  },
  { what: 'end-14: the upload is cancelled', line: 'DELETE {upload}', status: 204 },
  { what: 'end-13: a cancelled upload', line: 'GET {upload}', status: 404 },
  {
    what: 'end-11: a mount',
    line: `POST /v2/acme/other/blobs/uploads/?mount=${sha256(layer)}&from=acme/app`,
    status: 201,
  },
  {
    what: 'end-11: a mount of what is not there',
    line: `POST /v2/acme/other/blobs/uploads/?mount=${missing}&from=acme/app`,
    status: 202,
  },
  {
    what: 'end-11: a mount that names no source',
    line: `POST /v2/acme/other/blobs/uploads/?mount=${sha256(layer)}`,
    status: 202,
  },
  {
    what: 'end-7a: a manifest',
    line: `PUT ${app}/manifests/v1`,
    fields: [`Content-Type: ${manifestType}`],
    body: manifest,
    status: 201,
  },
  {
    what: 'end-7a: a manifest by its digest',
    line: `PUT ${app}/manifests/${sha256(manifest)}`,
    fields: [`Content-Type: ${manifestType}`],
    body: manifest,
    status: 201,
  },
  {
    what: 'end-7b: with tags',
    line: `PUT ${app}/manifests/${sha256(manifest)}?tag=v2&tag=v3`,
    fields: [`Content-Type: ${manifestType}`],
    body: manifest,
    status: 201,
  },
  {
    what: 'end-7a: a manifest that is none',
    line: `PUT ${app}/manifests/v4`,
    fields: [`Content-Type: ${manifestType}`],
    body: 'blablabla',
    status: 400,
  },
  {
    what: 'end-7a: a manifest of blobs that are not there',
    line: `PUT ${app}/manifests/v4`,
    fields: [`Content-Type: ${manifestType}`],
    body: orphan,
  },
  {
    what: 'end-7a: a manifest under the digest of another',
    line: `PUT ${app}/manifests/${missing}`,
    fields: [`Content-Type: ${manifestType}`],
    body: manifest,
  },
]

const accept = `Accept: ${manifestType}`

const pulling: readonly Step[] = [
  { what: 'end-2: a blob is there', line: `HEAD ${app}/blobs/${sha256(layer)}`, status: 200 },
  { what: 'end-2: a blob', line: `GET ${app}/blobs/${sha256(layer)}`, status: 200 },
  {
    what: 'end-2: a part of it',
    line: `GET ${app}/blobs/${sha256(layer)}`,
    fields: ['Range: bytes=10-19'],
    status: 206,
  },
  {
    what: 'end-2: its end',
    line: `GET ${app}/blobs/${sha256(layer)}`,
    fields: ['Range: bytes=40-'],
    status: 206,
  },
  {
    what: 'end-2: a blob that the client has',
    line: `GET ${app}/blobs/${sha256(layer)}`,
    fields: [`If-None-Match: "${sha256(layer)}"`],
    status: 304,
  },
  {
    what: 'end-2: with the colon escaped',
    line: `GET ${app}/blobs/${sha256(layer).replace(':', '%3A')}`,
    status: 200,
  },
  { what: 'end-2: no such blob', line: `GET ${app}/blobs/${missing}`, status: 404 },
  { what: 'end-2: no such blob, HEAD', line: `HEAD ${app}/blobs/${missing}`, status: 404 },
  {
    what: 'end-2: a blob of another repository',
    line: `GET /v2/acme/none/blobs/${sha256(layer)}`,
    status: 404,
  },
  {
    what: 'end-3: a manifest is there',
    line: `HEAD ${app}/manifests/v1`,
    fields: [accept],
    status: 200,
  },
  { what: 'end-3: a manifest', line: `GET ${app}/manifests/v1`, fields: [accept], status: 200 },
  {
    what: 'end-3: a manifest by its digest',
    line: `GET ${app}/manifests/${sha256(manifest)}`,
    fields: [accept],
    status: 200,
  },
  {
    what: 'end-3: a manifest that the client has',
    line: `GET ${app}/manifests/v1`,
    fields: [accept, `If-None-Match: "${sha256(manifest)}"`],
    status: 304,
  },
  { what: 'end-3: a manifest in no type that is taken', line: `GET ${app}/manifests/v1` },
  {
    what: 'end-3: no such tag',
    line: `GET ${app}/manifests/none`,
    fields: [accept],
    status: 404,
  },
  {
    what: 'end-3: no such digest, HEAD',
    line: `HEAD ${app}/manifests/${missing}`,
    fields: [accept],
    status: 404,
  },
]

const discovering: readonly Step[] = [
  { what: 'end-8a: the tags', line: `GET ${app}/tags/list`, status: 200 },
  { what: 'end-8b: so many', line: `GET ${app}/tags/list?n=1`, status: 200 },
  { what: 'end-8b: from one on', line: `GET ${app}/tags/list?n=1&last=v1`, status: 200 },
  { what: 'end-8a: no such repository', line: 'GET /v2/acme/none/tags/list', status: 404 },
  { what: 'end-12a: referrers', line: `GET ${app}/referrers/${sha256(manifest)}` },
  { what: 'the catalog', line: 'GET /v2/_catalog', status: 200 },
  { what: 'the catalog from one on', line: 'GET /v2/_catalog?n=5&last=acme%2Fapp', status: 200 },
]

const managing: readonly Step[] = [
  { what: 'end-9: a tag', line: `DELETE ${app}/manifests/v1` },
  { what: 'end-9: a manifest', line: `DELETE ${app}/manifests/${sha256(manifest)}`, status: 202 },
  { what: 'end-9: once more', line: `DELETE ${app}/manifests/${sha256(manifest)}`, status: 404 },
  {
    what: 'end-3: a manifest that was deleted',
    line: `GET ${app}/manifests/${sha256(manifest)}`,
    fields: [accept],
    status: 404,
  },
  { what: 'end-10: a blob', line: `DELETE ${app}/blobs/${sha256(layer)}`, status: 202 },
  { what: 'end-10: once more', line: `DELETE ${app}/blobs/${sha256(layer)}`, status: 404 },
  { what: 'end-8a: the tags that are left', line: `GET ${app}/tags/list` },
]

/** Sends the steps in turn, and resolves with what a client sees of each. */
async function play(
  url: string,
  steps: readonly Step[],
  credentials: readonly string[],
): Promise<object[]> {
  const seen: object[] = []
  let upload = 'before any upload'
  for (const { what, line, fields = [], body } of steps) {
    const target = line.replace('{upload}', upload)
    const reply = await ask(url, target, [...credentials, ...fields], body)
    const location = pathOf(reply.field('location'))
    if (location?.includes('/uploads/')) upload = location
    seen.push({ what, ...summary(reply, line.startsWith('HEAD ')) })
  }
  return seen
}

function summary(reply: RawReply, toHead: boolean) {
  const fields = readFields.flatMap((name) =>
    reply.values(name).map((value) => `${name}: ${plain(name, value)}`),
  )
  return { status: reply.status, fields, body: toHead ? '' : reply.body }
}

/** Without what two registries, or two uploads, cannot have in common. */
function plain(name: string, value: string): string {
  if (name === 'location') value = pathOf(value) ?? ''
  // The catalog is a page that the gateway writes; JSON is UTF-8, said or not.
  if (name === 'content-type')
    value = value.replace(/^application\/json; charset=utf-8$/, 'application/json')
  if (name === 'link') value = value.replace(/^<https?:\/\/[^/]+/, '<')
  return value
    .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/, 'UUID')
    .replace(/_state=[\w=%-]+/, '_state=STATE')
}

function pathOf(location: string | undefined): string | undefined {
  return location?.replace(/^https?:\/\/[^/]+/, '')
}

const everything = [scopes.push, scopes.delete]

t.test('docker-registry answers the same straight and through the gateway', async (t) => {
  const registries = [await startRegistry(), await startRegistry()] as const
  const gateway = await startRegistryGateway(registries[1].url)
  t.teardown(async () => {
    await gateway.stop()
    for (const registry of registries) await registry.stop()
  })
  const credentials = await gateway.credentials(...everything)
  const workflows = { pushing, pulling, discovering, managing }
  for (const [name, steps] of Object.entries(workflows)) {
    const straight = await play(registries[0].url, steps, [])
    const through = await play(gateway.url, steps, [credentials])
    for (const [at, { what, status }] of steps.entries()) {
      t.strictSame(through[at], straight[at], `${name}: ${what}`)
      if (status !== undefined) t.match(straight[at], { status }, `${name}: ${what}`)
    }
  }
})

const index = JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests: [] })
const digest512 = `sha512:${'0123456789abcdef'.repeat(8)}`

/** What newer registries answer, by method and target. */
const newer: Readonly<Record<string, ReturnType<Answer>>> = {
  [`GET ${app}/referrers/${missing}`]: {
    fields: [
      ...apiVersion,
      'Content-Type',
      indexType,
      'Link',
      `<${app}/referrers/${missing}?n=5&last=x>; rel="next"`,
    ],
    body: index,
  },
  [`GET ${app}/referrers/${missing}?artifactType=application%2Fx`]: {
    fields: ['Content-Type', indexType, 'OCI-Filters-Applied', 'artifactType'],
    body: index,
  },
  [`PUT ${app}/manifests/${missing}?tag=v1&tag=v2`]: {
    status: '201 Created',
    fields: [
      'Location',
      `${app}/manifests/${missing}`,
      'OCI-Tag',
      'v1',
      'OCI-Tag',
      'v2',
      'OCI-Subject',
      missing,
      'Docker-Content-Digest',
      missing,
      'Warning',
      '299 - "this registry is about to move"',
    ],
  },
  [`POST ${session}`]: {
    status: '202 Accepted',
    fields: ['Location', `${session}u1?_state=s`, 'OCI-Chunk-Min-Length', '65536'],
  },
  [`POST ${session}?digest=${digest512}&digest-algorithm=sha512`]: {
    status: '201 Created',
    fields: ['Location', `${app}/blobs/${digest512}`, 'Docker-Content-Digest', digest512],
  },
  [`GET ${session}u1?_state=s`]: {
    status: '204 No Content',
    fields: ['Location', `${session}u1?_state=s`, 'Range', '0-65535', 'Docker-Upload-UUID', 'u1'],
  },
  [`PATCH ${session}u1?_state=s`]: {
    status: '416 Requested Range Not Satisfiable',
    fields: ['Location', `${session}u1?_state=s`, 'Range', '0-65535'],
  },
  [`DELETE ${session}u1?_state=s`]: { status: '204 No Content' },
  [`DELETE ${app}/manifests/v1`]: { status: '202 Accepted' },
  [`DELETE ${app}/manifests/v2`]: {
    status: '405 Method Not Allowed',
    fields: ['Content-Type', 'application/json', 'Allow', 'GET, HEAD, PUT'],
    body: '{"errors":[{"code":"UNSUPPORTED","message":"tags stay"}]}',
  },
  [`GET ${app}/manifests/v1`]: {
    status: '429 Too Many Requests',
    fields: ['Content-Type', 'application/json', 'Retry-After', '7'],
    body: '{"errors":[{"code":"TOOMANYREQUESTS","message":"later"}]}',
  },
  [`GET ${app}/tags/list?n=2&last=v1`]: {
    fields: ['Link', `<${app}/tags/list?n=2&last=v3>; rel="next"`],
    body: '{"name":"acme/app","tags":["v2","v3"]}',
  },
}

const newerSteps: readonly Step[] = [
  { what: 'end-12a: referrers', line: `GET ${app}/referrers/${missing}`, status: 200 },
  {
    what: 'end-12b: referrers of one type',
    line: `GET ${app}/referrers/${missing}?artifactType=application%2Fx`,
    status: 200,
  },
  {
    what: 'end-7b: a manifest with tags',
    line: `PUT ${app}/manifests/${missing}?tag=v1&tag=v2`,
    fields: [`Content-Type: ${manifestType}`],
    body: manifest,
    status: 201,
  },
  { what: 'end-4a: chunks have a least size', line: `POST ${session}`, status: 202 },
  {
    what: 'end-4b with end-4c: a blob in one POST, of another algorithm',
    line: `POST ${session}?digest=${digest512}&digest-algorithm=sha512`,
    fields: [octets],
    body: layer,
    status: 201,
  },
  {
    what: 'end-13: how far an upload came',
    line: `GET ${session}u1?_state=s`,
    status: 204,
  },
  {
    what: 'end-5: a chunk out of order',
    line: `PATCH ${session}u1?_state=s`,
    fields: [octets, 'Content-Range: 5-9'],
    body: '56789',
    status: 416,
  },
  { what: 'end-14: an upload is cancelled', line: `DELETE ${session}u1?_state=s`, status: 204 },
  { what: 'end-9: a tag is deleted', line: `DELETE ${app}/manifests/v1`, status: 202 },
  { what: 'end-9: a tag that stays', line: `DELETE ${app}/manifests/v2`, status: 405 },
  { what: 'end-3: too many requests', line: `GET ${app}/manifests/v1`, status: 429 },
  { what: 'end-8b: a page of tags', line: `GET ${app}/tags/list?n=2&last=v1`, status: 200 },
]

t.test('so does a newer registry, in what docker-registry does not offer', async (t) => {
  const registry = await startScriptedRegistry()
  const gateway = await startRegistryGateway(registry.url)
  t.teardown(async () => {
    await gateway.stop()
    await registry.stop()
  })
  // A colon may reach the registry escaped.
  registry.answer(({ method, target }) => newer[`${method} ${target.replaceAll('%3A', ':')}`])
  const straight = await play(registry.url, newerSteps, [])
  const sent = registry.requests.length
  const through = await play(gateway.url, newerSteps, [await gateway.credentials(...everything)])
  for (const [at, { what, status }] of newerSteps.entries()) {
    t.match(straight[at], { status }, what)
    t.strictSame(through[at], straight[at], what)
    const { body, method } = registry.requests[sent + at]!
    t.equal(`${body}`, newerSteps[at]!.body ?? '', `${what}: ${method} has the same body`)
    const types = registry.requests[sent + at]!.values('content-type')
    if (method === 'PUT') t.strictSame(types, [manifestType], `${what}: and the same type`)
  }
  t.equal(registry.requests.length, 2 * newerSteps.length, 'each arrived once')
  t.strictSame(registry.violations, [])
})
