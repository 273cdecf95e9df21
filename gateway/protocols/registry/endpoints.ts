// The registry's endpoints (OCI distribution-spec "Endpoints", end-1 to end-14, and distribution's
// `_catalog`): which path and method is which action on which repository. Pure. The path that is
// forwarded is built from the checked parts, so no upstream can read it as another one. What is not in
// the table is refused.

import { RegistryError } from './errors.ts'
import { isDigest, isRepositoryName, isTag, isUploadId, repositoryNameCharsMax } from './grammar.ts'

export type RegistryAction = 'base' | 'pull' | 'push' | 'delete' | 'catalog'

export type EndpointKind =
  | 'base'
  | 'catalog'
  | 'manifest'
  | 'blob'
  | 'uploads'
  | 'upload'
  | 'tags'
  | 'referrers'

export type Endpoint = {
  readonly kind: EndpointKind
  /** The segments after the repository's name; `:x` is one segment of that kind. */
  readonly tail: readonly string[]
  /** Action by method; the methods are those of Allow. */
  readonly actions: Readonly<Record<string, RegistryAction>>
  /** Query parameters that are handed on. */
  readonly parameters: readonly string[]
  /** Its query comes from the upstream's own Location: unknown parameters are handed on as they are. */
  readonly opaque?: true
}

/** What a request asks of the registry. */
export type RegistryCall = {
  readonly endpoint: Endpoint
  readonly action: RegistryAction
  /** Whole name; undefined for the base and the catalog. */
  readonly repository: string | undefined
  /** The path, built from its parts. */
  readonly path: string
}

const base: Endpoint = {
  kind: 'base', // end-1
  tail: [],
  actions: { GET: 'base', HEAD: 'base' },
  parameters: [],
}

const catalog: Endpoint = {
  kind: 'catalog', // distribution's, not of the specification
  tail: ['_catalog'],
  actions: { GET: 'catalog' },
  parameters: ['n', 'last'],
}

/** The endpoints of a repository. A name may hold any of their words: the last ones of the path count. */
export const endpoints: readonly Endpoint[] = [
  {
    kind: 'manifest', // end-3, end-7a, end-7b, end-9
    tail: ['manifests', ':reference'],
    actions: { GET: 'pull', HEAD: 'pull', PUT: 'push', DELETE: 'delete' },
    parameters: ['tag'],
  },
  {
    kind: 'blob', // end-2, end-10
    tail: ['blobs', ':digest'],
    actions: { GET: 'pull', HEAD: 'pull', DELETE: 'delete' },
    parameters: [],
  },
  {
    kind: 'uploads', // end-4a, end-4b, end-4c, end-11
    tail: ['blobs', 'uploads', ''],
    actions: { POST: 'push' },
    parameters: ['digest', 'digest-algorithm', 'mount', 'from'],
  },
  {
    kind: 'upload', // end-5, end-6, end-13, end-14
    tail: ['blobs', 'uploads', ':upload'],
    actions: { GET: 'push', PATCH: 'push', PUT: 'push', DELETE: 'push' },
    parameters: ['digest', 'digest-algorithm'],
    opaque: true,
  },
  {
    kind: 'tags', // end-8a, end-8b
    tail: ['tags', 'list'],
    actions: { GET: 'pull', HEAD: 'pull' },
    parameters: ['n', 'last', 'next_page'],
  },
  {
    kind: 'referrers', // end-12a, end-12b
    tail: ['referrers', ':digest'],
    actions: { GET: 'pull', HEAD: 'pull' },
    parameters: ['artifactType', 'n', 'last', 'next_page'],
  },
]

/** Finds the endpoint and checks every part of the path. Throws RegistryError 400, 404 or 405. */
export function readCall(method: string, path: string): RegistryCall {
  const segments = splitPath(path)
  if (segments.length === 0) return finish(base, method, undefined, '/v2/')
  if (segments.length === 1 && segments[0] === '_catalog') {
    return finish(catalog, method, undefined, '/v2/_catalog')
  }
  const endpoint = endpoints.find(({ tail }) => endsWith(segments, tail))
  if (endpoint === undefined || segments[0]?.startsWith('_')) {
    throw new RegistryError(
      'no_route',
      'NAME_UNKNOWN',
      'the registry has no such endpoint; after the repository name it has manifests/, blobs/, blobs/uploads/, tags/list and referrers/',
    )
  }
  const repository = segments.slice(0, -endpoint.tail.length).join('/')
  if (!isRepositoryName(repository)) {
    throw new RegistryError(
      'bad_request',
      'NAME_INVALID',
      `invalid repository name: lower-case letters, digits and single separators (. _ __ -) in segments, at most ${repositoryNameCharsMax} characters`,
    )
  }
  checkReference(endpoint, method, segments.at(-1) ?? '')
  return finish(endpoint, method, repository, `/v2/${segments.join('/')}`)
}

/** The segments after `/v2/`, with `%3A` as `:`, the one escape that a client has a reason to send. */
function splitPath(path: string): string[] {
  const plain = path.replace(/%3a/gi, ':')
  if (plain.includes('%')) {
    throw new RegistryError(
      'bad_request',
      'NAME_INVALID',
      'the path holds a percent escape; a registry path needs none but %3A in a digest',
    )
  }
  const [, version, ...segments] = plain.split('/')
  if (version !== 'v2') {
    throw new RegistryError('no_route', 'NAME_UNKNOWN', 'the registry stands at /v2/')
  }
  return segments.length === 1 && segments[0] === '' ? [] : segments
}

function endsWith(segments: readonly string[], tail: readonly string[]): boolean {
  const start = segments.length - tail.length
  if (start < 1) return false
  return tail.every((word, at) => {
    const segment = segments[start + at]
    return word.startsWith(':') ? segment !== '' : segment === word
  })
}

function checkReference(endpoint: Endpoint, method: string, reference: string): void {
  if (endpoint.kind === 'upload' && !isUploadId(reference)) {
    throw new RegistryError('bad_request', 'NAME_INVALID', 'invalid id of an upload session')
  }
  if (endpoint.tail.at(-1) === ':digest' && !isDigest(reference)) throw badDigest()
  if (endpoint.kind !== 'manifest' || isTag(reference)) return
  if (reference.includes(':')) {
    if (!isDigest(reference)) throw badDigest()
  } else if (method === 'PUT') {
    throw new RegistryError(
      'bad_request',
      'TAG_INVALID',
      'invalid tag: a letter, digit or _, then at most 127 of letters, digits and . _ -',
    )
  } else {
    // No manifest can have such a tag: it is missing rather than wrong.
    throw new RegistryError('no_route', 'MANIFEST_UNKNOWN', 'manifest unknown: no tag looks so')
  }
}

/** The error for what should be a digest. */
export function badDigest(): RegistryError {
  return new RegistryError(
    'bad_request',
    'DIGEST_INVALID',
    'invalid digest: ALGORITHM:ENCODED, for sha256 64 lower-case hexadecimal digits',
  )
}

function finish(
  endpoint: Endpoint,
  method: string,
  repository: string | undefined,
  path: string,
): RegistryCall {
  if (!Object.hasOwn(endpoint.actions, method)) {
    const allow = Object.keys(endpoint.actions).join(', ')
    throw new RegistryError(
      'method_not_allowed',
      'UNSUPPORTED',
      `${method} is not an operation of this endpoint; it has ${allow}`,
      { allow },
    )
  }
  return { endpoint, action: endpoint.actions[method] as RegistryAction, repository, path }
}
