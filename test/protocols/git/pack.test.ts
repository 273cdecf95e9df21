// The parser of packs (gateway/protocols/git/pack.ts): what it finds in packs of every shape, at every
// chunk boundary, and in packs with bytes changed, compared with what was written and with what
// git itself takes of a pack. `search.ts` says how far it is searched.

import { mkdirSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { GatewayError } from '../../../gateway/errors.ts'
import { BoundExceeded } from '../../../gateway/protocols/git/bound.ts'
import type { ObjectFormat } from '../../../gateway/protocols/git/capabilities.ts'
import {
  contentBytesMax,
  type EntryKind,
  entriesMax,
  inflatedBytesMax,
  type PackEntry,
  PackParser,
} from '../../../gateway/protocols/git/pack.ts'
import { cut, mutate, mutations, places, search } from '../../search.ts'
import { createGitClient } from '../../servers/git-client.ts'
import { insertAll, makeObject, PackWriter, packOf, streams } from './pack-writer.ts'

const client = createGitClient()
t.teardown(() => client.remove())

type Read = {
  /** Of each entry; `content` where it was wanted and handed out. */
  readonly entries: readonly (PackEntry & { readonly content?: string })[]
  readonly parsed: number
  readonly isWhole: boolean
  /** Why it stopped. */
  readonly refused: string | undefined
}

async function read(
  pieces: readonly Buffer[],
  format: ObjectFormat = 'sha1',
  wants: (entry: PackEntry) => boolean = () => true,
): Promise<Read> {
  const contents = new Map<number, string>()
  const seen: PackEntry[] = []
  const parser = new PackParser(format, {
    wants: (entry) => {
      seen.push(entry)
      return wants(entry)
    },
    take: (entry, content) => {
      if (contents.has(entry.offset)) throw new Error('handed out twice')
      contents.set(entry.offset, content.toString('latin1'))
    },
  })
  let refused: string | undefined
  try {
    for (const piece of pieces) await parser.write(piece)
  } catch (error) {
    const declared =
      error instanceof BoundExceeded ||
      (error instanceof GatewayError && error.code === 'bad_request')
    if (!declared) throw error
    refused = error.message
  }
  const { parsed, isWhole } = parser
  parser.close()
  const entries = seen.map((entry) => {
    const content = contents.get(entry.offset)
    return content === undefined ? entry : { ...entry, content }
  })
  return { entries, parsed, isWhole, refused }
}

/** What must not depend on the pieces: how far a refused pack was read, and in which words, may. */
function outcome({ entries, isWhole, parsed, refused }: Read): Read {
  const words = refused === undefined ? undefined : 'refused'
  return { entries, isWhole, parsed: isWhole ? parsed : 0, refused: words }
}

type Shape = {
  readonly kind: EntryKind
  readonly text: string
  readonly times: number
  readonly stream: (content: Buffer) => Buffer
  readonly back: number
}

const shape: fc.Arbitrary<Shape> = fc.record({
  kind: fc.constantFrom('commit', 'tree', 'blob', 'tag', 'ofs-delta', 'ref-delta'),
  text: fc.string({ maxLength: 60 }),
  times: fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: 0, max: 5 }) },
    { weight: 1, arbitrary: fc.constantFrom(3_000, 40_000) },
  ),
  stream: fc.oneof(
    fc
      .integer({ min: 0, max: 9 })
      .map((level) => (content: Buffer) => streams.level(content, level)),
    fc
      .integer({ min: 9, max: 400 })
      .map((size) => (content: Buffer) => streams.stored(content, size)),
    fc
      .integer({ min: 1, max: 30 })
      .map((count) => (content: Buffer) => streams.emptyBlocks(content, count)),
    fc.constant(streams.smallWindow),
  ),
  back: fc.nat(),
})

type Written = { readonly pack: Buffer; readonly entries: Read['entries'] }

