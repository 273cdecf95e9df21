// The accesses of git requests: one action (fetch, update, create, delete, force) on one repository. Pure.

import type { Access } from '../../decision/access.ts'
import { readResources } from '../../routes/resources.ts'
import type { ProtocolRequest } from '../protocol.ts'

export type GitAction = 'fetch' | 'update' | 'create' | 'delete' | 'force'

/** The actions of a push; a token that may do any of them may begin one. */
export const pushActions: readonly GitAction[] = ['update', 'create', 'delete', 'force']

/** A maker of accesses to the request's repository; `ref` is a command's full ref name. */
export function gitAccess(request: ProtocolRequest): (action: GitAction, ref?: string) => Access {
  const { method, target, match } = request
  const resources = readResources(match, target, method)
  return (action, ref) => ({
    action,
    requirement: match.route.allow.get(action),
    method,
    path: target.path,
    resources,
    ...(ref === undefined ? {} : { ref }),
  })
}
