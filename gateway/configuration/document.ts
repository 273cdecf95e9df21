// One YAML 1.2 file as a tree of located values, or complaints. Anchors are followed within bounds; tags,
// merge keys, directives, duplicate keys and `__proto__` are refused. Pure, and never throws.

import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseDocument,
  Scalar,
  type YAMLError,
} from 'yaml'
import type { Complain, Located, LocatedEntry, LocatedMap, Place, SourceFile } from './positions.ts'
import { readString } from './scalar.ts'
import type { Environment } from './variables.ts'

/** Aliases that one file may use, those inside of aliased values counted each time. */
const aliasCountMax = 100
const depthMax = 64

type Reading = {
  readonly document: Document
  readonly complain: Complain
  readonly environment: Environment
  readonly placeAt: (offset: number) => Place
  aliasCount: number
}

/** Reads a whole file; undefined where it holds no map that could be looked at. */
export function readDocument(
  text: string,
  file: SourceFile,
  environment: Environment,
  complain: Complain,
): LocatedMap | undefined {
  const lines = new LineCounter()
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset)
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) }
  }
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: true,
    version: '1.2',
    schema: 'core',
    merge: false,
  })
  if (!isWellFormed(document, text, placeAt, complain)) return undefined
  const reading: Reading = { document, complain, environment, placeAt, aliasCount: 0 }
  const root = convert(document.contents, reading, 0, 0)
  if (root.kind === 'map') return root
  if (root.kind !== 'fault') {
    complain(root.place, 'expected a map of keys at the top of the file, such as `version: 1`')
  }
  return undefined
}

/** Duplicate keys leave a document that can be read on; after any other error only that one is told. */
function isWellFormed(
  document: Document,
  text: string,
  placeAt: (offset: number) => Place,
  complain: Complain,
): boolean {
  const yaml = document.directives?.yaml
  if (yaml?.explicit === true || Object.keys(document.directives?.tags ?? {}).length > 1) {
    complain(placeAt(0), '%YAML and %TAG directives are not accepted; remove them')
    return false
  }
  const star = document.warnings.find((warning) => warning.code === 'BAD_ALIAS')
  if (star !== undefined) {
    complain(placeAt(star.pos[0]), "`*` begins a YAML alias; quote it: '*'")
    return false
  }
  for (const error of document.errors) {
    if (error.code !== 'DUPLICATE_KEY') {
      complain(placeAt(error.pos[0]), syntaxMessage(error, text))
      return false
    }
    const key = /^[^\s:,}\]]*/.exec(text.slice(error.pos[0]))?.[0] ?? ''
    complain(
      placeAt(error.pos[0]),
      `the key \`${key}\` stands twice in this map; keep one of the two`,
    )
  }
  return true
}

function syntaxMessage(error: YAMLError, text: string): string {
  const before = text.slice(text.lastIndexOf('\n', error.pos[0] - 1) + 1, error.pos[0])
  const inFlow = /[{[][^\]}]*$/.test(before)
  if (text[error.pos[0]] === '{' && inFlow) {
    return before.endsWith('$')
      ? `quote a variable in flow style, { key: "\${NAME}" }; a number or flag needs a line of its own, key: \${NAME}`
      : 'quote the path in flow style: { path: "/{name}/" }'
  }
  switch (error.code) {
    case 'MULTIPLE_DOCS':
      return 'a second YAML document begins here; write one document a file'
    case 'TAB_AS_INDENT':
      return 'a tab cannot indent YAML; use spaces'
    case 'BLOCK_AS_IMPLICIT_KEY':
      return 'a key begins here inside of another value: check the indentation, or quote a value that has `: ` in it'
    case 'BAD_SCALAR_START':
      return `a plain value cannot begin with \`${text[error.pos[0]]}\`; quote it`
    case 'RESOURCE_EXHAUSTION':
      return `too deeply nested; at most ${depthMax} levels`
    default:
      return `not YAML: ${error.message}`
  }
}

function convert(node: unknown, reading: Reading, depth: number, around: number): Located {
  const offset = offsetOf(node, around)
  const place = reading.placeAt(offset)
  if (depth > depthMax) {
    return fault(reading, place, `too deeply nested; at most ${depthMax} levels`)
  }
  if (isAlias(node)) return followAlias(node, reading, depth, offset)
  if (isNode(node) && node.tag !== undefined) {
    return fault(reading, place, 'YAML tags are not accepted; write the value without its tag')
  }
  if (isMap(node)) return convertMap(node.items, reading, depth, offset)
  if (isSeq(node)) {
    const items = node.items.map((item) => convert(item, reading, depth + 1, offset))
    return { kind: 'list', place, items }
  }
  return isScalar(node)
    ? convertScalar(node, reading, place)
    : { kind: 'scalar', place, value: null }
}

function offsetOf(node: unknown, around: number): number {
  return (isNode(node) ? node.range?.[0] : undefined) ?? around
}

function fault(reading: Reading, place: Place, message: string): Located {
  reading.complain(place, message)
  return { kind: 'fault', place }
}

function followAlias(alias: Alias, reading: Reading, depth: number, offset: number): Located {
  const place = reading.placeAt(offset)
  const target = alias.resolve(reading.document)
  if (target === undefined) {
    const name = `*${alias.source}`
    return fault(reading, place, `\`${name}\` reads as a YAML alias; quote it: '${name}'`)
  }
  reading.aliasCount += 1
  if (reading.aliasCount <= aliasCountMax) return convert(target, reading, depth + 1, offset)
  if (reading.aliasCount === aliasCountMax + 1) {
    reading.complain(place, `too many aliases; at most ${aliasCountMax} in a file`)
  }
  return { kind: 'fault', place }
}

function convertMap(
  pairs: readonly Pair[],
  reading: Reading,
  depth: number,
  offset: number,
): LocatedMap {
  const entries = new Map<string, LocatedEntry>()
  for (const pair of pairs) {
    const keyOffset = offsetOf(pair.key, offset)
    const key = reading.placeAt(keyOffset)
    if (!isScalar(pair.key)) {
      reading.complain(key, 'a key must be a plain word or a quoted string')
      continue
    }
    const name = String(pair.key.source ?? pair.key.value)
    if (name === '__proto__') {
      reading.complain(key, 'the key `__proto__` is not accepted')
    } else if (name === '<<') {
      reading.complain(key, 'merge keys (`<<`) are not accepted; write the keys out')
    } else if (!entries.has(name)) {
      entries.set(name, { key, value: convert(pair.value, reading, depth + 1, keyOffset) })
    }
  }
  return { kind: 'map', place: reading.placeAt(offset), entries }
}

function convertScalar(node: Scalar, reading: Reading, place: Place): Located {
  const written = node.value
  if (typeof written !== 'string') {
    const isPlain = written === null || typeof written === 'number' || typeof written === 'boolean'
    return { kind: 'scalar', place, value: isPlain ? written : String(written) }
  }
  const isPlain = node.type === Scalar.PLAIN
  const { scalar, problems } = readString(written, isPlain, place, reading.environment)
  for (const problem of problems) reading.complain(place, problem)
  return problems.length > 0 ? { kind: 'fault', place } : scalar
}
