// What a grant is to hold: of the scopes that were asked for, what the token may do now, merged by
// repository. Pure. It narrows what was asked and never widens it; the token decides again on each request.

import type { Access, Requirement } from '../../decision/access.ts'
import { isRepositoryName } from '../../protocols/registry/grammar.ts'
import { resourcesOf } from '../../protocols/registry/registry.ts'
import { catalogScope, repositoryScope } from '../../protocols/registry/scope.ts'
import type { Route } from '../../routes/route.ts'
import type { GrantScope } from '../../tokens/grant.ts'

const repositoryActions = ['pull', 'push', 'delete']

/** Types and names that the registry does not have are granted nothing. */
export function grantedScopes(
  asked: readonly GrantScope[],
  { allow }: Route,
  permits: (access: Access) => boolean,
): readonly GrantScope[] {
  const repositories = new Map<string, Set<string>>()
  let hasCatalog = false
  for (const { type, name, actions } of asked) {
    if (type === 'repository' && isRepositoryName(name)) {
      const granted = repositories.get(name) ?? new Set()
      for (const action of repositoryActions) {
        const isAsked = actions.includes(action) || actions.includes('*')
        if (isAsked && mayDo(action, name)) granted.add(action)
      }
      if (granted.size > 0) repositories.set(name, granted)
    } else if (type === catalogScope.type && name === catalogScope.name) {
      hasCatalog ||= actions.includes('*') && mayDo('catalog', undefined)
    }
  }
  const scopes = [...repositories].map(([name, actions]) => repositoryScope(name, [...actions]))
  return hasCatalog ? [...scopes, catalogScope] : scopes

  function mayDo(action: string, repository: string | undefined): boolean {
    const requirement: Requirement | undefined = allow.get(action)
    // Such a token names methods and paths, which only a request has.
    if (requirement?.kind === 'path-scope') return true
    return permits({
      action,
      requirement,
      method: 'GET',
      path: repository === undefined ? '/v2/_catalog' : `/v2/${repository}/`,
      resources: repository === undefined ? null : resourcesOf(repository),
    })
  }
}
