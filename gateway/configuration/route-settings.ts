// One route of a configuration: each key judged by itself, then with its protocol, then with the scopes
// and upstreams that it names. A route with a mistake is still checked for all others. Pure.

import { allScope, isPathScope, type ScopeCatalog } from '../decision/scope.ts'
import { parsePattern } from '../routes/pattern.ts'
import type { Carrier, Cors, Pattern, ResourceSource, Route, ServiceName } from '../routes/route.ts'
import { narrowCarriers } from './carriers.ts'
import { nearest, readFields } from './complaints.ts'
import type { RouteExample } from './configuration.ts'
import { parseExample } from './example.ts'
import { type Complain, type LocatedMap, locate, writePlace } from './positions.ts'
import { readAllow } from './requirements.ts'
import { route as routeSchema } from './route-map.ts'
import { checkDeclared } from './scopes.ts'

/** What a push may touch where the route does not say: branches, tags, notes, review refs. */
const defaultRefs = ['refs/heads/**', 'refs/tags/**', 'refs/notes/**', 'refs/for/**']
const registryPath = '/v2/'
const registryPattern = '/v2/{rest...}'

/** All that a route of a service may say. */
const serviceKeys = new Set(
  'name host path service allow publicUrl credentials trailingSlash cors errors examples'.split(
    ' ',
  ),
)

const keysByProtocol: Readonly<Record<string, Route['protocol'][]>> = {
  refs: ['git'],
  pushOptions: ['git'],
  challenge: ['registry'],
  publicUrl: ['registry'],
  resources: ['rest', 'git'],
  trailingSlash: ['rest'],
  pathParameters: ['rest'],
  encodedSlash: ['rest'],
  getBody: ['rest'],
  methodOverride: ['rest'],
}

/** What routes are judged by. */
export type RouteContext = {
  readonly catalog: ScopeCatalog
  readonly carriers: readonly Carrier[]
  /** Names of the upstreams; undefined: any name is taken as given. */
  readonly upstreams: readonly string[] | undefined
}

/** A route as far as it could be read. */
export type ReadRoute = {
  readonly route: Route
  readonly node: LocatedMap
  readonly examples: readonly RouteExample[]
}

/** One route; undefined where host, path or protocol are not known, so that it cannot be compared. */
export function readRoute(
  node: LocatedMap,
  context: RouteContext,
  complain: Complain,
): ReadRoute | undefined {
  const fields = readFields(routeSchema, node, complain, ['allow'])
  const protocol = fields.protocol ?? 'rest'
  const { service, challenge = 'basic' } = fields
  const allow = readAllow(node, { protocol, service, challenge }, context.catalog, complain)
  if (service === undefined) checkProtocolKeys(node, protocol, complain)
  else checkServiceKeys(node, service, complain)
  checkUpstream(fields.upstream, node, context, complain)
  const narrowed = narrowCarriers(fields.credentials, context.carriers, node, complain)
  const isForRegistries = protocol === 'registry' || service === 'registry-token'
  const isNarrowed = node.entries.has('credentials')
  const readable = isForRegistries && !isNarrowed ? withScheme(narrowed, 'basic') : narrowed
  const credentials = protocol === 'registry' ? withGrants(readable) : readable
  const pattern = readPattern(fields.path, protocol, node, complain)
  if (service !== undefined) checkServicePath(pattern, service, node, complain)
  if (protocol === 'registry') checkRegistryUrl(fields.publicUrl || undefined, node, complain)
  const host = readHost(fields.host, node, complain)
  const examples = readExamples(node, host.name, context.catalog, complain)
  const resources = readResources(
    fields.resources,
    protocol === 'registry' ? undefined : pattern,
    node,
    complain,
  )
  if (pattern === undefined || host.faulty || fields.protocol === undefined) return undefined
  const path = protocol === 'registry' ? registryPath : pattern.source
  const route: Route = {
    name: fields.name ?? `${host.name ?? ''}${path}`,
    host: host.name,
    pattern,
    protocol,
    upstream: fields.upstream ?? '',
    service,
    allow,
    resources,
    credentials,
    trailingSlash: fields.trailingSlash ?? 'ignore',
    pathParameters: fields.pathParameters ?? 'refuse',
    encodedSlash: fields.encodedSlash ?? 'refuse',
    getBody: fields.getBody ?? 'refuse',
    methodOverride: service === undefined ? (fields.methodOverride ?? 'refuse') : 'ignored',
    fallthrough: fields.fallthrough ?? 'warn',
    inject: fields.inject ?? false,
    cors: readCors(fields.cors, credentials),
    refs: fields.refs ?? defaultRefs,
    pushOptions: fields.pushOptions ?? [],
    challenge,
    tokenRoute: undefined,
    publicUrl: fields.publicUrl || undefined,
    place: writePlace(node.place),
  }
  return { route, node, examples }
}

