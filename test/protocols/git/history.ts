// Histories for tests, and packs of them in every order and shape: whole commits, deltas by offset and by
// id, on bases before or behind them, among objects that only look like commits.

import fc from 'fast-check'
import type { ObjectFormat } from '../../../gateway/protocols/git/capabilities.ts'
import {
  commitText,
  deltaBetween,
  type GitObject,
  insertAll,
  makeObject,
  PackWriter,
  streams,
} from './pack-writer.ts'

export type History = {
  readonly format: ObjectFormat
  /** Parents stand before their children. */
  readonly commits: readonly (GitObject & { readonly parents: readonly string[] })[]
  /** Ids of the first commits' parents that are in no pack. */
  readonly outside: readonly string[]
}

type Sketch = { readonly back: readonly number[]; readonly message: string; readonly times: number }

const outsiders = 3

/** Histories of up to thirty commits with up to three parents each; the last is the newest. */
export function histories(options: { outside: boolean }): fc.Arbitrary<History> {
  const sketch: fc.Arbitrary<Sketch> = fc.record({
    back: fc.array(fc.oneof(fc.nat(3), fc.nat(40)), { maxLength: 3 }),
    message: fc.string({ maxLength: 20 }),
    times: fc.constantFrom(0, 1, 3, 60),
  })
  return fc
    .record({
      sketches: fc.array(sketch, { minLength: 1, maxLength: 30, size: 'max' }),
      format: fc.constantFrom('sha1' as const, 'sha1' as const, 'sha256' as const),
    })
    .map(({ sketches, format }) => draw(sketches, format, options.outside))
}

function draw(sketches: readonly Sketch[], format: ObjectFormat, hasOutside: boolean): History {
  const tree = makeObject('tree', '', format).id
  const outside = Array.from({ length: hasOutside ? outsiders : 0 }, (_, i) =>
    makeObject('commit', commitText({ tree, message: `outside ${i}` }), format),
  ).map(({ id }) => id)
  const commits: History['commits'][number][] = []
  for (const [index, { back, message, times }] of sketches.entries()) {
    const parents = back.flatMap(
      (by) => commits[index - 1 - by]?.id ?? outside[by % outsiders] ?? [],
    )
    const text = `${index}\n${message.repeat(times)}`
    const content = commitText({ tree, parents: [...new Set(parents)], message: text })
    commits.push({ ...makeObject('commit', content, format), parents: [...new Set(parents)] })
  }
  return { format, commits, outside }
}

/** What can be reached from an id, the id included. */
export function reachable(from: string, { commits }: Pick<History, 'commits'>): Set<string> {
  const parents = new Map(commits.map((commit) => [commit.id, commit.parents]))
  const found = new Set([from])
  for (const id of found) for (const parent of parents.get(id) ?? []) found.add(parent)
  return found
}

export type Shaping = {
  readonly as:
    | 'whole'
    | 'ofs-delta'
    | 'ref-delta'
    | 'ref-delta before its base'
    | 'absent'
    | 'twice'
  /** Which commit is the base. */
  readonly base: number
  readonly delta: 'copies' | 'inserts'
  /** What stands before it. */
  readonly noise:
    | 'none'
    | 'blob'
    | 'commit as blob'
    | 'commit as tag'
    | 'delta of a blob'
    | 'broken delta'
  readonly stream: 'fast' | 'stored' | 'empty blocks'
}

/** As git writes commits: bases first, deltas in the pack, the objects that are no commits behind them. */
export const tidy: fc.Arbitrary<Shaping> = shaping(['whole', 'ofs-delta', 'ref-delta'], ['none'])
/** Any way. */
export const wild: fc.Arbitrary<Shaping> = shaping(
  ['whole', 'whole', 'ofs-delta', 'ref-delta', 'ref-delta before its base', 'absent', 'twice'],
  ['none', 'none', 'blob', 'commit as blob', 'commit as tag', 'delta of a blob', 'broken delta'],
)

function shaping(
  as: readonly Shaping['as'][],
  noise: readonly Shaping['noise'][],
): fc.Arbitrary<Shaping> {
  return fc.record({
    as: fc.constantFrom(...as),
    base: fc.nat(),
    delta: fc.constantFrom('copies' as const, 'inserts' as const),
    noise: fc.constantFrom(...noise),
    stream: fc.constantFrom('fast' as const, 'stored' as const, 'empty blocks' as const),
  })
}

/** The commits of the history in this order (indexes) and shape. */
export function writeHistory(
  { commits, format }: History,
  order: readonly number[],
  shapings: readonly Shaping[],
): Buffer {
  const pack = new PackWriter({ format })
  const offsets = new Map<string, number>()
  for (const [place, index] of order.entries()) {
    const commit = commits[index]!
    const shaping = shapings[place % shapings.length]!
    const base = findBase(commits, order, place, shaping)
    writeNoise(pack, commit, shaping)
    const delta = base === undefined ? undefined : deltaOn(base, commit, shaping)
    const at = base === undefined ? undefined : offsets.get(base.id)
    if (shaping.as === 'absent') continue
    offsets.set(commit.id, writeCommit(pack, commit, shaping, { base, at, delta }))
    if (shaping.as === 'twice') pack.object(commit)
  }
  return pack.finish()
}

function findBase(
  commits: History['commits'],
  order: readonly number[],
  place: number,
  { as, base }: Shaping,
): GitObject | undefined {
  const isLater = as === 'ref-delta before its base'
  const candidates = isLater ? order.slice(place + 1) : order.slice(0, place)
  return commits[candidates[base % Math.max(candidates.length, 1)] ?? -1]
}

function deltaOn(base: GitObject, commit: GitObject, { delta }: Shaping): Buffer {
  return delta === 'copies'
    ? deltaBetween(base.content, commit.content)
    : insertAll(base.content.length, commit.content)
}

function writeCommit(
  pack: PackWriter,
  commit: GitObject,
  { as, stream }: Shaping,
  on: { base: GitObject | undefined; at: number | undefined; delta: Buffer | undefined },
): number {
  const shape = (content: Buffer): { stream: Buffer } => ({ stream: writeStream(content, stream) })
  const { base, at, delta } = on
  if (delta !== undefined && base !== undefined) {
    if (as === 'ofs-delta' && at !== undefined) return pack.ofsDelta(at, delta, shape(delta))
    const isInPack = at !== undefined || as === 'ref-delta before its base'
    if (as.startsWith('ref-delta') && isInPack) return pack.refDelta(base.id, delta, shape(delta))
  }
  return pack.object(commit, shape(commit.content))
}

function writeStream(content: Buffer, stream: Shaping['stream']): Buffer {
  if (stream === 'stored') return streams.stored(content, 50)
  return stream === 'fast' ? streams.level(content, 1) : streams.emptyBlocks(content, 5)
}

function writeNoise(pack: PackWriter, { content, id }: GitObject, { noise }: Shaping): void {
  if (noise === 'blob') pack.object({ type: 'blob', content: Buffer.from(`parent ${id}\n`) })
  if (noise === 'commit as blob') pack.object({ type: 'blob', content })
  if (noise === 'commit as tag') pack.object({ type: 'tag', content })
  if (noise === 'broken delta') pack.refDelta(id, Buffer.from('no delta'))
  if (noise !== 'delta of a blob') return
  const base = pack.object({ type: 'blob', content: Buffer.from('a blob') })
  pack.ofsDelta(base, insertAll(6, content))
}
