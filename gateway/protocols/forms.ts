// Form fields in a request body, for the few of them that decide something (`_method`, `mount`, `from`):
// application/x-www-form-urlencoded (WHATWG URL 5.1) here, multipart/form-data (RFC 7578) in multipart.ts.
// Pure. Upstreams read forms each in their own lenient way, so this reader finds every field that any of
// them might see, and refuses what they might read differently. It must never miss a field.

import { addField, badForm } from './form-field.ts'
import { readMultipart } from './multipart.ts'

type MediaType = { readonly type: string; readonly parameters: ReadonlyMap<string, string> }

/** Charsets whose ASCII bytes are ASCII; in any other (UTF-16, EBCDIC) names would hide. */
const asciiCharsets = new Set(['utf-8', 'utf8', 'us-ascii', 'iso-8859-1', 'windows-1252'])

const mediaTypePattern = /^[ \t]*([!#$%&'*+.^_`|~0-9a-z-]+\/[!#$%&'*+.^_`|~0-9a-z-]+)[ \t]*/i
const parameterPattern =
  /[ \t]*;[ \t]*(?:([!#$%&'+.^_`|~0-9a-z-]+)=(?:"([^"\\]*)"|([!#$%&'*+.^_`|~0-9a-z-]+)))?[ \t]*/iy

/**
 * The fields of a whole form body: every name that some reader would see, with its values in order.
 * Undefined where the Content-Type is no form's; whether a body without one counts as a form is the
 * caller's to say. Throws `bad_request` for a form that is malformed or that readers disagree about. A
 * name occurs also in the spellings of lenient readers (`_method` for `.method`).
 */
export function readFormFields(
  contentType: string | undefined,
  body: Buffer,
): Map<string, string[]> | undefined {
  if (contentType === undefined || !isForm(contentType)) return undefined
  const { type, parameters } = parseMediaType(contentType)
  if (!asciiCharsets.has((parameters.get('charset') ?? 'utf-8').toLowerCase())) {
    throw badForm('its charset is not one that the gateway reads; use utf-8')
  }
  if (type === 'application/x-www-form-urlencoded') return readUrlencoded(body)
  if (type.startsWith('multipart/')) {
    // PHP takes the first `boundary` that stands anywhere in the field, Rack the last.
    if (contentType.split(/boundary/i).length !== 2) throw badForm('it needs one boundary')
    return readMultipart(parameters.get('boundary'), body)
  }
  throw badForm(`the media type ${JSON.stringify(type)} is not one that the gateway reads`)
}

/** Might any reader take a body of this Content-Type for a form? */
export function isForm(contentType: string | undefined): boolean {
  return contentType !== undefined && /multipart|urlencoded/i.test(contentType)
}

/** `&` separates fields; old readers also take `;`, so its pieces count as fields as well. */
function readUrlencoded(body: Buffer): Map<string, string[]> {
  const fields = new Map<string, string[]>()
  for (const pair of body.toString('latin1').split('&')) {
    addPair(fields, pair)
    if (pair.includes(';')) for (const piece of pair.split(';')) addPair(fields, piece)
  }
  return fields
}

function addPair(fields: Map<string, string[]>, pair: string): void {
  if (pair === '') return
  const equals = pair.indexOf('=')
  const name = equals < 0 ? pair : pair.slice(0, equals)
  refuseMalformedName(name)
  addField(fields, decodeForm(name), equals < 0 ? '' : decodeForm(pair.slice(equals + 1)))
}

/**
 * A malformed escape in a name may become anything (`%u005fmethod`), so it is refused; but a JSON body sent
 * as a form (`curl -d '{"done":"100%"}'`) is harmless: what stands before the escape is in no field's name.
 */
function refuseMalformedName(name: string): void {
  const malformed = name.search(/%(?![0-9a-f]{2})/i)
  if (malformed >= 0 && !/["{}<>]/.test(name.slice(0, malformed))) {
    throw badForm('a field name holds a malformed percent escape')
  }
}

/** Plus and percent decoding of latin1 text to UTF-8; a malformed escape stays as it is. */
function decodeForm(text: string): string {
  const bytes = text
    .replaceAll('+', ' ')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(bytes, 'latin1').toString('utf8')
}

/** Strict (RFC 9110 8.3.1): a repeated, extended (`name*`) or escaped parameter is refused. */
function parseMediaType(contentType: string): MediaType {
  const type = mediaTypePattern.exec(contentType)
  if (type === null) throw badForm('its Content-Type is malformed')
  const parameters = new Map<string, string>()
  parameterPattern.lastIndex = type[0].length
  while (parameterPattern.lastIndex < contentType.length) {
    const parameter = parameterPattern.exec(contentType)
    if (parameter === null) throw badForm('its Content-Type has a malformed parameter')
    const name = parameter[1]?.toLowerCase()
    if (name === undefined) continue
    if (parameters.has(name)) throw badForm(`its Content-Type repeats the parameter ${name}`)
    parameters.set(name, parameter[2] ?? parameter[3] ?? '')
  }
  return { type: (type[1] as string).toLowerCase(), parameters }
}
