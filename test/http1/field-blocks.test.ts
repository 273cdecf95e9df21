// The memory of field lines (gateway/http1/field-blocks.ts): bounded, and short.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { blocksMax, type FieldBlock, FieldBlocks } from '../../gateway/http1/field-blocks.ts'

const block = (): FieldBlock => ({
  fields: [],
  closes: false,
  length: undefined,
  isChunked: false,
  expects: false,
  facts: new FieldBlocks().noFacts(),
})

t.test('a block that is used stays, one that is not is forgotten', (t) => {
  const blocks = new FieldBlocks()
  const used = block()
  blocks.keep('used', used)
  blocks.keep('unused', block())
  for (let age = 0; age < 3; age++) {
    blocks.age()
    t.equal(blocks.find('used'), used)
  }
  t.equal(blocks.find('unused'), undefined)
  blocks.age()
  blocks.age()
  t.equal(blocks.find('used'), undefined)
  t.end()
})

t.test('what blocks share is forgotten too, also where one of them stays', (t) => {
  const blocks = new FieldBlocks()
  const facts = blocks.noFacts()
  facts.recent.forwarded = 'of another'
  blocks.keep('used', { ...block(), fields: ['Authorization', 'a secret'] })
  t.strictSame(blocks.lastFields, ['Authorization', 'a secret'])
  blocks.age()
  t.equal(facts.recent.forwarded, undefined)
  t.strictSame(blocks.lastFields, [])
  t.end()
})

t.test('lines are kept alone, without what they were read with', (t) => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const reads = 64
  // A longer text stands beside the heap.
  const readBytes = 2 ** 19
  const lines = (i: number): string => `Host: a-host-with-a-number-${i}\r\n\r\n`
  const read = (i: number): string => {
    const before = `GET /${'x'.repeat(readBytes)} HTTP/1.1\r\n`
    return Buffer.from(before + lines(i))
      .toString('latin1')
      .slice(before.length)
  }
  const blocks = new FieldBlocks()
  for (let i = 0; i < reads; i++) blocks.keep(lines(i), block())
  collect()
  const before = process.memoryUsage().heapUsed
  blocks.age()
  for (let i = 0; i < reads; i++) t.ok(blocks.find(read(i)))
  collect()
  const kept = process.memoryUsage().heapUsed - before
  t.ok(kept < (reads * readBytes) / 4, `they keep ${kept} bytes`)
  t.ok(blocks.find(lines(0)))
  t.end()
})

t.test('made-up blocks fill one generation and no more, and long ones are not kept', (t) => {
  const blocks = new FieldBlocks()
  const kept = (): number =>
    Array.from({ length: 2 * blocksMax }, (_, i) => blocks.find(`${i}`)).filter(Boolean).length
  for (let i = 0; i < 2 * blocksMax; i++) blocks.keep(`${i}`, block())
  t.equal(kept(), blocksMax)
  blocks.age()
  blocks.keep('x'.repeat(2_000), block())
  t.equal(blocks.find('x'.repeat(2_000)), undefined)
  t.end()
})

t.test(
  'blocks that differ in one sign, wherever it stands, are never taken for each other',
  (t) => {
    const written = 'X-Auth-Token: '.padEnd(200, 'abcdefghij')
    for (let at = 0; at < written.length; at++) {
      const other = `${written.slice(0, at)}~${written.slice(at + 1)}`
      const blocks = new FieldBlocks()
      const [one, two] = [block(), block()]
      blocks.keep(written, one)
      t.equal(blocks.find(other), undefined)
      blocks.keep(other, two)
      t.equal(blocks.find(other), two)
      t.ok([one, undefined].includes(blocks.find(written)))
      blocks.age()
      t.equal(blocks.find(other), two)
      t.ok([one, undefined].includes(blocks.find(written)))
    }
    t.end()
  },
)
