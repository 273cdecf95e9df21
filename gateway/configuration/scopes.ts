// The declared scopes of a configuration, and the complaints about names that nobody declared. Pure.

import {
  allScope,
  buildScopeCatalog,
  builtInScopes,
  nearestScope,
  type ScopeCatalog,
  type ScopeDeclaration,
} from '../decision/scope.ts'
import { explainIssues } from './complaints.ts'
import { type Complain, type LocatedMap, locate, type Place, plain } from './positions.ts'
import { requirementWords, scope, scopeName } from './route-map.ts'
import { readMap } from './sections.ts'

/** The catalog of every scope that is declared, those with a faulty declaration too. */
export function readScopes(root: LocatedMap, complain: Complain): ScopeCatalog {
  const section = readMap(root, 'scopes', complain)
  const declarations: ScopeDeclaration[] = []
  for (const [name, entry] of section?.entries ?? []) {
    checkName(name, entry.key, complain)
    const result = scope.safeParse(plain(entry.value))
    if (!result.success) explainIssues(result.error.issues, ['scopes', name], root, complain)
    const read = result.success ? result.data : ''
    const declared =
      typeof read === 'string' ? { description: read, implies: [], privileged: false } : read
    declarations.push({ name, ...declared })
  }
  const catalog = buildScopeCatalog(declarations)
  for (const { name, implies } of declarations) {
    for (const [index, implied] of implies.entries()) {
      const { place } = locate(root, ['scopes', name, 'implies', index])
      checkImplied(name, implied, catalog, place, complain)
    }
  }
  return catalog
}

/** Complains of a scope that is not declared, with the nearest one that is. */
export function checkDeclared(
  name: string,
  catalog: ScopeCatalog,
  place: Place,
  complain: Complain,
): void {
  if (catalog.declarations.has(name)) return
  const near = nearestScope(catalog, name)
  const advice =
    near === allScope
      ? 'declare it under `scopes`'
      : `did you mean \`${near}\`? Else declare it under \`scopes\``
  complain(place, `the scope \`${name}\` is not declared; ${advice}`)
}

function checkName(name: string, place: Place, complain: Complain): void {
  const reserved: readonly string[] = [allScope, ...requirementWords]
  if (reserved.includes(name)) {
    complain(place, `\`${name}\` has a meaning of its own; give the scope another name`)
  } else if (builtInScopes.some((builtIn) => builtIn.name === name)) {
    complain(place, `the gateway declares \`${name}\` itself; remove the declaration`)
  } else if (!scopeName.safeParse(name).success) {
    complain(
      place,
      `\`${name}\`: expected a scope name such as source:read, without spaces and commas`,
    )
  }
}

function checkImplied(
  name: string,
  implied: string,
  catalog: ScopeCatalog,
  place: Place,
  complain: Complain,
): void {
  if (implied === name) {
    complain(place, `\`${name}\` implies itself; remove it from the list`)
  } else if (catalog.declarations.get(implied)?.privileged === true) {
    complain(place, `\`${implied}\` is privileged: it is held by name only, and nothing implies it`)
  } else {
    checkDeclared(implied, catalog, place, complain)
  }
}
