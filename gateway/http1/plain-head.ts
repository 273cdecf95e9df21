// The head of a plain request (RFC 9112 3, 5): HTTP/1.1, a path, no body, nothing that asks the connection to
// change. It is read to the letter; whatever deviates in a byte is not plain, and left to the well-kept parser,
// which reads or refuses it. So this one decides nothing: what it takes, that one takes with the same meaning
// (the tests compare them). Pure.

import { isLineEnd, readFieldLines, WireError } from './field-lines.ts'

export type PlainHead = {
  readonly method: string
  /** Path and query as received. */
  readonly target: string
  readonly fields: string[]
  /** `Connection: close` was sent. */
  readonly closes: boolean
}

/** They hardly ever have a body; one with a length or a coding is not plain either. */
const plainMethods = ['GET', 'HEAD', 'DELETE', 'OPTIONS'] as const
const version = ' HTTP/1.1'
const slash = 0x2f
const space = 0x20
const firstVisible = 0x21
const lastVisible = 0x7e

/** Reads one whole head, its empty line included. Undefined: not plain. */
export function readPlainHead(text: string, fieldsMax: number): PlainHead | undefined {
  const method = plainMethods.find((one) => text.startsWith(one))
  if (method === undefined || text.charCodeAt(method.length) !== space) return undefined
  const targetAt = method.length + 1
  if (text.charCodeAt(targetAt) !== slash) return undefined
  let targetEnd = targetAt
  while (isVisible(text.charCodeAt(targetEnd))) targetEnd++
  if (!text.startsWith(version, targetEnd)) return undefined
  const lineEnd = targetEnd + version.length
  if (!isLineEnd(text, lineEnd)) return undefined
  const fields = readFields(text, lineEnd + 2)
  if (fields === undefined || fields.length > 2 * fieldsMax) return undefined
  let closes = false
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string
    if (!mayChangeMeaning(name)) continue
    const lower = name.toLowerCase()
    if (lower === 'connection') {
      const value = (fields[i + 1] as string).toLowerCase()
      if (value !== 'close' && value !== 'keep-alive') return undefined
      closes ||= value === 'close'
    } else if (unplain.has(lower)) return undefined
  }
  return { method, target: text.slice(targetAt, targetEnd), fields, closes }
}

const unplain: ReadonlySet<string> = new Set([
  'expect',
  'upgrade',
  'content-length',
  'proxy-connection',
  'transfer-encoding',
])

/** By its length: most names need no closer look. */
function mayChangeMeaning({ length }: string): boolean {
  return length === 6 || length === 7 || length === 10 || length === 14 || length > 15
}

function readFields(text: string, start: number): string[] | undefined {
  try {
    return readFieldLines(text, start, text.length - 2)
  } catch (error) {
    if (error instanceof WireError) return undefined
    throw error
  }
}

function isVisible(code: number): boolean {
  return code >= firstVisible && code <= lastVisible
}