function checkProtocolKeys(
  node: LocatedMap,
  protocol: Route['protocol'],
  complain: Complain,
): void {
  for (const [key, entry] of node.entries) {
    const protocols = Object.hasOwn(keysByProtocol, key) ? keysByProtocol[key] : undefined
    if (protocols === undefined || protocols.includes(protocol)) continue
    complain(
      entry.key,
      `\`${key}\` is for ${protocols.join(' and ')} routes; remove it from this ${protocol} route`,
    )
  }
}

function checkServiceKeys(node: LocatedMap, service: ServiceName, complain: Complain): void {
  for (const [key, entry] of node.entries) {
    if (serviceKeys.has(key) || !Object.hasOwn(routeSchema.shape, key)) continue
    complain(
      entry.key,
      `\`${key}\` is not for a service; remove it, or remove \`service: ${service}\``,
    )
  }
}

/** Clients are told one address. */
function checkServicePath(
  pattern: Pattern | undefined,
  service: ServiceName,
  node: LocatedMap,
  complain: Complain,
): void {
  if (pattern === undefined || pattern.segments.every(({ kind }) => kind === 'literal')) return
  const { place } = locate(node, ['path'])
  complain(place, `\`path\`: ${service} has one address; write it without {…}, as in /token`)
}

function checkRegistryUrl(url: string | undefined, node: LocatedMap, complain: Complain): void {
  if (url === undefined || new URL(url).pathname === '/') return
  const { place } = locate(node, ['publicUrl'])
  complain(
    place,
    "`publicUrl`: a registry stands at its host's /v2/; write the address without a path",
  )
}

/** Grants are accepted on every registry route, whichever carriers of tokens it has. */
function withGrants(carriers: readonly Carrier[]): readonly Carrier[] {
  return hasScheme(carriers, 'bearer') ? carriers : withScheme(carriers, 'grant')
}

/** Registries' clients have no other way to show a token than Basic: it is read where the list at the top has none. */
function withScheme(carriers: readonly Carrier[], scheme: 'basic' | 'grant'): readonly Carrier[] {
  return hasScheme(carriers, scheme) ? carriers : [...carriers, { kind: 'authorization', scheme }]
}

function hasScheme(carriers: readonly Carrier[], scheme: string): boolean {
  return carriers.some((one) => one.kind === 'authorization' && one.scheme === scheme)
}

function checkUpstream(
  name: string | undefined,
  node: LocatedMap,
  { upstreams }: RouteContext,
  complain: Complain,
): void {
  if (name === undefined) {
    if (!node.entries.has('upstream') && !node.entries.has('service')) {
      complain(node.place, '`upstream` is missing: expected the name of an upstream')
    }
  } else if (upstreams !== undefined && !upstreams.includes(name)) {
    const near = nearest(name, upstreams)
    const known = upstreams.length === 0 ? 'none is declared' : `declared: ${upstreams.join(', ')}`
    complain(
      locate(node, ['upstream']).place,
      `unknown upstream \`${name}\`; ${near === undefined ? known : `did you mean \`${near}\`?`}`,
    )
  }
}

function readPattern(
  path: string | undefined,
  protocol: Route['protocol'],
  node: LocatedMap,
  complain: Complain,
): Pattern | undefined {
  const { place, value } = locate(node, ['path'])
  if (protocol === 'registry') {
    if (path !== undefined && path !== registryPath) {
      complain(place, `a registry's path is ${registryPath}; remove \`path\``)
    }
    const pattern = parsePattern(registryPattern)
    return 'error' in pattern ? undefined : pattern
  }
  if (path === undefined) {
    if (value === undefined)
      complain(place, '`path` is missing: expected a path, as in /devices/{device}/')
    return undefined
  }
  const pattern = parsePattern(path)
  if (!('error' in pattern)) return pattern
  complain(place, `\`path\`: ${pattern.error}`)
  return undefined
}

