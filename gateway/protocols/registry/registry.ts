// The container registry's protocol (OCI distribution-spec 1.1): what a request wants, as pull, push, delete,
// catalog and base accesses, and what its replies may say. Tokens come as the password of Basic credentials,
// or stand behind a grant of the token service, which may hold less than its token.
// The upstream gets paths and queries that are built here, never the client's own.

import type { Access, Requirement } from '../../decision/access.ts'
import type { Grant } from '../../tokens/grant.ts'
import { hostlessLocation, pathBelow, relativeLocation, rewriteLinks } from '../location.ts'
import type { FieldList, Intent, Protocol, ProtocolRequest } from '../protocol.ts'
import { answerCatalog, readCatalogQuery } from './catalog.ts'
import { type RegistryCall, readCall } from './endpoints.ts'
import { NarrowGrant } from './errors.ts'
import { inspectUpload, type PullAccess, sourceScope } from './mount.ts'
import { readCallQuery, withQuery } from './query.ts'
import { refuse } from './refuse.ts'
import { holdsScope, scopeOf } from './scope.ts'

/** The registry protocol. */
export const registry: Protocol = { name: 'registry', read, refuse, checkGrant }

/** `docker login` asks only this: any active token that has at least one scope. */
const baseRequirement: Requirement = { kind: 'authenticated' }

/** No client of registries needs them, and a browser's may be of some other service on the host. */
const withoutCookies = ['cookie']

/** Told from the head alone; a mount's source and a form body wait for `inspect`. */
function read(request: ProtocolRequest): Intent {
  const { method, target } = request
  const call = readCall(method, target.path)
  const intent = {
    accesses: [accessOf(request, call)],
    quantifier: 'all',
    drop: withoutCookies,
    reply: rewriteReply,
  } as const
  const pullAccess: PullAccess = (repository, method, path) => ({
    action: 'pull',
    requirement: request.match.route.allow.get('pull'),
    method,
    path,
    resources: resourcesOf(repository),
  })
  if (call.endpoint.kind === 'catalog') {
    const query = readCatalogQuery(target.query)
    return { ...intent, answer: (context) => answerCatalog(query, context, pullAccess) }
  }
  const query = readCallQuery(call, target.query)
  const path = withQuery(call.path, query.text)
  const { kind } = call.endpoint
  const inspect =
    kind === 'uploads' || kind === 'upload'
      ? inspectUpload(request, call, query, pullAccess)
      : undefined
  return { ...intent, path, ...(inspect && { inspect }) }
}

/** A mount's source is looked at where it is known (mount.ts). */
function checkGrant({ method, target }: ProtocolRequest, grant: Grant): void {
  const call = readCall(method, target.path)
  const needed = scopeOf(call)
  if (needed === undefined || holdsScope(grant, needed)) return
  const from = call.endpoint.kind === 'uploads' ? readCallQuery(call, target.query).from : undefined
  throw new NarrowGrant([needed, ...(from === undefined ? [] : sourceScope(from))])
}

/** A limit names a repository without a final `.git`, as it does for git. */
export function resourcesOf(repository: string): ReadonlyMap<string, string> {
  return new Map([['repository', repository.replace(/\.git$/, '')]])
}

function accessOf(request: ProtocolRequest, { action, repository }: RegistryCall): Access {
  const { allow } = request.match.route
  return {
    action,
    requirement: action === 'base' ? baseRequirement : allow.get(action),
    method: request.method,
    path: request.target.path,
    resources: repository === undefined ? null : resourcesOf(repository),
  }
}

/**
 * The upstream's final reply as clients of the gateway may see it. Registries write Location and Link with
 * whatever host they believe to have, and some clients would send their credentials there; only redirects
 * elsewhere (outside storage) stay.
 */
function rewriteReply(
  status: number,
  fields: FieldList,
  upstreamOrigin: string,
  basePath: string,
): FieldList {
  const isRedirect = status >= 300 && status < 400
  const kept: string[] = []
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const name = fields[at] as string
    const value = fields[at + 1] as string
    switch (name.toLowerCase()) {
      case 'www-authenticate':
      case 'set-cookie':
      case 'server':
        break
      case 'location':
        kept.push(name, isRedirect ? relativeLocation(value, upstreamOrigin, basePath) : own(value))
        break
      case 'link':
        kept.push(name, rewriteLinks(value, own))
        break
      default:
        kept.push(name, value)
    }
  }
  return kept

  function own(value: string): string {
    return (
      pathBelow(value, `${basePath}/v2/`)?.slice(basePath.length) ??
      pathBelow(value, '/v2/') ??
      hostlessLocation(value, basePath)
    )
  }
}
