// Methods in disguise: X-HTTP-Method-Override and its kin, and `_method` in the query or in a POST form.
// Some upstreams obey them, so a request is judged as what it may become: refused, or decided and forwarded
// as that method, or (for an upstream that does not honour them) let be, as the route says.

import { GatewayError } from '../../errors.ts'
import { METHODS } from '../../node-http.ts'
import type { Route } from '../../routes/route.ts'
import { fieldValue, fieldValues } from '../fields.ts'
import { addField } from '../form-field.ts'
import { isForm, readFormFields } from '../forms.ts'
import type { FieldList, RequestBody } from '../protocol.ts'
import { readWhole } from '../read-whole.ts'

/** A longer form may hide `_method` behind it. */
export const formBytesMax = 64 * 1024

/** X-HTTP-Method-Override, X-HTTP-Method and X-Method-Override, in any spelling that CGI makes one of. */
const overrideField =
  /^x[^a-z0-9](?:http[^a-z0-9]method(?:[^a-z0-9]override)?|method[^a-z0-9]override)$/i
const queryType = 'application/x-www-form-urlencoded'
const methods = new Set(METHODS)

const remedy = 'the route key methodOverride says what to do: effective, or ignored'

/** The method that the head asks for; `method` itself where it asks for none. Throws `bad_request`. */
export function readHeadOverride(
  route: Route,
  method: string,
  fields: FieldList,
  query: string | undefined,
): string {
  if (route.methodOverride === 'ignored') return method
  const asked: string[] = []
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] as string
    if (isX(name) && overrideField.test(name)) asked.push(fields[i + 1] as string)
  }
  if (query !== undefined) asked.push(...readQueryMethods(query))
  return effectiveMethod(route, method, asked)
}

/** Must the start of the body be read to know the method? A POST without Content-Type counts as a form. */
export function mayOverrideInBody(route: Route, method: string, fields: FieldList): boolean {
  if (route.methodOverride === 'ignored' || method !== 'POST') return false
  const types = fieldValues(fields, 'content-type')
  if (types.length > 1) throw new GatewayError('bad_request', 'Content-Type stands there twice')
  const [type = ''] = types
  return type.trim() === '' || isForm(type)
}

/** Reads a form whole; the method that it asks for, and its bytes to forward. Throws `bad_request`. */
export async function readBodyOverride(
  route: Route,
  method: string,
  fields: FieldList,
  body: RequestBody,
): Promise<{ readonly method: string; readonly bytes: Buffer }> {
  const encoding = fieldValue(fields, 'content-encoding')
  if (encoding !== undefined && encoding.trim().toLowerCase() !== 'identity') {
    throw new GatewayError('bad_request', `a compressed form cannot be looked into; ${remedy}`)
  }
  const bytes = await readWhole(body, formBytesMax)
  if (bytes === undefined) {
    throw new GatewayError(
      'bad_request',
      `a form of more than 64 KiB cannot be looked into; send it with the Content-Type that it has, or ${remedy}`,
    )
  }
  const type = fieldValue(fields, 'content-type')?.trim() || queryType
  const asked = [...(readFormFields(type, bytes)?.get('_method') ?? [])]
  // Only POST is looked into: another method is what the head has asked for.
  if (asked.length > 0 && method !== 'POST') asked.push(method)
  return { method: effectiveMethod(route, method, asked), bytes }
}

/** Most names need no closer look. */
function isX(name: string): boolean {
  return name.startsWith('x') || name.startsWith('X')
}

/** Values of `_method` in a query, in any spelling that an upstream may read so; a query may hold anything else. */
function readQueryMethods(query: string): readonly string[] {
  if (!/method|%/i.test(query)) return []
  const fields = new Map<string, string[]>()
  for (const pair of query.split(/[&;]/)) {
    const [name = '', value = ''] = pair.split('=', 2).map(decodeLeniently)
    if (/method/i.test(name)) addField(fields, name, value)
  }
  return fields.get('_method') ?? []
}

function decodeLeniently(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
}

function effectiveMethod(route: Route, method: string, asked: readonly string[]): string {
  if (asked.length === 0) return method
  if (route.methodOverride === 'refuse') {
    throw new GatewayError('bad_request', `method overrides are refused on this route; ${remedy}`)
  }
  const [first = ''] = asked
  const wanted = first.toUpperCase()
  if (asked.some((other) => other.toUpperCase() !== wanted) || !methods.has(wanted)) {
    throw new GatewayError('bad_request', 'the method override names no method, or more than one')
  }
  // The reply to HEAD has a length and no body, which the client, having sent another method, waits for.
  if (wanted === 'HEAD' && method !== 'HEAD') {
    throw new GatewayError('bad_request', 'a method cannot be overridden to HEAD; send HEAD itself')
  }
  // TRACE stays TRACE, which no route takes.
  return method === 'TRACE' ? method : wanted
}
