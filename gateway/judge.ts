// The decision for one request without sending it: the same target, matcher, protocols and decision as the
// pipeline's, over no socket. For `explain`, and for the routes' examples.

import { firstDenial, needsNoToken, nobody } from './authorize.ts'
import type { Configuration } from './configuration/configuration.ts'
import type { Access, Rights } from './decision/access.ts'
import { decide, describeDenial, narrowestScopes } from './decision/decide.ts'
import { pathScopeFor } from './decision/path-scope.ts'
import { matchGlob } from './decision/resource-limits.ts'
import { GatewayError } from './errors.ts'
import { readFraming } from './listener/framing.ts'
import { readTarget } from './listener/target.ts'
import type { Intent, ProtocolRequest } from './protocols/protocol.ts'
import { readHeadOverride } from './protocols/rest/method-override.ts'
import { speakerOf } from './refusal.ts'
import { matcherOf } from './routes/matcher.ts'
import { checkRouteRules, findRoute } from './routes/rules.ts'

export type GitChange = 'create' | 'update' | 'delete' | 'force'

export type Question = {
  readonly method: string
  /** Absolute, or a path (host `localhost`). */
  readonly url: string
  /** undefined: without a token. */
  readonly rights: Rights | undefined
  /** Why the token that is presented is no good; its rights are then only shown. */
  readonly inactive?: string | undefined
  /** Git: the change of one ref. */
  readonly change?: { readonly ref: string; readonly kind: GitChange } | undefined
  /** Registry: the repository that a blob is mounted from. */
  readonly mountFrom?: string | undefined
  /** The client's address; loopback where nothing is said. */
  readonly address?: string
}

export type Judgement = {
  readonly outcome: 'permit' | 'deny'
  /** 200 for a permit, else the status of the refusal. */
  readonly status: number
  readonly route: string | undefined
  /** Path as received, without query; undefined where the target is refused. */
  readonly path: string | undefined
  /** Scope names of the requirement, all alternatives of `any`. */
  readonly required: readonly string[]
  /** The token's scopes as stored. */
  readonly granted: readonly string[]
  /** A code of the table of errors, or `permitted`. */
  readonly reason: string
  /** The narrowest scopes that would permit. */
  readonly suggest: readonly string[]
  /** One sentence for people. */
  readonly detail: string
}

const pushType = ['Content-Type', 'application/x-git-receive-pack-request']

/** Never throws: what is refused is a judgement too. */
export function judge(configuration: Configuration, question: Question): Judgement {
  const granted = question.rights?.scopes ?? []
  const seen: { route?: string; path?: string } = {}
  try {
    return { ...judgeRequest(configuration, question, seen), granted }
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    return {
      outcome: 'deny',
      status: error.status,
      route: seen.route,
      path: seen.path,
      required: [],
      granted,
      reason: error.code,
      suggest: [],
      detail: error.message,
    }
  }
}

