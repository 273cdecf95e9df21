// Where tokens may come from: the list of the configuration, and a route's choice of it. Pure.

import type { Carrier } from '../routes/route.ts'
import { explainIssues } from './complaints.ts'
import { type Complain, type LocatedMap, locate, plain } from './positions.ts'
import { carrier as carrierSchema, defaultCarriers, settings } from './settings.ts'

/** A carrier as it is written: exactly one of the keys. */
export type CarrierFields = {
  readonly header?: string | undefined
  readonly authorization?: 'bearer' | 'oauth2' | 'basic' | undefined
  readonly query?: string | undefined
}

/** Fields that cannot hold a token alone, or that the gateway reads in another way. */
const unfitFields = new Set(
  'authorization cookie connection content-length expect host te trailer transfer-encoding upgrade'.split(
    ' ',
  ),
)

/** The carriers of the configuration, in their order; the default ones where it names none. */
export function readCarriers(root: LocatedMap, complain: Complain): readonly Carrier[] {
  const value = root.entries.get('credentials')?.value
  if (value?.kind !== 'list' || value.items.length === 0) {
    const result = settings.credentials.safeParse(value && plain(value))
    if (!result.success) explainIssues(result.error.issues, ['credentials'], root, complain)
    return (result.data ?? defaultCarriers).map(makeCarrier)
  }
  const carriers: Carrier[] = []
  for (const [index, item] of value.items.entries()) {
    const result = carrierSchema.safeParse(plain(item))
    if (!result.success) {
      explainIssues(result.error.issues, ['credentials', index], root, complain)
      continue
    }
    const carrier = makeCarrier(result.data)
    if (carrier.kind === 'header' && unfitFields.has(carrier.name)) {
      const advice =
        carrier.name === 'authorization' ? 'write { authorization: bearer }' : 'use another'
      complain(item.place, `the field ${result.data.header} cannot carry a token alone; ${advice}`)
    } else if (carriers.some((one) => isSame(one, carrier))) {
      complain(item.place, 'this carrier is listed twice; keep one of the two')
    }
    carriers.push(carrier)
  }
  return carriers
}

/** The carriers of a route: all of the configuration's, or those of them that it names. */
export function narrowCarriers(
  written: readonly CarrierFields[] | undefined,
  carriers: readonly Carrier[],
  route: LocatedMap,
  complain: Complain,
): readonly Carrier[] {
  if (written === undefined) return carriers
  const kept: Carrier[] = []
  for (const [index, fields] of written.entries()) {
    const carrier = makeCarrier(fields)
    if (carriers.some((one) => isSame(one, carrier))) {
      kept.push(carrier)
    } else {
      complain(
        locate(route, ['credentials', index]).place,
        'a route may only narrow the list of carriers; add this one to the list at the top first',
      )
    }
  }
  return kept
}

/** Names of fields compare without case, those of query parameters with it. */
function makeCarrier(fields: CarrierFields): Carrier {
  if (fields.header !== undefined) return { kind: 'header', name: fields.header.toLowerCase() }
  if (fields.authorization !== undefined) {
    return { kind: 'authorization', scheme: fields.authorization }
  }
  return { kind: 'query', name: fields.query ?? '' }
}

function isSame(a: Carrier, b: Carrier): boolean {
  if (a.kind === 'authorization') return b.kind === 'authorization' && a.scheme === b.scheme
  return b.kind === a.kind && a.name === b.name
}
