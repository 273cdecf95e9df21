// Named scopes, what they imply, and which of them cover which. Pure; imports nothing outside this
// folder. A privileged scope is held by its own name only: neither `all` nor an implication grants it.

/** A named scope as the route map declares it. */
export type ScopeDeclaration = {
  readonly name: string
  /** One sentence for people. */
  readonly description: string
  /** Names of the scopes that this one also grants; followed transitively. */
  readonly implies: readonly string[]
  /** A privileged scope is held by name only: `all` does not cover it. */
  readonly privileged: boolean
}

/** The declared scopes of one configuration. */
export type ScopeCatalog = {
  readonly declarations: ReadonlyMap<string, ScopeDeclaration>
  /** Names (and `all`) of which any one covers the scope; empty for an undeclared one. */
  grantedBy(name: string): ReadonlySet<string>
}

/** The scope that covers every path scope and every declared scope that is not privileged. */
export const allScope = 'all'

/** The scopes that the gateway declares by itself, for its own token API; a catalog always has them. */
export const builtInScopes: readonly ScopeDeclaration[] = [
  builtIn('tokens:read', 'See one’s own tokens'),
  builtIn('tokens:create', 'Create tokens'),
  builtIn('tokens:read-update', 'See and change one’s own tokens', ['tokens:read']),
  builtIn('tokens:rotate', 'Give a token a new secret'),
  builtIn('tokens:delete', 'Revoke one’s own tokens'),
  { ...builtIn('tokens:admin', 'See, change and create any token'), privileged: true },
]

/**
 * The catalog of the declared scopes and the gateway's own, with every implication followed beforehand.
 * A declaration that has the name of one of the gateway's own is overruled by it.
 */
export function buildScopeCatalog(declarations: readonly ScopeDeclaration[]): ScopeCatalog {
  const byName = new Map<string, ScopeDeclaration>()
  for (const declaration of [...declarations, ...builtInScopes]) {
    byName.set(declaration.name, declaration)
  }
  const grantedBy = new Map<string, Set<string>>()
  for (const { name, privileged } of byName.values()) {
    grantedBy.set(name, new Set(privileged ? [name] : [name, allScope]))
  }
  for (const { name } of byName.values()) {
    for (const implied of impliedNames(name, byName)) grantedBy.get(implied)?.add(name)
  }
  return { declarations: byName, grantedBy: (name) => grantedBy.get(name) ?? nobody }
}

/** The declared scope whose name is nearest to `name`, for "did you mean"; ties go by the alphabet. */
export function nearestScope(catalog: ScopeCatalog, name: string): string {
  const sought = name.slice(0, nameCharactersMax).toLowerCase()
  let nearest = allScope
  let least = editDistance(sought, allScope)
  for (const candidate of [...catalog.declarations.keys()].sort()) {
    const distance = editDistance(sought, candidate.slice(0, nameCharactersMax).toLowerCase())
    if (distance < least) {
      nearest = candidate
      least = distance
    }
  }
  return nearest
}

/** Is it `METHOD /path`, written in the characters that a request's path can have (RFC 3986 3.3)? */
export function isPathScope(scope: string): boolean {
  return pathScopeForm.test(scope)
}

const pathScopeForm = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+ \/[!-~]*$/

/** Longer names are compared by their beginning, so that a name of any length costs the same. */
const nameCharactersMax = 128

const nobody: ReadonlySet<string> = new Set()

function builtIn(name: string, description: string, implies: string[] = []): ScopeDeclaration {
  return { name, description, implies, privileged: false }
}

/** Every scope that holding `name` grants beside itself. Cycles are harmless; privileged ones are left out. */
function impliedNames(name: string, byName: ReadonlyMap<string, ScopeDeclaration>): Set<string> {
  const implied = new Set<string>()
  const open = [...(byName.get(name)?.implies ?? [])]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const declaration = byName.get(next)
    if (declaration === undefined || declaration.privileged || implied.has(next)) continue
    implied.add(next)
    open.push(...declaration.implies)
  }
  return implied
}

/** Insertions, deletions, replacements and swaps of neighbours that make `b` of `a`. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = last[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      let least = Math.min(replaced, last[j]! + 1, row[j - 1]! + 1)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        least = Math.min(least, beforeLast[j - 2]! + 1)
      }
      row.push(least)
    }
    beforeLast = last
    last = row
  }
  return last[b.length]!
}
