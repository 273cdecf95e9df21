// When one route is weaker than another: some method is permitted by it to a token to which the other
// does not permit it. Compared by requirements alone; what a method does, and resource limits, are
// not looked at. Pure.

import type { Requirement } from '../decision/access.ts'
import type { ScopeCatalog } from '../decision/scope.ts'
import type { Route } from './route.ts'

/**
 * Is the general route weaker than the specific one? Two REST routes are compared method by method.
 * Where one is of another protocol, whose actions are no methods, it is weaker unless every
 * requirement of it is as strong as every one of the specific route. Without a catalog a scope meets
 * itself alone.
 */
export function isWeaker(general: Route, specific: Route, catalog?: ScopeCatalog): boolean {
  if (general.protocol !== 'rest' || specific.protocol !== 'rest') {
    return [...general.allow.values()].some((weak) =>
      [...specific.allow.values()].some((strong) => !isAsStrong(weak, strong, catalog)),
    )
  }
  const methods = new Set([...general.allow.keys(), ...specific.allow.keys()])
  return [...methods].some((method) => {
    const weak = requirementFor(general, method)
    return weak !== undefined && !isAsStrong(weak, requirementFor(specific, method), catalog)
  })
}

/** The requirement for a method, as the REST protocol reads it; `*` stands for a method not listed. */
function requirementFor({ allow }: Route, method: string): Requirement | undefined {
  return allow.get(method) ?? (method === 'HEAD' ? allow.get('GET') : undefined) ?? allow.get('*')
}

/** Does every token that meets `one` meet `other` too? `other` undefined: nobody does. */
function isAsStrong(
  one: Requirement,
  other: Requirement | undefined,
  catalog: ScopeCatalog | undefined,
): boolean {
  if (other === undefined) return false
  if (other.kind === 'public' || other.kind === 'optional') return true
  if (one.kind === 'public' || one.kind === 'optional') return false
  if (other.kind === 'authenticated') return true
  if (one.kind === 'authenticated') return false
  if (one.kind === 'path-scope' || other.kind === 'path-scope') return one.kind === other.kind
  const meets = (held: readonly string[]) => {
    const covered = (name: string) =>
      held.some((scope) => scope === name || catalog?.grantedBy(name).has(scope) === true)
    return other.kind === 'any' ? other.scopes.some(covered) : other.scopes.every(covered)
  }
  return one.kind === 'all' ? meets(one.scopes) : one.scopes.every((scope) => meets([scope]))
}
