// The head of a plain request (RFC 9112 3, 5): HTTP/1.1, a path, no body or one of a known length or in chunks,
// nothing that asks the connection to change. It is read to the letter; whatever deviates in a byte is not plain,
// and left to the well-kept parser, which reads or refuses it. So this one decides nothing: what it takes, that one
// takes with the same meaning (the tests compare them). Pure.

import { onePiece } from '../one-piece.ts'
import type { FieldBlock, FieldBlocks } from './field-blocks.ts'
import { codeAt, isLineEnd, readFieldLines, WireError } from './field-lines.ts'

export type PlainHead = {
  readonly method: string
  /** Path and query as received. */
  readonly target: string
  /** All below the request line. */
  readonly block: FieldBlock
}

const plainMethods = ['GET', 'POST', 'PUT', 'PATCH', 'HEAD', 'DELETE', 'OPTIONS'] as const
/** Of the others one with a length or a coding is not plain. */
const methodsWithBody: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH'])
/** Decimal, as it is usually written, and not beyond the integers that are safe. */
const plainLength = /^(?:0|[1-9][0-9]{0,14})$/
const version = ' HTTP/1.1'
const slash = 0x2f
const space = 0x20
const firstVisible = 0x21
const lastVisible = 0x7e

/** Reads one whole head, its empty line included. Undefined: not plain. */
export function readPlainHead(
  text: string,
  fieldsMax: number,
  blocks: FieldBlocks,
): PlainHead | undefined {
  const method = plainMethods.find((one) => text.startsWith(one))
  if (method === undefined || codeAt(text, method.length) !== space) return undefined
  const targetAt = method.length + 1
  if (codeAt(text, targetAt) !== slash) return undefined
  let targetEnd = targetAt
  while (isVisible(codeAt(text, targetEnd))) targetEnd++
  if (!text.startsWith(version, targetEnd)) return undefined
  const lineEnd = targetEnd + version.length
  if (!isLineEnd(text, lineEnd)) return undefined
  const block = readBlock(text.slice(lineEnd + 2), fieldsMax, blocks)
  if (block === undefined) return undefined
  const { length, isChunked, expects } = block
  if ((length !== undefined || isChunked) && !methodsWithBody.has(method)) return undefined
  if (expects && !isChunked && (length ?? 0) === 0) return undefined
  return { method, target: text.slice(targetAt, targetEnd), block }
}

function readBlock(read: string, fieldsMax: number, blocks: FieldBlocks): FieldBlock | undefined {
  const known = blocks.find(read)
  if (known !== undefined) return known
  // What is kept is not to keep the request line, or a body.
  const lines = blocks.hasRoomFor(read) ? onePiece(read) : read
  const fields = readFields(lines, blocks.lastFields)
  if (fields === undefined || fields.length > 2 * fieldsMax) return undefined
  let closes = false
  let length: number | undefined
  let isChunked = false
  let expects = false
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string
    if (!mayChangeMeaning(name)) continue
    const lower = name.toLowerCase()
    if (lower === 'connection') {
      const value = (fields[i + 1] as string).toLowerCase()
      if (value !== 'close' && value !== 'keep-alive') return undefined
      closes ||= value === 'close'
    } else if (lower === 'content-length') {
      const value = fields[i + 1] as string
      if (length !== undefined || !plainLength.test(value)) return undefined
      length = Number(value)
    } else if (lower === 'transfer-encoding') {
      if (isChunked || (fields[i + 1] as string).toLowerCase() !== 'chunked') return undefined
      isChunked = true
    } else if (lower === 'expect') {
      if (expects || (fields[i + 1] as string).toLowerCase() !== '100-continue') return undefined
      expects = true
    } else if (lower === 'upgrade' || lower === 'proxy-connection') return undefined
  }
  if (isChunked && length !== undefined) return undefined
  const block = { fields, closes, length, isChunked, expects, facts: blocks.noFacts() }
  blocks.keep(lines, block)
  return block
}

/** By its length: most names need no closer look. */
function mayChangeMeaning({ length }: string): boolean {
  return length === 6 || length === 7 || length === 10 || length === 14 || length > 15
}

function readFields(lines: string, before: readonly string[]): string[] | undefined {
  try {
    return readFieldLines(lines, 0, lines.length - 2, before)
  } catch (error) {
    if (error instanceof WireError) return undefined
    throw error
  }
}

function isVisible(code: number): boolean {
  return code >= firstVisible && code <= lastVisible
}
