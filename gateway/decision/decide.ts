// The decision: a token's rights, one access and the client's address in, permit or deny out. Pure: no
// clock, no I/O, no logger. What is not permitted here by a rule is denied. How a denial is worded
// stands at the end; which protocol says it, and how, is not known here.

import type { Access, Decision, Denial, Requirement, Rights } from './access.ts'
import { allowsAddress } from './address-limits.ts'
import { coversPath, isCurrentTokenQuestion, pathScopeFor } from './path-scope.ts'
import { brokenLimit } from './resource-limits.ts'
import type { ScopeCatalog } from './scope.ts'

/**
 * May a token with these rights do this, from this address?
 *
 * Of several reasons the first is told. The address comes first: from a wrong place nothing is said of
 * what the token could do elsewhere, and no other remedy would help. Then the scope: a new token is
 * needed anyway, and the sentence says for what. The resource last: it is the narrowest of the three.
 */
export function decide(
  rights: Rights,
  access: Access,
  address: string,
  catalog: ScopeCatalog,
): Decision {
  const { requirement } = access
  if (requirement?.kind === 'public') return permit
  if (!allowsAddress(rights.allowedIps, address)) {
    return { ...denial('address_not_allowed', rights, access), address }
  }
  if (!meetsRequirement(rights, access, catalog)) {
    const lacking = denial('insufficient_scope', rights, access)
    if (requirement?.kind !== 'all') return lacking
    const missing = requirement.scopes.filter((name) => !holds(rights, name, catalog))
    return { ...lacking, missing }
  }
  if (requirement?.kind === 'path-scope' && isCurrentTokenQuestion(access.method, access.path)) {
    return permit
  }
  // An optional token that is presented lends its identity to the request, so its limits hold there too.
  const resource = brokenLimit(rights, access)
  if (resource === undefined) return permit
  return { ...denial('resource_not_allowed', rights, access), resource }
}

/** The fewest and least scopes that would permit; empty where none would, or none is needed. */
export function narrowestScopes(
  requirement: Requirement | undefined,
  catalog: ScopeCatalog,
  access?: Pick<Access, 'method' | 'path'>,
): string[] {
  switch (requirement?.kind) {
    case 'any':
      return narrowestOf(requirement.scopes, catalog)
    case 'all':
      return withoutImplied(requirement.scopes, catalog)
    case 'path-scope':
      return access === undefined ? [] : [pathScopeFor(access.method, access.path)]
    default:
      return []
  }
}

/** One sentence for people, on one line and of printable characters whatever the request held. */
export function describeDenial(denial: Denial): string {
  switch (denial.reason) {
    case 'address_not_allowed':
      return printable(`token is not allowed from address ${denial.address ?? 'unknown'}`)
    case 'resource_not_allowed':
      return printable(describeResource(denial))
    case 'insufficient_scope':
      return printable(describeScopes(denial))
  }
}

const permit: Decision = { outcome: 'permit' }

function denial(reason: Denial['reason'], rights: Rights, access: Access): Denial {
  return { outcome: 'deny', reason, access, required: requiredBy(access), granted: rights.scopes }
}

function requiredBy({ requirement, method, path }: Access): readonly string[] {
  if (requirement?.kind === 'path-scope') return [pathScopeFor(method, path)]
  return requirement?.kind === 'any' || requirement?.kind === 'all' ? requirement.scopes : []
}

function meetsRequirement(rights: Rights, access: Access, catalog: ScopeCatalog): boolean {
  const { requirement, method, path } = access
  switch (requirement?.kind) {
    case 'any':
      return requirement.scopes.some((name) => holds(rights, name, catalog))
    case 'all':
      // `every` is true of an empty list, which the configuration refuses and which must not permit.
      if (requirement.scopes.length === 0) return false
      return requirement.scopes.every((name) => holds(rights, name, catalog))
    case 'authenticated':
      return rights.scopes.length > 0
    case 'path-scope':
      return isCurrentTokenQuestion(method, path) || coversPath(rights.scopes, method, path)
    case 'public':
    case 'optional':
      return true
    default:
      return false
  }
}

function holds(rights: Rights, name: string, catalog: ScopeCatalog): boolean {
  const grantedBy = catalog.grantedBy(name)
  return rights.scopes.some((scope) => grantedBy.has(scope))
}

/** The one that grants the fewest; a privileged one only where there is no other. */
function narrowestOf(names: readonly string[], catalog: ScopeCatalog): string[] {
  let narrowest: string | undefined
  let least = Number.POSITIVE_INFINITY
  for (const name of names) {
    const declaration = catalog.declarations.get(name)
    if (declaration === undefined) continue
    const breadth = declaration.privileged ? Number.MAX_SAFE_INTEGER : countGranted(name, catalog)
    if (breadth < least) {
      narrowest = name
      least = breadth
    }
  }
  return narrowest === undefined ? [] : [narrowest]
}

function countGranted(name: string, catalog: ScopeCatalog): number {
  let count = 0
  for (const other of catalog.declarations.keys()) {
    if (catalog.grantedBy(other).has(name)) count++
  }
  return count
}

/** Names that another kept one grants are not needed; of two that grant each other the first stays. */
function withoutImplied(names: readonly string[], catalog: ScopeCatalog): string[] {
  const kept = new Set(names)
  for (const name of [...kept].reverse()) {
    const grantedBy = catalog.grantedBy(name)
    if ([...kept].some((other) => other !== name && grantedBy.has(other))) kept.delete(name)
  }
  return [...kept]
}

/** Of a long list of allowed values as many are told; the token's record has them all. */
const valuesToldMax = 8
const sentenceCharactersMax = 600

function describeScopes({ access, required, missing = required }: Denial): string {
  if (access.requirement?.kind === 'authenticated') return 'token has no scope; any one would do'
  const last = missing.at(-1)
  if (last === undefined) return `this route permits ${access.action} to no token`
  if (missing.length === 1) return `token lacks scope ${last}`
  if (access.requirement?.kind !== 'all')
    return `token lacks one of the scopes ${missing.join(', ')}`
  return `token lacks the scopes ${missing.slice(0, -1).join(', ')} and ${last}`
}

function describeResource({ resource }: Denial): string {
  const { key, value, allowed } = resource ?? { key: 'resource', value: undefined }
  const wanted =
    value === undefined ? `this request names no ${key}` : `this request is for ${key} ${value}`
  if (allowed === undefined) return `this route does not permit it; ${wanted}`
  if (allowed.length === 0) return `token is limited to no ${key} at all; ${wanted}`
  const told = allowed.slice(0, valuesToldMax).join(', ')
  const untold = allowed.length - valuesToldMax
  return `token is limited to ${key} ${told}${untold > 0 ? ` and ${untold} more` : ''}; ${wanted}`
}

/** Control, format and line-breaking characters of a request must not reach a terminal or a log. */
function printable(sentence: string): string {
  const safe = sentence.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '\ufffd')
  return safe.length <= sentenceCharactersMax ? safe : `${safe.slice(0, sentenceCharactersMax)}…`
}
