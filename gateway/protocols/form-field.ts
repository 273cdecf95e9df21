// One form field, as the readers of forms.ts and multipart.ts note it: under its name and under every name
// that a lenient upstream would give it. Pure.

import { GatewayError } from '../errors.ts'

/** More names than this in one form are refused. */
const formNamesMax = 4096

/** Adds a field under its name and under every spelling that a lenient reader turns the name into. */
export function addField(fields: Map<string, string[]>, name: string, value: string): void {
  if (name.includes('\0')) throw badForm('a field name holds a NUL')
  for (const spelling of spellings(name)) {
    const values = fields.get(spelling)
    if (values === undefined) fields.set(spelling, [value])
    else values.push(value)
  }
  if (fields.size > formNamesMax) throw badForm(`it has more than ${formNamesMax} field names`)
}

/** The error for a form that cannot be read in one way only. */
export function badForm(why: string): GatewayError {
  return new GatewayError(
    'bad_request',
    `the body counts as a form and cannot be read: ${why}; ` +
      "send a plain form, or a Content-Type that is no form's",
  )
}

/** ASP.NET takes names without case; Rack drops leading brackets and, like PHP, cuts an array's. */
function spellings(name: string): Set<string> {
  const trimmed = name.trim()
  const rack = /[^[\]]+/.exec(trimmed)?.[0] ?? ''
  const spelt = [trimmed, phpName(name), rack]
  return new Set([name, ...spelt, ...spelt.map((spelling) => spelling.toLowerCase())])
}

/** PHP drops leading blanks, turns `.`, blank and an unpaired `[` into `_`, and cuts an array's brackets. */
function phpName(name: string): string {
  const trimmed = name.trimStart()
  const bracket = trimmed.indexOf('[', 1)
  const array = bracket > 0 && trimmed.indexOf(']', bracket) > 0
  return (array ? trimmed.slice(0, bracket) : trimmed).replace(/[.\s[]/g, '_')
}