function judgeRequest(
  configuration: Configuration,
  question: Question,
  seen: { route?: string; path?: string },
): Omit<Judgement, 'granted'> {
  const { method, rights, address = '127.0.0.1' } = question
  readFraming({ method, httpVersion: '1.1', headers: {} })
  const { host, rawTarget, scheme } = splitUrl(question.url)
  const target = readTarget(rawTarget, [host], scheme)
  seen.path = target.path
  const matcher = matcherOf(configuration.routes)
  const { route } = findRoute(matcher, target, method)
  seen.route = route.name
  checkRouteRules(route, target, method, false)
  const asked =
    route.protocol === 'rest' ? readHeadOverride(route, method, [], target.query) : method
  const match = findRoute(matcher, target, asked)
  const request: ProtocolRequest = { method: asked, target, match, fields: pushType }
  const intent = withQuestion(speakerOf(route).read(request), request, question)
  const shared = { route: route.name, path: target.path, required: requiredScopes(intent.accesses) }
  const isPublic = intent.accesses.every(({ requirement }) => requirement?.kind === 'public')
  if (question.inactive !== undefined && !isPublic) {
    const detail = question.inactive
    return { ...shared, outcome: 'deny', status: 401, reason: 'invalid_token', suggest: [], detail }
  }
  const denial = firstDenial(intent, (access) =>
    decide(rights ?? nobody, access, address, configuration.scopes),
  )
  const needsToken = rights === undefined && !needsNoToken(intent)
  const strayRef = needsToken ? undefined : refBeyondRoute(request, question)
  if (strayRef !== undefined) {
    const reason = 'resource_not_allowed'
    return { ...shared, outcome: 'deny', status: 403, reason, suggest: [], detail: strayRef }
  }
  if (denial === undefined && !needsToken) {
    const { service } = route
    const detail =
      service === undefined || !isPublic
        ? `${method} ${target.path} is permitted`
        : `${method} ${target.path} reaches ${service}, which looks at tokens by itself`
    return { ...shared, outcome: 'permit', status: 200, reason: 'permitted', suggest: [], detail }
  }
  const access = denial?.access ?? intent.accesses[0]
  const suggest = narrowestScopes(access?.requirement, configuration.scopes, access)
  if (denial === undefined || needsToken) {
    const detail = 'a token is required; none was given'
    return { ...shared, outcome: 'deny', status: 401, reason: 'token_required', suggest, detail }
  }
  return {
    ...shared,
    outcome: 'deny',
    status: 403,
    reason: denial.reason,
    suggest: denial.reason === 'insufficient_scope' ? suggest : [],
    detail: describeDenial(denial),
  }
}

/** The accesses of the head, or those that the question names instead. */
function withQuestion(intent: Intent, { match }: ProtocolRequest, question: Question): Intent {
  const [first] = intent.accesses
  if (first === undefined) return intent
  const { change, mountFrom } = question
  if (change !== undefined && match.route.protocol === 'git') {
    const access = (kind: GitChange): Access => {
      return { ...first, action: kind, requirement: match.route.allow.get(kind), ref: change.ref }
    }
    if (change.kind !== 'update') return { accesses: [access(change.kind)], quantifier: 'all' }
    // A move of a tag is never a fast-forward; who may force may also fast-forward a branch.
    if (change.ref.startsWith('refs/tags/'))
      return { accesses: [access('force')], quantifier: 'all' }
    return { accesses: [access('update'), access('force')], quantifier: 'any' }
  }
  if (mountFrom !== undefined && match.route.protocol === 'registry') {
    const requirement = match.route.allow.get('pull')
    const resources = new Map(first.resources).set('repository', mountFrom)
    const pull: Access = { ...first, action: 'pull', requirement, resources }
    return { ...intent, accesses: [...intent.accesses, pull] }
  }
  return intent
}

/** What is wrong with a push to the ref, whoever pushes; undefined: nothing. */
function refBeyondRoute(
  { match: { route } }: ProtocolRequest,
  { change }: Question,
): string | undefined {
  if (change === undefined || route.protocol !== 'git') return undefined
  if (route.refs.some((glob) => matchGlob(glob, change.ref))) return undefined
  return `the route takes no push to ${change.ref}; it takes pushes to ${route.refs.join(', ') || 'no ref'}`
}

function requiredScopes(accesses: readonly Access[]): string[] {
  const names = accesses.flatMap(({ requirement, method, path }) => {
    if (requirement === undefined) return []
    if (requirement.kind === 'path-scope') return [pathScopeFor(method, path)]
    return 'scopes' in requirement ? requirement.scopes : []
  })
  return [...new Set(names)]
}

function splitUrl(url: string): { host: string; rawTarget: string; scheme: 'http' | 'https' } {
  const parts = /^(https?):\/\/([^/?#]*)(.*)$/i.exec(url)
  if (parts === null) return { host: 'localhost', rawTarget: url, scheme: 'http' }
  const [, scheme = '', host = '', rest = ''] = parts
  return {
    host,
    rawTarget: rest.startsWith('/') ? rest : `/${rest}`,
    scheme: scheme.toLowerCase() === 'https' ? 'https' : 'http',
  }
}
