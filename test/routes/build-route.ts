// Makers of routes and targets for the tests of routes/: a whole Route from the few words that matter.

import type { Requirement } from '../../gateway/decision/access.ts'
import type { RequestTarget } from '../../gateway/listener/target.ts'
import { parsePattern } from '../../gateway/routes/pattern.ts'
import type { Route } from '../../gateway/routes/route.ts'

type Words = Partial<Omit<Route, 'pattern' | 'allow' | 'host'>> & {
  readonly path: string
  readonly host?: string
  /** Method or action to a scope, or to a requirement. */
  readonly allow?: Readonly<Record<string, string | Requirement>>
}

/** A route; its name is host and path unless another is given. */
export function buildRoute({ path, host, allow = { GET: 'read' }, ...rest }: Words): Route {
  const pattern = parsePattern(path)
  if ('error' in pattern) throw new Error(`${path}: ${pattern.error}`)
  const requirements = Object.entries(allow).map(([action, value]): [string, Requirement] => [
    action,
    typeof value === 'string' ? { kind: 'any', scopes: [value] } : value,
  ])
  return {
    name: `${host ?? ''}${path}`,
    host,
    pattern,
    protocol: 'rest',
    upstream: 'api',
    allow: new Map(requirements),
    resources: undefined,
    credentials: [],
    trailingSlash: 'ignore',
    fallthrough: 'warn',
    pathParameters: 'refuse',
    encodedSlash: 'refuse',
    getBody: 'refuse',
    methodOverride: 'refuse',
    inject: false,
    cors: undefined,
    refs: [],
    pushOptions: [],
    service: undefined,
    challenge: 'basic',
    tokenRoute: undefined,
    publicUrl: undefined,
    place: 'routes.yaml:1:1',
    ...rest,
  }
}

/** A git route, on the upstream `git` unless another is given. */
export function buildGitRoute(words: Words): Route {
  return buildRoute({ upstream: 'git', allow: { fetch: 'source:read' }, protocol: 'git', ...words })
}

/** The target of a path (with its query) as the listener makes it. */
export function buildTarget(pathAndQuery: string, host = 'localhost'): RequestTarget {
  const [path = '', query] = pathAndQuery.split('?')
  return {
    path,
    query,
    segments: path.slice(1).split('/').map(decodeURIComponent),
    host,
    authority: host,
    hasParameters: path.includes(';'),
    hasEncodedSlash: /%2f/i.test(path),
  }
}