/** The pack of these shapes, and what is to be found in it. */
function write(shapes: readonly Shape[], format: ObjectFormat): Written {
  const pack = new PackWriter({ format })
  const entries: Read['entries'][number][] = []
  for (const { kind, text, times, stream, back } of shapes) {
    const content = Buffer.from(text.repeat(times))
    const options = { stream: stream(content) }
    const found = { size: content.length, content: content.toString('latin1') }
    if (kind === 'ref-delta') {
      const { id } = makeObject('blob', `${back}`, format)
      entries.push({ offset: pack.refDelta(id, content, options), kind, baseId: id, ...found })
    } else if (kind === 'ofs-delta') {
      const base = entries[back % Math.max(entries.length, 1)]
      if (base === undefined) continue
      const offset = pack.ofsDelta(base.offset, content, options)
      entries.push({ offset, kind, baseOffset: base.offset, ...found })
    } else {
      entries.push({ offset: pack.object({ type: kind, content }, options), kind, ...found })
    }
  }
  return { pack: pack.finish(), entries }
}

const format = fc.constantFrom('sha1' as const, 'sha256' as const)
const packs = fc
  .record({ shapes: fc.array(shape, { maxLength: 12 }), format })
  .map(({ shapes, format }) => ({ ...write(shapes, format), format }))

t.test('every entry is found as it was written, and the end, however the pack is cut', async () => {
  const property = fc.asyncProperty(packs, places, async ({ pack, entries, format }, places) => {
    const found = await read(cut(pack, places), format)
    const expected = { entries, parsed: pack.length, isWhole: true, refused: undefined }
    assertSame(found, expected)
  })
  await search(250, property)
})

t.test('a pack is read alike in two pieces at every boundary, and byte by byte', async (t) => {
  const base = makeObject('commit', 'a commit that is the base of a delta')
  const pack = new PackWriter()
  const at = pack.object(base)
  pack.ofsDelta(at, insertAll(base.content.length, Buffer.from('another one')))
  pack.object(makeObject('blob', ''), { padding: 3 })
  pack.object(makeObject('tree', 'x'.repeat(300)), {
    stream: streams.stored(Buffer.alloc(300, 'x'), 50),
  })
  pack.refDelta(base.id, Buffer.alloc(40, 'y'), {
    stream: streams.flushed(Buffer.alloc(40, 'y'), 7),
  })
  pack.object(makeObject('tag', 'z'.repeat(30)), {
    stream: streams.emptyBlocks(Buffer.alloc(30, 'z'), 9),
  })
  const bytes = pack.finish()
  const whole = await read([bytes])
  t.equal(whole.entries.length, 6)
  t.match(whole, { isWhole: true, parsed: bytes.length, refused: undefined })
  for (let end = 0; end <= bytes.length; end++) {
    const pieces = [bytes.subarray(0, end), bytes.subarray(end)]
    assertSame(await read(pieces), whole)
    assertSame(await read([...pieces, Buffer.from('!')]), {
      ...whole,
      refused: 'the push was not understood: bytes follow the end of its pack',
    })
    const short = await read(pieces.slice(0, 1))
    if (short.isWhole !== (end === bytes.length)) throw new Error(`whole at ${end}`)
    if (short.refused !== undefined) throw new Error(`refused at ${end}: ${short.refused}`)
    if (short.parsed > end) throw new Error(`parsed ${short.parsed} of ${end}`)
  }
  assertSame(await read([...bytes].map((byte) => Buffer.from([byte]))), whole)
})

t.test('what is not wanted is not handed out, and what is too long neither', async (t) => {
  const long = Buffer.alloc(contentBytesMax + 1, 'long')
  const most = long.subarray(1)
  const pack = new PackWriter()
  pack.object({ type: 'blob', content: Buffer.from('blob') })
  pack.object({ type: 'commit', content: most })
  pack.object({ type: 'commit', content: long })
  pack.object({ type: 'commit', content: Buffer.from('commit') })
  const found = await read([pack.finish()], 'sha1', ({ kind }) => kind === 'commit')
  t.match(found, { isWhole: true, refused: undefined })
  const contents = found.entries.flatMap(({ content }) => content ?? [])
  t.same(contents, [most.toString('latin1'), 'commit'])
})

