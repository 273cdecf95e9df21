// What the workers say of each part, as one line a part.

import type { Check } from '../listener/management.ts'

const notAsked = 'not asked yet'

/**
 * Where they differ, those count that have asked; and where these differ, the worse word, and how many say
 * it: an upstream is judged by each worker's last attempt to connect.
 */
export function combineChecks(workers: readonly (readonly Check[])[]): readonly Check[] {
  const words = new Map<string, string[]>()
  for (const { name, value } of workers.flat()) {
    const said = words.get(name) ?? []
    said.push(value)
    words.set(name, said)
  }
  return [...words].map(([name, said]) => ({ name, value: combine(said) }))
}

function combine(said: readonly string[]): string {
  const asked = said.filter((word) => word !== notAsked)
  const bad = asked.filter((word) => word !== 'ok')
  const worse = bad[0]
  if (worse === undefined) return asked[0] ?? notAsked
  return bad.length === asked.length ? worse : `${worse} (${bad.length} of ${said.length} workers)`
}
