// The packs that tests write, judged by git: what is meant well is taken, and what is meant ill is not.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { ObjectFormat } from '../../../gateway/protocols/git/capabilities.ts'
import { createGitClient } from '../../servers/git-client.ts'
import {
  commitText,
  deltaBetween,
  insertAll,
  makeObject,
  PackWriter,
  packOf,
  readDelta,
  streams,
  treeContent,
  writeDelta,
  writeEntryHead,
  writeInstruction,
  writeOffset,
  writeSize,
} from './pack-writer.ts'

const client = createGitClient()
t.teardown(() => client.remove())
let repositories = 0

async function repository(format: ObjectFormat = 'sha1'): Promise<string> {
  const name = `r${++repositories}`
  mkdirSync(join(client.folder, name))
  await client.git(name, 'init', '-q', '--bare', `--object-format=${format}`)
  return name
}

const readers = [
  ['index-pack', '--strict', '--stdin', '--fix-thin'],
  ['unpack-objects', '-q', '--strict'],
] as const

/** Gives the pack to both of git's readers in repositories of their own; then asks for the objects. */
async function accepts(t: Test, pack: Buffer, ids: readonly string[], format: ObjectFormat) {
  for (const args of readers) {
    const where = await repository(format)
    const { code, stderr } = await client.run(where, args, { input: pack })
    t.equal(code, 0, `${args[0]} takes it ${stderr}`)
    for (const id of ids) await client.git(where, 'cat-file', '-e', id)
    t.equal(await client.git(where, 'fsck', '--strict', '--no-dangling'), '')
  }
}

for (const format of ['sha1', 'sha256'] as const) {
  t.test(`git takes what is written with ${format}: objects, deltas, streams`, async (t) => {
    const blob = makeObject(
      'blob',
      'some text that is long enough to be copied\n'.repeat(40),
      format,
    )
    const tree = makeObject('tree', treeContent([{ name: 'file', id: blob.id }]), format)
    const root = makeObject('commit', commitText({ tree: tree.id }), format)
    const child = makeObject('commit', commitText({ tree: tree.id, parents: [root.id] }), format)
    const tag = makeObject(
      'tag',
      `object ${root.id}\ntype commit\ntag v1\ntagger Ada <ada@example.com> 1700000000 +0000\n\nv1\n`,
      format,
    )
    const objects = [blob, tree, root, child, tag]
    await accepts(
      t,
      packOf(objects, format),
      objects.map(({ id }) => id),
      format,
    )

    const pack = new PackWriter({ format })
    const [first, ...others] = [
      (content: Buffer) => streams.level(content, 9),
      (content: Buffer) => streams.level(content, 0),
      (content: Buffer) => streams.stored(content, 7),
      (content: Buffer) => streams.emptyBlocks(content, 50),
      (content: Buffer) => streams.flushed(content, 3),
      (content: Buffer) => streams.smallWindow(content),
    ].map((write, i) => {
      const object = makeObject('blob', Buffer.concat([blob.content, Buffer.from(`${i}`)]), format)
      const at = pack.object(object, { stream: write(object.content) })
      return { ...object, at }
    })
    const target = makeObject(
      'blob',
      Buffer.concat([first!.content.subarray(99), blob.content]),
      format,
    )
    const delta = deltaBetween(first!.content, target.content)
    t.ok(delta.length < 100, 'the delta copies')
    pack.ofsDelta(first!.at, delta)
    t.same(readDelta(first!.content, delta), target.content)
    pack.refDelta(target.id, insertAll(target.content.length, child.content.subarray(1)))
    const padded = Buffer.concat([
      writeSize(BigInt(target.content.length)),
      writeSize(3n),
      writeInstruction({ copy: [1, 3] }, true),
    ])
    pack.refDelta(target.id, padded)
    await accepts(
      t,
      pack.finish(),
      [first!, target, ...others].map(({ id }) => id),
      format,
    )
  })
}

t.test('a chain of deltas through far offsets and a copy of 64 KiB is read as meant', async (t) => {
  const pack = new PackWriter()
  const base = makeObject('blob', Buffer.alloc(0x10000 + 5, 'abcdefg'))
  const at = pack.object(base)
  for (let i = 0; i < 300; i++)
    pack.object(makeObject('blob', `${i} ${'x'.repeat(i)}`), {
      stream: streams.stored(Buffer.from(`${i} ${'x'.repeat(i)}`)),
    })
  const whole = writeDelta(base.content.length, 0x10000, [{ copy: [5, 0x10000] }])
  const second = pack.ofsDelta(at, whole)
  pack.ofsDelta(second, writeDelta(0x10000, 2, [{ copy: [0xfffe, 2] }]))
  const ids = [makeObject('blob', base.content.subarray(5)), makeObject('blob', 'fg')]
  await accepts(
    t,
    pack.finish(),
    ids.map(({ id }) => id),
    'sha1',
  )
})

t.test('numbers are written as git writes them', async (t) => {
  t.equal(writeEntryHead(1, 15n).toString('hex'), '1f')
  t.equal(writeEntryHead(3, 16n).toString('hex'), 'b001')
  t.equal(writeEntryHead(3, 2n ** 64n - 1n).length, 10)
  t.equal(writeEntryHead(3, 1n, 2).toString('hex'), 'b18000')
  t.equal(writeSize(300n).toString('hex'), 'ac02')
  t.equal(writeOffset(127n).toString('hex'), '7f')
  t.equal(writeOffset(128n).toString('hex'), '8000')
  t.equal(writeOffset(16_511n).toString('hex'), 'ff7f')
  t.equal(writeOffset(16_512n).toString('hex'), '808000')
})

t.test('git refuses what is meant to be wrong', async (t) => {
  const blob = makeObject('blob', 'a blob\n')
  const { content } = blob
  const entry = (stream: Buffer): Buffer => {
    const pack = new PackWriter()
    pack.object(blob, { stream })
    return pack.finish()
  }
  const rows: readonly (readonly [string, Buffer])[] = [
    ['a wrong checksum of a stream', entry(streams.wrongAdler(content))],
    ['a stream without its checksum', entry(streams.noAdler(content))],
    ['a stream that needs a dictionary', entry(streams.dictionary(content))],
    ['deflate without zlib around it', entry(streams.raw(content))],
    ['gzip', entry(streams.gzip(content))],
    ['a block of no type', entry(streams.badBlock())],
    ['a wrong trailer', new PackWriter().finish(Buffer.alloc(20))],
    ['another version', new PackWriter({ version: 4 }).finish()],
    ['another signature', new PackWriter({ signature: 'PUCK' }).finish()],
    ['a count that is too high', new PackWriter({ count: 1 }).finish()],
  ]
  for (const [sentence, pack] of rows) {
    for (const args of readers) {
      const { code } = await client.run(await repository(), args, { input: pack })
      t.not(code, 0, `${args[0]}: ${sentence}`)
    }
  }
})
