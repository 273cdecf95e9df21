// A secret of the configuration: written where it is used, or in a file of its own. No complaint shows one.

import { type Complain, type LocatedEntry, locate, type Place, plain } from './positions.ts'
import { secret } from './settings.ts'

/** Reads a text file that stands beside the file of a place; complains and answers undefined where it cannot. */
export type ReadBeside = (place: Place, path: string) => string | undefined

/**
 * The value itself, or what stands in its file, without the line break that ends it. Undefined where a
 * complaint was made.
 */
export function readSecret(
  name: string,
  entry: LocatedEntry,
  readBeside: ReadBeside,
  complain: Complain,
): string | undefined {
  if (entry.value.kind === 'fault') return undefined
  const result = secret.safeParse(plain(entry.value))
  if (!result.success) {
    complain(
      entry.value.place,
      `\`${name}\`: expected a string (quote a number), or { file: PATH }`,
    )
    return undefined
  }
  if (typeof result.data === 'string') return result.data
  const { place } = locate(entry.value, ['file'])
  return readBeside(place, result.data.file)?.replace(/\r?\n$/, '')
}
