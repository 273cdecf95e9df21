// What a route permits, by method or by action: `allow`, made into requirements. Pure. A method or action
// that is not listed stays denied; nothing here widens what was written.

import type { Requirement } from '../decision/access.ts'
import type { ScopeCatalog } from '../decision/scope.ts'
import { METHODS } from '../node-http.ts'
import type { Route } from '../routes/route.ts'
import { explainIssues, nearest } from './complaints.ts'
import {
  type Complain,
  type Located,
  type LocatedEntry,
  type LocatedMap,
  locate,
  type Place,
  plain,
} from './positions.ts'
import { actionsByProtocol, allow, methodsByService, requirement } from './route-map.ts'
import { oneOf } from './schema.ts'
import { checkDeclared } from './scopes.ts'

/** What a route says of itself, and `allow` is judged by. */
export type RouteKind = Pick<Route, 'protocol' | 'service' | 'challenge'>

/** Never forwarded, whatever a route says. */
const refusedMethods = ['CONNECT', 'TRACE']

/** The requirements of a route by method or action; what is faulty is complained of and left out. */
export function readAllow(
  route: LocatedMap,
  kind: RouteKind,
  catalog: ScopeCatalog,
  complain: Complain,
): ReadonlyMap<string, Requirement> {
  const { protocol } = kind
  const value = route.entries.get('allow')?.value
  const read = new Map<string, Requirement>()
  if (value?.kind === 'map') {
    if (value.entries.size === 0) {
      complain(value.place, '`allow` permits nothing; name a method, as in { GET: SCOPE }')
    }
    for (const [name, entry] of value.entries) {
      const known = checkAction(name, entry.key, kind, complain)
      const made = readRequirement(entry, catalog, complain)
      if (!known || made === undefined) continue
      checkPublic(name, made, entry, kind, complain)
      read.set(name, made)
    }
    return read
  }
  const result = allow.safeParse(value === undefined ? undefined : plain(value))
  if (!result.success) {
    explainIssues(result.error.issues, ['allow'], route, complain)
  } else if (protocol !== 'rest') {
    const [first, ...rest] = actionsByProtocol[protocol]
    complain(
      locate(route, ['allow']).place,
      `\`allow\`: a ${protocol} route names its actions, as in { ${first}: SCOPE }; the others are ${oneOf(rest)}`,
    )
  } else if (typeof result.data === 'string') {
    const made = named(result.data, locate(route, ['allow']).place, catalog, complain)
    for (const method of methodsOf(made, kind)) read.set(method, made)
  }
  return read
}

/** A bare value stands for GET and HEAD. What asks for its token by itself is public as a whole, or not. */
function methodsOf({ kind }: Requirement, { service }: RouteKind): readonly string[] {
  if (service !== undefined && kind === 'public') return methodsByService[service]
  return [kind === 'path-scope' ? '*' : 'GET']
}

function checkAction(
  name: string,
  place: Place,
  { protocol, service }: RouteKind,
  complain: Complain,
): boolean {
  if (service !== undefined) {
    const methods = methodsByService[service]
    if (methods.includes(name)) return true
    complain(place, `\`${name}\` is no method of ${service}; expected ${oneOf(methods)}`)
    return false
  }
  if (protocol !== 'rest') {
    const actions: readonly string[] = actionsByProtocol[protocol]
    if (actions.includes(name)) return true
    complain(place, `\`${name}\` is no action of ${protocol}; expected ${oneOf(actions)}`)
    return false
  }
  if (name === '*' || (METHODS.includes(name) && !refusedMethods.includes(name))) return true
  const upper = name.toUpperCase()
  if (refusedMethods.includes(upper)) {
    complain(place, `${upper} is never forwarded; remove it`)
  } else if (name === 'any' || name === 'all') {
    complain(place, `\`${name}\` is no method; write { GET: { ${name}: [SCOPE] } }`)
  } else {
    const near = nearest(upper, METHODS)
    const advice = near === undefined ? "expected one such as GET, or '*'" : `did you mean ${near}?`
    complain(place, `\`${name}\` is no method; ${advice}`)
  }
  return false
}

function readRequirement(
  entry: LocatedEntry,
  catalog: ScopeCatalog,
  complain: Complain,
): Requirement | undefined {
  const result = requirement.safeParse(plain(entry.value))
  if (!result.success) {
    const around: Located = { kind: 'map', place: entry.key, entries: new Map([['allow', entry]]) }
    explainIssues(result.error.issues, ['allow'], around, complain)
    return undefined
  }
  const { data } = result
  if (typeof data === 'string') return named(data, entry.value.place, catalog, complain)
  const kind = data.any === undefined ? 'all' : 'any'
  const scopes = data[kind] ?? []
  for (const [index, scope] of scopes.entries()) {
    checkDeclared(scope, catalog, locate(entry.value, [kind, index]).place, complain)
  }
  return { kind, scopes }
}

function named(word: string, place: Place, catalog: ScopeCatalog, complain: Complain): Requirement {
  switch (word) {
    case 'public':
    case 'optional':
    case 'authenticated':
    case 'path-scope':
      return { kind: word }
    case 'all':
      complain(
        place,
        '`all` is what a token may hold, not a requirement; name a scope, or authenticated',
      )
      break
    default:
      checkDeclared(word, catalog, place, complain)
  }
  return { kind: 'any', scopes: [word] }
}

/**
 * Reading without a token is legitimate; changing anything is not. A registry's clients come without one only
 * where a token service gives them a grant: who is asked for Basic has nothing to send.
 */
function checkPublic(
  action: string,
  { kind }: Requirement,
  entry: LocatedEntry,
  { protocol, challenge }: RouteKind,
  complain: Complain,
): void {
  if (protocol === 'rest' || (kind !== 'public' && kind !== 'optional')) return
  if (protocol === 'registry' && (action === 'pull' || action === 'catalog')) {
    if (challenge === 'bearer') return
    complain(
      entry.value.place,
      `\`${action}: ${kind}\` needs \`challenge: bearer\`: clients that are asked for a password do not come without one; add it, or name a scope`,
    )
  } else if (action !== 'fetch') {
    complain(
      entry.value.place,
      `\`${action}: ${kind}\` would let anyone change the repository; name a scope`,
    )
  }
}
