// Readers and writers for header fields kept as a flat list of names and values, as on the wire
// (RFC 9110 5). Names compare without case. Pure.

import { isNamed } from '../http1/field-lines.ts'
import type { FieldList } from './protocol.ts'

/** All values of a field, in order. `name` in lower case. */
export function fieldValues(fields: FieldList, name: string): string[] {
  const values: string[] = []
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (isNamed(fields[i] as string, name)) values.push(fields[i + 1] as string)
  }
  return values
}

/** The first value of a field; undefined where it does not occur. `name` in lower case. */
export function fieldValue(fields: FieldList, name: string): string | undefined {
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (isNamed(fields[i] as string, name)) return fields[i + 1]
  }
  return undefined
}

/** The fields without those whose lower-case name is in `names`. */
export function withoutFields(fields: FieldList, names: ReadonlySet<string>): string[] {
  const kept: string[] = []
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] as string
    if (!names.has(name.toLowerCase())) kept.push(name, fields[i + 1] as string)
  }
  return kept
}
