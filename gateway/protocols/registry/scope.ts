// The scopes of grants (distribution, auth/scope.md): `repository:acme/app:pull,push`, as clients ask for
// them, as a 401 names them, and as a grant holds them. Pure. A grant names repositories and actions one by
// one: `*` stands for what the token may do when it is asked for.

import type { Grant, GrantScope } from '../../tokens/grant.ts'
import type { RegistryCall } from './endpoints.ts'

/** The catalog's scope has one action. */
export const catalogScope: GrantScope = { type: 'registry', name: 'catalog', actions: ['*'] }

const scopePattern = /^([a-z0-9]+(?:\([a-z0-9]*\))?):(.+):([a-z*]+(?:,[a-z*]+)*)$/

/**
 * Reads `type:name:actions`, split at the first and the last colon, since a name may hold a port. Undefined
 * where it has no such form. A class in brackets behind the type says nothing here.
 */
export function parseScope(text: string): GrantScope | undefined {
  const [, type = '', name, actions] = scopePattern.exec(text) ?? []
  if (name === undefined || actions === undefined) return undefined
  return { type: type.replace(/\(.*/, ''), name, actions: actions.split(',') }
}

/** The scope as clients write it. */
export function writeScope({ type, name, actions }: GrantScope): string {
  return `${type}:${name}:${actions.join(',')}`
}

/** What a grant must hold for a call; undefined: any grant will do (`GET /v2/`). */
export function scopeOf({ action, repository }: RegistryCall): GrantScope | undefined {
  if (action === 'catalog') return catalogScope
  return repository === undefined ? undefined : repositoryScope(repository, [action])
}

/** A scope of one repository. */
export function repositoryScope(name: string, actions: readonly string[]): GrantScope {
  return { type: 'repository', name, actions }
}

/** What a client should ask for: who pushes a blob looks first whether it is there. */
export function scopeToAskFor(scope: GrantScope): GrantScope {
  return scope.actions.includes('push') ? { ...scope, actions: ['pull', 'push'] } : scope
}

/** Does the grant hold the scope, with every action of it? */
export function holdsScope({ access }: Grant, { type, name, actions }: GrantScope): boolean {
  return actions.every((action) =>
    access.some(
      (held) => held.type === type && held.name === name && held.actions.includes(action),
    ),
  )
}
