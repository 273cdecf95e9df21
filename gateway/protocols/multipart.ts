// The fields of a multipart/form-data body (RFC 7578, RFC 2046 5.1), read strictly: one delimiter, CRLF
// lines, one Content-Disposition a part, no escapes. Pure. Lenient readers find boundaries after bare line
// feeds, or read `filename*` and encoded parts; wherever they could differ, the body is refused. Every
// part counts as a field, also one with a file name.

import { addField, badForm } from './form-field.ts'

/** Characters that every reader takes as part of a boundary, quoted or not (RFC 2046 5.1.1 allows more). */
const boundaryPattern = /^[0-9A-Za-z'+_.=-]{1,70}$/

const fieldLinePattern = /^([!#$%&'*+.^_`|~0-9a-z-]+):[ \t]*(.*)$/i
/** `name="value"`, `name=value` or `name*=charset'language'value`; PHP also takes `'` for a quote. */
const parameter = `([0-9a-z*-]+)=(?:"([^"\\\\]*)"|([^\\s"';,\\\\]+)|[0-9a-z-]+'[0-9a-z-]*'[^\\s"';,\\\\]+)`
const dispositionPattern = new RegExp(`^form-data((?:[ \\t]*;[ \\t]*${parameter})+)[ \\t]*$`, 'i')
const dispositionParameter = new RegExp(parameter, 'gi')

/** The only encodings that leave a part's bytes as they are. */
const plainEncodings = new Set(['7bit', '8bit', 'binary'])

/** The fields by name, as readFormFields gives them. Throws `bad_request` for what readers could read differently. */
export function readMultipart(boundary: string | undefined, body: Buffer): Map<string, string[]> {
  if (boundary === undefined || !boundaryPattern.test(boundary)) {
    throw badForm(
      "its boundary is missing or holds other characters than letters, digits and '+_.=-",
    )
  }
  const fields = new Map<string, string[]>()
  for (const part of splitParts(body.toString('latin1'), `--${boundary}`)) addPart(fields, part)
  return fields
}

/** What stands between the delimiters. Any occurrence of the delimiter out of place is refused. */
function splitParts(body: string, delimiter: string): string[] {
  const [preamble, ...pieces] = body.split(delimiter)
  const epilogue = pieces.pop()
  if (preamble !== '') throw badForm('it does not begin with its boundary')
  if (epilogue !== '--' && epilogue !== '--\r\n') throw badForm('it does not end with its boundary')
  return pieces.map((piece) => {
    if (!piece.startsWith('\r\n') || !piece.endsWith('\r\n') || piece.length < 4) {
      throw badForm('a boundary does not stand on a line of its own, ended by CRLF')
    }
    return piece.slice(2, -2)
  })
}

function addPart(fields: Map<string, string[]>, part: string): void {
  const end = part.indexOf('\r\n\r\n')
  if (end < 0) throw badForm('a part has no end of its head')
  const head = readHead(part.slice(0, end))
  const encoding = head.get('content-transfer-encoding') ?? 'binary'
  if (!plainEncodings.has(encoding.toLowerCase())) throw badForm('a part is encoded')
  if (/multipart/i.test(head.get('content-type') ?? '')) throw badForm('a part has parts itself')
  const name = readName(head.get('content-disposition') ?? '')
  const value = utf8(part.slice(end + 4))
  addField(fields, utf8(name), value)
  const unescaped = name.replace(/%([0-9a-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  if (unescaped !== name) addField(fields, utf8(unescaped), value)
}

/** A part's header fields, names in lower case; a repeated, folded or unfinished one is refused. */
function readHead(head: string): Map<string, string> {
  const fields = new Map<string, string>()
  for (const line of head.split('\r\n')) {
    const field = fieldLinePattern.exec(line)
    const name = field?.[1]?.toLowerCase()
    const value = field?.[2] ?? ''
    if (name === undefined || /[\r\n\0]/.test(value)) throw badForm("a part's head is malformed")
    if (fields.has(name)) throw badForm(`a part repeats the field ${name}`)
    fields.set(name, value.trim())
  }
  return fields
}

/** The `name` of a Content-Disposition; repeated parameters, `name*` and escapes are refused. */
function readName(disposition: string): string {
  const list = dispositionPattern.exec(disposition)?.[1]
  if (list === undefined) {
    throw badForm('a part has no Content-Disposition of the form: form-data; name="…"')
  }
  const parameters = new Map<string, string>()
  for (const [, key = '', quoted, token] of list.matchAll(dispositionParameter)) {
    const name = key.toLowerCase()
    if (parameters.has(name) || /^name\*/.test(name)) {
      throw badForm(`the parameter ${name} of a Content-Disposition is repeated or extended`)
    }
    parameters.set(name, quoted ?? token ?? '')
  }
  const name = parameters.get('name')
  if (name === undefined) throw badForm('a part has no name')
  return name
}

function utf8(latin1: string): string {
  return Buffer.from(latin1, 'latin1').toString('utf8')
}
