// What a request is about, as resource values by key: captures of the route's pattern, or a parameter
// of the query. They are what a token's resource limits are compared with, so a value that an upstream
// could read otherwise counts as absent, and then the limit denies. Pure.

import type { RequestTarget } from '../listener/target.ts'
import { looseName } from '../protocols/parameter-name.ts'
import { bareRepository } from './git-service.ts'
import type { Match, ResourceSource } from './route.ts'

/**
 * The values by resource key; one that is empty counts as absent. Of a git request `repository` is the
 * whole name, from the segment of the pattern's first capture on, without service and `.git`, whatever
 * the pattern captures.
 */
export function readResources(
  match: Match,
  target: RequestTarget,
  method: string,
): ReadonlyMap<string, string> {
  const { captures, git, route } = match
  if (route.resources === undefined && git === undefined && !hasEmpty(captures)) return captures
  const values = new Map<string, string>()
  if (route.resources === undefined) {
    for (const [name, value] of captures) if (value !== '') values.set(name, value)
  } else {
    for (const [key, source] of route.resources) {
      const value = readSource(source, captures, target, method)
      if (value) values.set(key, value)
    }
  }
  if (git !== undefined) {
    const { segments: pattern } = route.pattern
    const segments = target.segments.slice(0, target.segments.length - git.length)
    const first = pattern.findIndex((segment) => segment.kind !== 'literal')
    values.set('repository', bareRepository(segments).slice(Math.max(first, 0)).join('/'))
  }
  return values
}

function hasEmpty(captures: ReadonlyMap<string, string>): boolean {
  for (const value of captures.values()) if (value === '') return true
  return false
}

function readSource(
  source: ResourceSource,
  captures: ReadonlyMap<string, string>,
  { query }: RequestTarget,
  method: string,
): string | undefined {
  if (source.kind === 'capture') return captures.get(source.name)
  if (query === undefined || (method !== 'GET' && method !== 'HEAD')) return undefined
  return readParameter(query, source.name)
}

/**
 * The parameter that stands in the query exactly once, literally spelled. Servers differ on everything
 * else: which of two counts, `;` between parameters, `name[]`, case, escapes, lists in one value.
 */
function readParameter(query: string, name: string): string | undefined {
  if (query.includes(';')) return undefined
  const sought = looseName(name)
  let value: string | undefined
  for (const parameter of query.split('&')) {
    const equals = parameter.indexOf('=')
    const key = equals === -1 ? parameter : parameter.slice(0, equals)
    if (looseName(key) !== sought) continue
    if (key !== name || value !== undefined || equals === -1) return undefined
    value = parameter.slice(equals + 1)
  }
  return value !== undefined && plainValue.test(value) ? value : undefined
}

/** Characters that need no escape and separate nothing, and `/`. */
const plainValue = /^[A-Za-z0-9._~/:@-]+$/
