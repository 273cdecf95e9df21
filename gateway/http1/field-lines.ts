// Field lines as bytes on the wire (RFC 9112 5), one character a byte: read to the letter or refused. No
// folded lines, no bare CR or LF, no space before the colon, no control characters. Pure.

import { partOf } from '../one-piece.ts'

/** Thrown for bytes that are not HTTP/1.1; what to answer is the caller's business. */
export class WireError extends Error {
  override readonly name = 'WireError'
}

/** What ends a head, or trailers. */
export const headEnd = '\r\n\r\n'

const tab = 0x09
const lineFeed = 0x0a
const carriageReturn = 0x0d
const space = 0x20
const colon = 0x3a
const firstLetter = 0x61
const lastLetter = 0x7a
/** From an upper-case letter. */
const toLower = 0x20

/** RFC 9110 5.6.2. */
const isToken = tableOf(/[!#$%&'*+\-.^_`|~0-9A-Za-z]/)
/** RFC 9110 5.5, with the spaces between them. */
const isValue = tableOf(/[\t\x20-\x7e\x80-\xff]/)

const nothing: readonly string[] = []

/**
 * The fields from `start` to `end`, as names and values in turn; the CRLF of the last line stands before the
 * end. `before`: the fields of an earlier head, whose names are taken where they stand at the same place: a
 * name that is an old string is looked up faster than a new one. Throws WireError.
 */
export function readFieldLines(
  text: string,
  start: number,
  end: number = text.length,
  before: readonly string[] = nothing,
): string[] {
  const fields: string[] = []
  let at = start
  while (at < end) {
    const known = before[fields.length]
    let name = known !== undefined && text.startsWith(known, at) ? known : ''
    if (name === '' || codeAt(text, at + name.length) !== colon) {
      const nameEnd = skip(text, at, isToken)
      if (nameEnd === at || codeAt(text, nameEnd) !== colon) {
        throw new WireError('a field line has no name with a colon behind it')
      }
      // It may become the name of a later head, and the rest of this one holds secrets.
      name = partOf(text, at, nameEnd)
    }
    let from = at + name.length + 1
    while (isBlank(codeAt(text, from))) from++
    const lineEnd = skip(text, from, isValue)
    if (!isLineEnd(text, lineEnd)) throw new WireError('a field line holds a control character')
    let to = lineEnd
    while (to > from && isBlank(codeAt(text, to - 1))) to--
    fields.push(name, text.slice(from, to))
    at = lineEnd + 2
  }
  return fields
}

const { charCodeAt } = String.prototype

/** As text.charCodeAt(at), which V8 would look up for each sign: the texts here are of too many kinds to it. */
export function codeAt(text: string, at: number): number {
  return charCodeAt.call(text, at)
}

/** Is it the field of this name, which is given in lower case (RFC 9110 5.1)? */
export function isNamed(field: string, lower: string): boolean {
  const { length } = lower
  if (field.length !== length) return false
  for (let at = 0; at < length; at++) {
    const code = codeAt(lower, at)
    const found = codeAt(field, at)
    if (found !== code && (found !== code - toLower || code < firstLetter || code > lastLetter)) {
      return false
    }
  }
  return true
}

/** Where what a field value may hold ends. */
export function skipValue(text: string, at: number): number {
  return skip(text, at, isValue)
}

export function isLineEnd(text: string, at: number): boolean {
  return codeAt(text, at) === carriageReturn && codeAt(text, at + 1) === lineFeed
}

/** What is pending with more bytes behind it. Throws WireError where that is too long and has no end of a head. */
export function joinPending(pending: Buffer | undefined, fresh: Buffer, bytesMax: number): Buffer {
  const all = Buffer.concat(pending === undefined ? [fresh] : [pending, fresh])
  // A body may follow in the same read: it is not counted where the head's end is found.
  if (all.length > bytesMax && all.subarray(0, bytesMax + 4).indexOf(headEnd, 0, 'latin1') < 0) {
    throw new WireError(`a head or line is longer than ${bytesMax} bytes`)
  }
  return all
}

/** One that ends no line here, and may end one to others. */
export function hasBareFeed(text: string): boolean {
  return /(?:^|[^\r])\n/.test(text)
}

function skip(text: string, at: number, table: Uint8Array): number {
  let end = at
  // Beyond the text the code is NaN, which is in no table.
  while (table[codeAt(text, end)] === 1) end++
  return end
}

function isBlank(code: number): boolean {
  return code === space || code === tab
}

function tableOf(pattern: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, code) =>
    pattern.test(String.fromCharCode(code)) ? 1 : 0,
  )
}
