// Two readers of YAML, and one answer: whatever the quick one reads at all, it reads as the whole one does,
// value by value and place by place, and never what that one complains of.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { readDocument } from '../../gateway/configuration/document.ts'
import type { LocatedMap } from '../../gateway/configuration/positions.ts'
import { readSimpleDocument } from '../../gateway/configuration/simple-document.ts'
import { search } from '../search.ts'

const project = join(import.meta.dirname, '../..')
const file = { shown: 'gateway.yaml', path: '/gateway.yaml' }
const environment = { PORT: '8081', EMPTY: '', SPACES: ' 1 ' }

/** What the quick reader made of it, where that is the same; else it throws. */
function compare(text: string): LocatedMap | undefined {
  const simple = readSimpleDocument(text, file, environment)
  if (simple === undefined) return undefined
  const complaints: string[] = []
  const whole = readDocument(text, file, environment, (place, message) => {
    complaints.push(`${place.line}:${place.column}: ${message}`)
  })
  const [first, second] = [simple, { root: whole, complaints }].map(write)
  if (JSON.stringify({ root: JSON.parse(first!), complaints: [] }) !== second) {
    throw new Error(`two answers to ${JSON.stringify(text)}:\n${first}\n${second}`)
  }
  return simple
}

/** Maps as lists of pairs, in their order. */
function write(value: unknown): string {
  return JSON.stringify(value, (_, one) => (one instanceof Map ? [...one] : one))
}

/** A folder's files of YAML, with those of its folders. */
function yamlFiles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => join(folder, name))
}

t.test('the shipped files are read the quick way', async (t) => {
  for (const shipped of yamlFiles(join(project, 'config'))) {
    t.ok(compare(readFileSync(shipped, 'utf8')), shipped)
  }
})

t.test('so is JSON', async (t) => {
  t.ok(compare(JSON.stringify({ version: 1, routes: [{ path: '/a"b\\', allow: { GET: ['x'] } }] })))
})

t.test('of the files with mistakes none is read that earns a complaint of its YAML', async (t) => {
  const texts = yamlFiles(join(project, 'test/fixtures/configuration')).map((name) =>
    readFileSync(name, 'utf8'),
  )
  const read = texts.map(compare).filter((root) => root !== undefined)
  t.ok(read.length > texts.length / 3, `${read.length} of ${texts.length}`)
})

t.test('what is left to the whole reader', async (t) => {
  const rows: [sentence: string, text: string][] = [
    ['an anchor', 'a: &x 1\n'],
    ['an alias', 'a: &x 1\nb: *x\n'],
    ['a tag', 'a: !!str 1\n'],
    ['a merge key', '<<: { a: 1 }\n'],
    ['a directive', '%YAML 1.2\n---\na: 1\n'],
    ['a document marker', '---\na: 1\n'],
    ['two documents', 'a: 1\n---\nb: 1\n'],
    ['the end of a document', 'a: 1\n...\n'],
    ['the end of none', '... # c\na: 1\n'],
    ['nothing', ''],
    ['a list', '- a\n'],
    ['an empty value', 'a:\n'],
    ['a value over two lines', 'a: b\n  c\n'],
    ['a quoted value over two lines', 'a: "b\n  c"\n'],
    ['a block of text', 'a: |\n  b\n'],
    ['a key twice', 'a: 1\na: 2\n'],
    ['a number twice, as a key', '1: a\n0x1: b\n'],
    ['__proto__', '__proto__: {}\n'],
    ['a map as a key', '? { a: 1 }\n: b\n'],
    ['a float that is none', 'a: .inf\n'],
    ['a tab', 'a:\t1\n'],
    ['a carriage return', 'a: 1\r\n'],
    ['a byte order mark', '\ufeffa: 1\n'],
    ['a line separator', 'a: "b\u2028c"\n'],
    ['a variable that is not set', `a: \${NONE}\n`],
    ['a mistake', 'a: b: c\n'],
    ['more levels than it takes', `a: ${'['.repeat(40)}${']'.repeat(40)}\n`],
  ]
  for (const [sentence, text] of rows) {
    t.equal(readSimpleDocument(text, file, environment), undefined, sentence)
  }
})

/** Some need quotes, some are numbers, and some mean something else where they stand first. */
const words = [
  String.raw`|a|b c|GET|source:read-update|http://h:1/|/a/{b}|/{rest...}|a:|a: b|a #b|a#b|it's|it''s|é|日本|\|\n`,
  '|-|- a|?|? a|:|#|*|&a|!a|>|%|@|`|"|{|}|[|]|,|~|null|True|no|1|-1|+1|01|1_000|0x1F|0o17|0b1|1.|.5|1e3|1E+3',
  `|.inf|-.INF|.nan|1:30|2001-01-01|<<|=|---|...|\${PORT}|a\${PORT}|\${EMPTY}|\${SPACES}|\${NONE:-x y}|$$|$`,
].flatMap((line) => line.slice(1).split('|'))
words.push('', '|', "'")

const signs = ' §  §\n§\n  §\n- §: §, §{ § }§[§]§"§\'§\\"§\\x41§ # c\n'.split('§')

/** Pieces of YAML, put together without sense. */
const scraps = fc
  .array(fc.constantFrom(...words, ...signs), { maxLength: 24 })
  .map((parts) => parts.join(''))

/** A document as people write it, now and then with a word that wants quotes and has none. */
const { map: documents } = fc.letrec<{ map: string; value: string }>((tie) => ({
  map: fc
    .array(fc.tuple(scalars(), tie('value'), fc.constantFrom('', ' # c', '\n', '\n# c')), {
      minLength: 1,
      maxLength: 4,
    })
    .map((pairs) => pairs.map(([key, value, end]) => `${key}:${value}${end}\n`).join('')),
  value: fc.oneof(
    { depthSize: 'small' },
    scalars().map((text) => ` ${text}`),
    fc.array(scalars(), { maxLength: 3 }).map((items) => ` [${items.join(', ')}]`),
    fc
      .array(fc.tuple(scalars(), scalars()), { maxLength: 3 })
      .map((pairs) => ` { ${pairs.map((pair) => pair.join(': ')).join(', ')} }`),
    tie('map').map((text) => `\n${indent(text, '  ')}`),
    fc
      .array(tie('map'), { minLength: 1, maxLength: 3 })
      .map(
        (items) => `\n${items.map((item) => `  - ${indent(item, '    ').slice(4)}`).join('\n')}`,
      ),
  ),
}))

function scalars(): fc.Arbitrary<string> {
  const word = fc.constantFrom(...words)
  return fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom('a', 'b', 'c', 'path', 'allow') },
    word,
    word.map((text) => JSON.stringify(text)),
    word.map((text) => `'${text.replaceAll("'", "''")}'`),
  )
}

function indent(text: string, by: string): string {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => (line === '' ? line : by + line))
    .join('\n')
}

for (const [sentence, texts, leastRead] of [
  ['documents as people write them', documents, 0.2],
  ['scraps of YAML', scraps, 0.005],
] as const) {
  t.test(`${sentence}: one answer of both`, async (t) => {
    let [played, read] = [0, 0]
    await search(
      20_000,
      fc.property(texts, (text) => {
        played += 1
        if (compare(text) !== undefined) read += 1
      }),
    )
    t.ok(read > played * leastRead, `${read} of ${played} were read the quick way`)
  })
}
