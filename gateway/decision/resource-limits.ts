// Resource limits: globs that bound the values (factory, repository, ref) that a token may touch.
// `*` stands for any characters within a segment, `**` for any characters at all; each also for none.
// Case matters. Pure. It never makes a regular expression of its input.

import type { Access, Denial, Rights } from './access.ts'

/**
 * The first limit of the token that the access does not keep; undefined where it keeps them all.
 * Every key must be among the access's resources. The key `ref` binds only accesses that have a ref.
 */
export function brokenLimit(rights: Rights, access: Access): Denial['resource'] {
  if (rights.resources === null) return undefined
  for (const key of Object.keys(rights.resources)) {
    if (key === 'ref' ? access.ref === undefined : access.resources === null) continue
    const value = key === 'ref' ? access.ref : access.resources?.get(key)
    const allowed = rights.resources[key] ?? []
    if (value === undefined || !allowed.some((pattern) => matchGlob(pattern, value))) {
      return { key, value, allowed }
    }
  }
  return undefined
}

/** Does the glob match the whole value? Costs the product of the two lengths at most. */
export function matchGlob(pattern: string, value: string): boolean {
  const star = pattern.indexOf('*')
  if (star === -1) return pattern === value
  if (!value.startsWith(pattern.slice(0, star))) return false
  const rest = pattern.slice(star)
  if (rest === '**') return true
  if (rest === '*') return !value.includes('/', star)
  return matchParts(readParts(rest), value, star)
}

/** A character, or the number of stars in a row (two stand for two and more). */
type GlobPart = string | 1 | 2

function readParts(pattern: string): GlobPart[] {
  const parts: GlobPart[] = []
  for (const character of pattern.split('')) {
    const last = parts.at(-1)
    if (character !== '*') parts.push(character)
    else if (typeof last === 'number') parts[parts.length - 1] = 2
    else parts.push(1)
  }
  return parts
}

/**
 * Walks the value once, keeping for every length of the pattern whether it matches what was read:
 * nothing is tried again, so no pattern makes a value expensive.
 */
function matchParts(parts: readonly GlobPart[], value: string, from: number): boolean {
  const reached = new Uint8Array(parts.length + 1)
  reached[0] = 1
  for (let j = 0; j < parts.length && typeof parts[j] === 'number'; j++) reached[j + 1] = 1
  for (let i = from; i < value.length; i++) {
    const character = value[i]
    let before = reached[0]!
    reached[0] = 0
    for (let j = 0; j < parts.length; j++) {
      const part = parts[j]
      const here = reached[j + 1]!
      if (typeof part === 'string') reached[j + 1] = part === character ? before : 0
      else reached[j + 1] = reached[j]! | (part === 2 || character !== '/' ? here : 0)
      before = here
    }
  }
  return reached[parts.length] === 1
}