t.test(
  'changed bytes never lead to more than a refusal, and are read alike in any pieces',
  async () => {
    const property = fc.asyncProperty(
      packs,
      mutations,
      places,
      async (written, changes, places) => {
        const bytes = mutate(written.pack, changes)
        const whole = await read([bytes], written.format)
        const pieces = await read(cut(bytes, places), written.format)
        if (whole.parsed > bytes.length || pieces.parsed > bytes.length)
          throw new Error('beyond the end')
        // The words may differ.
        assertSame(outcome(pieces), outcome(whole))
      },
    )
    await search(400, property)
  },
)

t.test(
  'where git takes a pack with changed bytes, it ends for git where it ends here',
  async (t) => {
    let taken = 0
    const junk = fc.oneof(fc.constant(0), fc.constantFrom(1, 20, 2_000))
    const place = fc.double({ min: 0, max: 1, noNaN: true })
    const property = fc.asyncProperty(
      packs,
      fc.oneof({ weight: 1, arbitrary: fc.constant([]) }, { weight: 3, arbitrary: mutations }),
      place,
      junk,
      async (written, changes, place, junk) => {
        // The header is kept, and a trailer is put where the pack may now end: else git would refuse all.
        const body = written.pack.subarray(12, -20)
        const head = Buffer.from(written.pack.subarray(0, 12))
        const mutated = mutate(body, changes)
        const entries = written.entries.length
        head.writeUInt32BE(place < 0.8 ? entries : Math.floor(place * entries), 8)
        const ends = await read([Buffer.concat([head, mutated, Buffer.alloc(20)])])
        const end = ends.isWhole ? ends.parsed - 20 : 12 + mutated.length
        const pack = new PackWriter({ count: head.readUInt32BE(8) })
        pack.bytes(mutated.subarray(0, end - 12))
        const bytes = Buffer.concat([
          pack.finish(),
          mutated.subarray(end - 12),
          Buffer.alloc(junk, 'j'),
        ])
        const consumed = await consumedByGit(bytes)
        if (consumed === undefined) return
        taken++
        const found = await read([bytes])
        if (!found.isWhole || found.parsed !== consumed) {
          throw new Error(`git: ${consumed}, here: ${JSON.stringify(found)}`)
        }
      },
    )
    await search(80, property)
    t.ok(taken > 0, `git took ${taken}`)
  },
)

