// Deltas put together (gateway/protocols/git/delta.ts), compared with their definition and with what git
// makes of the same pack.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { applyDelta } from '../../../gateway/protocols/git/delta.ts'
import { mutate, mutations, search } from '../../search.ts'
import { createGitClient } from '../../servers/git-client.ts'
import {
  deltaBetween,
  type Instruction,
  makeObject,
  PackWriter,
  readDelta,
  writeDelta,
  writeInstruction,
  writeSize,
} from './pack-writer.ts'

const client = createGitClient()
t.teardown(() => client.remove())
const bytesMax = 2 ** 20
/** DELTA_SIZE_MIN of git's delta.h. */
const gitDeltaBytesMin = 4

const bytes = fc
  .record({
    text: fc.string({ minLength: 1, maxLength: 50 }),
    times: fc.constantFrom(1, 2, 30, 3_000),
  })
  .map(({ text, times }) => Buffer.from(text.repeat(times)))

/** A base, and a delta of random instructions that fit it. */
const cases = bytes.chain((base) => {
  const copy = fc
    .record({ from: fc.nat(base.length - 1), size: fc.integer({ min: 1, max: 0x10000 }) })
    .map(({ from, size }): Instruction => ({ copy: [from, Math.min(size, base.length - from)] }))
  const insert = bytes.map((insert): Instruction => ({ insert }))
  return fc
    .record({
      instructions: fc.array(fc.oneof(copy, insert), { maxLength: 12 }),
      padding: fc.constantFrom(0, 0, 1, 3),
      padded: fc.boolean(),
    })
    .map(({ instructions, padding, padded }) => {
      const result = Buffer.concat(
        instructions.map((instruction) =>
          'insert' in instruction
            ? instruction.insert
            : base.subarray(instruction.copy[0], instruction.copy[0] + instruction.copy[1]),
        ),
      )
      const delta = Buffer.concat([
        writeSize(BigInt(base.length), padding),
        writeSize(BigInt(result.length), padding),
        ...instructions.map((instruction) => writeInstruction(instruction, padded)),
      ])
      return { base, delta, result }
    })
})

t.test('a delta makes what its instructions say', async () => {
  const property = fc.property(cases, ({ base, delta, result }) => {
    const made = applyDelta(base, delta, bytesMax)
    const expected = result.length > bytesMax ? undefined : result
    if (expected === undefined ? made !== undefined : made?.equals(expected) !== true) {
      throw new Error(`made ${made?.length} bytes, expected ${expected?.length}`)
    }
  })
  await search(400, property)
})

t.test('a delta between two contents makes the one of the other', async () => {
  const property = fc.property(bytes, bytes, mutations, (base, other, changes) => {
    for (const target of [other, mutate(base, changes), Buffer.concat([base, other, base])]) {
      if (target.length > bytesMax) continue
      const made = applyDelta(base, deltaBetween(base, target), bytesMax)
      if (made?.equals(target) !== true) throw new Error('another content')
    }
  })
  await search(200, property)
})

t.test(
  'changed bytes make nothing, or what the delta then says, of its declared size',
  async () => {
    const property = fc.property(cases, mutations, ({ base, delta }, changes) => {
      const changed = mutate(delta, changes)
      const made = applyDelta(base, changed, bytesMax)
      if (made !== undefined && !made.equals(readDelta(base, changed)))
        throw new Error('something else')
    })
    await search(400, property)
  },
)

t.test('where git takes a delta with changed bytes, it makes the same of it', async (t) => {
  const small = cases.filter(({ base, result }) => base.length + result.length < 20_000)
  let taken = 0
  const property = fc.asyncProperty(
    fc.array(fc.tuple(small, fc.oneof(fc.constant([]), mutations)), { minLength: 1, maxLength: 6 }),
    async (all) => {
      for (const [{ base, delta }, changes] of all) {
        const changed = mutate(delta, changes)
        // Shorter ones, which make nothing, git does not look at.
        if (changed.length < gitDeltaBytesMin) continue
        const made = applyDelta(base, changed, bytesMax)
        const pack = new PackWriter()
        pack.ofsDelta(pack.object({ type: 'blob', content: base }), changed)
        const where = `r${++repositories}`
        mkdirSync(join(client.folder, where))
        await client.git(where, 'init', '-q', '--bare', '--template=')
        const { code } = await client.run(where, ['index-pack', '--stdin'], {
          input: pack.finish(),
        })
        if ((code === 0) !== (made !== undefined)) {
          throw new Error(`git: ${code}, here: ${made?.length} bytes; ${changed.toString('hex')}`)
        }
        if (made === undefined) continue
        taken++
        await client.git(where, 'cat-file', '-e', makeObject('blob', made).id)
      }
    },
  )
  await search(12, property)
  t.ok(taken > 0, `git took ${taken}`)
})

let repositories = 0

t.test('a delta that does not fit makes nothing', async (t) => {
  const base = Buffer.from('a base of 21 bytes ...')
  const whole: Instruction = { copy: [0, base.length] }
  const rows: readonly (readonly [string, Buffer])[] = [
    ['nothing at all', Buffer.alloc(0)],
    ['sizes without an end', Buffer.alloc(20, 0xff)],
    ['one size', writeSize(BigInt(base.length))],
    ['another size of the base', writeDelta(base.length + 1, base.length, [whole])],
    [
      'the size of the base plus 2^64',
      writeDelta(2n ** 64n + BigInt(base.length), base.length, [whole]),
    ],
    ['a result shorter than it says', writeDelta(base.length, base.length + 1, [whole])],
    ['a result longer than it says', writeDelta(base.length, base.length - 1, [whole])],
    ['a copy from beyond the base', writeDelta(base.length, 2, [{ copy: [base.length - 1, 2] }])],
    ['a copy from far beyond the base', writeDelta(base.length, 2, [{ copy: [2 ** 32 - 1, 2] }])],
    [
      'the instruction that is reserved',
      Buffer.concat([writeDelta(base.length, 0, []), Buffer.alloc(1)]),
    ],
    [
      'an insert that ends early',
      writeDelta(base.length, 5, [{ insert: base.subarray(0, 5) }]).subarray(0, -1),
    ],
    ['a copy that ends early', writeDelta(base.length, 5, [{ copy: [3, 5] }]).subarray(0, -1)],
    [
      'more than the bound, which is not even made room for',
      writeDelta(base.length, 2 ** 40, [whole]),
    ],
  ]
  for (const [sentence, delta] of rows)
    t.equal(applyDelta(base, delta, bytesMax), undefined, sentence)
  t.equal(
    applyDelta(base, writeDelta(base.length, base.length, [whole]), base.length - 1),
    undefined,
  )
  t.same(
    applyDelta(base, writeDelta(base.length, 0, []), bytesMax),
    Buffer.alloc(0),
    'nothing is a result',
  )
})
