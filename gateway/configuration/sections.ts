// The schema of a whole configuration, and the reading of its sections that are maps of named things.
// Any file may hold any section.

import * as z from 'zod'
import { explainIssues } from './complaints.ts'
import type { Complain, LocatedMap } from './positions.ts'
import { routeMap } from './route-map.ts'
import { fields, list, text } from './schema.ts'
import { settings } from './settings.ts'

/** Further files: one, or a list. */
export const include = z
  .union([text('the path of a file'), list(text('the path of a file'), 'a list of files')], {
    error: 'expected the path of a file, or a list of them',
  })
  .optional()
  .describe('Further files, beside this one: one, or a list.')

/** Every section of a configuration. */
export const configurationSchema = fields({ ...settings, include, ...routeMap })

/** The map at a key of the configuration; anything else there is complained of. Absent: undefined. */
export function readMap(
  root: LocatedMap,
  key: 'upstreams' | 'scopes',
  complain: Complain,
): LocatedMap | undefined {
  const value = root.entries.get(key)?.value
  if (value === undefined || value.kind === 'map') return value
  const result = configurationSchema.shape[key].safeParse(null)
  if (!result.success) explainIssues(result.error.issues, [key], root, complain)
  return undefined
}