t.test('what git does not write is refused, in a sentence', async (t) => {
  const content = Buffer.from('some content')
  const object = { type: 'blob', content } as const
  const one = (options: Parameters<PackWriter['object']>[1]): Buffer => {
    const pack = new PackWriter()
    pack.object(object, options)
    pack.object(object)
    return pack.finish()
  }
  const kind = (type: number): Buffer => {
    const pack = new PackWriter()
    pack.entry(type, content)
    return pack.finish()
  }
  const between = (base: number): Buffer => {
    const pack = new PackWriter()
    pack.ofsDelta(base, content)
    return pack.finish()
  }
  const rows: readonly (readonly [string, Buffer, RegExp])[] = [
    [
      'version 3',
      new PackWriter({ version: 3 }).finish(),
      /does not begin with PACK and version 2/,
    ],
    [
      'version 1',
      new PackWriter({ version: 1 }).finish(),
      /does not begin with PACK and version 2/,
    ],
    [
      'another signature',
      new PackWriter({ signature: 'pack' }).finish(),
      /does not begin with PACK/,
    ],
    ['more objects than the bound', new PackWriter({ count: entriesMax + 1 }).finish(), /objects/],
    ['2^32-1 objects', new PackWriter({ count: 2 ** 32 - 1 }).finish(), /objects/],
    ['type 0', kind(0), /no known kind/],
    ['type 5', kind(5), /no known kind/],
    ['a delta on itself', between(12), /without a base/],
    ['a delta on what comes before the pack', between(-1), /without a base/],
    ['a delta on what comes far before it', between(-(2 ** 80)), /without a base/],
    ['a size too small', one({ size: 11 }), /longer than it says/],
    ['a size of 0', one({ size: 0 }), /longer than it says/],
    ['a size too large', one({ size: 13 }), /not as long as it says/],
    ['a size far too large', one({ size: 2 ** 40 }), /not as long as it says|GiB inflated/],
    ['more inflated than the bound', one({ size: inflatedBytesMax + 1 }), /GiB inflated/],
    ['a size of 64 bits', one({ size: 2n ** 64n - 1n }), /no possible size/],
    ['a size that is 12 after 64 bits', one({ size: 2n ** 64n + 12n }), /no possible size/],
    ['a wrong checksum', one({ stream: streams.wrongAdler(content) }), /not zlib data/],
    ['no checksum', one({ stream: streams.noAdler(content) }), /not zlib data/],
    ['a dictionary', one({ stream: streams.dictionary(content) }), /not zlib data/],
    ['deflate alone', one({ stream: streams.raw(content) }), /not zlib data/],
    ['gzip', one({ stream: streams.gzip(content) }), /not zlib data/],
    ['a block of no type', one({ stream: streams.badBlock() }), /not zlib data/],
  ]
  for (const [sentence, bytes, words] of rows) {
    const whole = await read([bytes])
    t.match(whole.refused ?? 'not refused', words, sentence)
    t.notOk(whole.isWhole, sentence)
    const slowly = await read([...bytes].map((byte) => Buffer.from([byte])))
    t.notOk(slowly.isWhole, `${sentence}, byte by byte`)
    t.ok(slowly.refused, `${sentence}, byte by byte`)
  }
})

t.test(
  'an entry has as many needless zeros in its size as can be, and no bound is passed by it',
  async (t) => {
    const pack = new PackWriter()
    pack.object({ type: 'blob', content: Buffer.from('content') }, { padding: 10_000 })
    const bytes = pack.finish()
    const found = await read([bytes])
    t.ok(found.isWhole || found.refused !== undefined)
    assertSame(outcome(await read(cut(bytes, [0.1, 0.5]))), outcome(found))
  },
)

t.test('a pack of many small entries is read in little time and memory', async (t) => {
  const one = packOf([makeObject('blob', '')]).subarray(12, -20)
  const count = 200_000
  const pack = new PackWriter({ count })
  pack.bytes(Buffer.alloc(one.length * count, one))
  const before = process.memoryUsage.rss()
  const bytes = pack.finish()
  const found = { taken: 0 }
  const parser = new PackParser('sha1', { wants: () => true, take: () => found.taken++ })
  for (let at = 0; at < bytes.length; at += 65_536)
    await parser.write(bytes.subarray(at, at + 65_536))
  t.ok(parser.isWhole)
  t.equal(found.taken, count)
  const grown = (process.memoryUsage.rss() - before) / 2 ** 20
  t.ok(grown < 150, `${grown.toFixed()} MiB more`)
})

/** Bytes that git takes of the pack; undefined where it refuses it. */
async function consumedByGit(bytes: Buffer): Promise<number | undefined> {
  const where = `r${++repositories}`
  mkdirSync(join(client.folder, where))
  await client.git(where, 'init', '-q', '--bare', '--template=')
  const { code } = await client.run(where, ['index-pack', '--stdin'], { input: bytes })
  if (code !== 0) return undefined
  const folder = join(client.folder, where, 'objects', 'pack')
  const name = readdirSync(folder).find((name) => name.endsWith('.pack'))
  return statSync(join(folder, name ?? '')).size
}

let repositories = 0

function assertSame(found: Read, expected: Read): void {
  if (isDeepStrictEqual(found, expected)) return
  throw new Error(`found ${JSON.stringify(found)}\nexpected ${JSON.stringify(expected)}`)
}