/** RFC 9110 4.2.3: host names compare in lower case; a final dot means the same. */
function readHost(
  host: string | null | undefined,
  node: LocatedMap,
  complain: Complain,
): { name: string | undefined; faulty: boolean } {
  const { value, place } = locate(node, ['host'])
  if (value?.kind === 'fault') return { name: undefined, faulty: true }
  if (host === undefined || host === null || host === '') {
    return { name: undefined, faulty: host === undefined && value !== undefined }
  }
  const name = host.toLowerCase().replace(/\.$/, '')
  const label = '[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?'
  const isName = new RegExp(`^(\\*\\.)?${label}(\\.${label})*$`).test(name)
  if (isName || (name.startsWith('[') && URL.canParse(`http://${name}/`))) {
    return { name, faulty: false }
  }
  const advice = /:\d+$/.test(name)
    ? 'a port does not matter; leave it out'
    : name === '*'
      ? 'leave `host` out for any host'
      : 'expected a name such as source.example.com or *.example.com (xn-- form where it is not ASCII)'
  complain(place, `\`host\`: ${advice}`)
  return { name: undefined, faulty: true }
}

function readResources(
  written: Readonly<Record<string, string>> | undefined,
  pattern: Pattern | undefined,
  node: LocatedMap,
  complain: Complain,
): ReadonlyMap<string, ResourceSource> | undefined {
  if (written === undefined) return undefined
  const sources = new Map<string, ResourceSource>()
  const captures = pattern?.segments.flatMap((one) => (one.kind === 'literal' ? [] : [one.name]))
  for (const [key, source] of Object.entries(written)) {
    if (source.startsWith('query.')) {
      sources.set(key, { kind: 'query', name: source.slice('query.'.length) })
      continue
    }
    sources.set(key, { kind: 'capture', name: source })
    if (captures === undefined || captures.includes(source)) continue
    const near = nearest(source, captures)
    const known = captures.length === 0 ? 'none' : captures.join(', ')
    complain(
      locate(node, ['resources', key]).place,
      `\`path\` has no {${source}}; ${near === undefined ? `its captures: ${known}; else query.NAME` : `did you mean \`${near}\`?`}`,
    )
  }
  return sources
}

function readCors(
  written:
    | '*'
    | { origins: '*' | string[]; headers?: string[] | undefined; maxAge: number }
    | undefined,
  carriers: readonly Carrier[],
): Cors | undefined {
  if (written === undefined) return undefined
  const names = carriers.flatMap((one) => (one.kind === 'header' ? [one.name] : []))
  const defaultHeaders = ['authorization', 'content-type', ...names]
  const { origins, headers, maxAge } =
    written === '*' ? { origins: written, headers: undefined, maxAge: defaultMaxAgeMs } : written
  return {
    origins: typeof origins === 'string' ? [origins] : origins,
    headers: headers ?? defaultHeaders,
    maxAgeMs: maxAge,
  }
}

const defaultMaxAgeMs = 600_000

/** A target without a host is asked for on the route's own, where that is one name. */
function readExamples(
  node: LocatedMap,
  host: string | undefined,
  catalog: ScopeCatalog,
  complain: Complain,
): readonly RouteExample[] {
  const value = node.entries.get('examples')?.value
  const examples: RouteExample[] = []
  for (const item of value?.kind === 'list' ? value.items : []) {
    if (item.kind !== 'scalar' || typeof item.value !== 'string') continue
    const example = parseExample(item.value)
    if ('error' in example) {
      complain(item.place, `example: ${example.error}`)
      continue
    }
    for (const scope of example.scopes ?? []) {
      if (scope === allScope || isPathScope(scope)) continue
      checkDeclared(scope, catalog, item.place, complain)
    }
    const origin = host === undefined || host.startsWith('*') ? '' : `http://${host}`
    const target = example.target.startsWith('/') ? `${origin}${example.target}` : example.target
    examples.push({ ...example, target, place: writePlace(item.place), source: item.value })
  }
  return examples
}
