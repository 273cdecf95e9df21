// Gathered log lines (gateway/telemetry/gathered-lines.ts): nothing is lost, and every piece ends with a line.

import fc from 'fast-check'
import t from 'tap'
import { GatheredLines } from '../../gateway/telemetry/gathered-lines.ts'
import { search } from '../search.ts'
import { until } from '../servers/ready.ts'

const pieceBytesMax = 64

function open(): { lines: GatheredLines; pieces: string[] } {
  const pieces: string[] = []
  const write = (piece: Buffer): unknown => pieces.push(piece.toString('utf8'))
  const lines = new GatheredLines({ write, flushSync() {} }, pieceBytesMax)
  return { lines, pieces }
}

// Each of them listens to the end of the process.
process.setMaxListeners(0)

t.test('pieces are whole lines, and no longer than they may be where no line is', async () => {
  const line = fc.string({ unit: fc.constantFrom('a', 'é', '漢', '😀'), maxLength: 150 })
  await search(
    500,
    fc.asyncProperty(fc.array(line, { maxLength: 20 }), async (texts) => {
      const { lines, pieces } = open()
      const all = texts.map((text) => `${text}\n`)
      for (const one of all) lines.gather(one)
      lines.flush()
      if (pieces.join('') !== all.join('')) throw new Error('a line is lost or changed')
      for (const piece of pieces) {
        if (!piece.endsWith('\n')) throw new Error('a line is torn')
        const isOne = piece.indexOf('\n') === piece.length - 1
        if (!isOne && Buffer.byteLength(piece) > pieceBytesMax) throw new Error('it is too long')
      }
    }),
  )
})

t.test('a line that is waited for takes with it what was gathered', (t) => {
  const { lines, pieces } = open()
  lines.gather('one\n')
  t.strictSame(pieces, [])
  lines.write('two\n')
  t.strictSame(pieces, ['one\ntwo\n'])
  t.end()
})

t.test('what is gathered is written after a moment', async (t) => {
  const { lines, pieces } = open()
  lines.gather('one\n')
  t.strictSame(pieces, [])
  await until('a piece', () => pieces.length > 0 || undefined)
  t.strictSame(pieces, ['one\n'])
})

t.test(
  'what its source has is gathered before anything is written, at the end of the process too',
  async (t) => {
    const { lines, pieces } = open()
    const [atEnd] = process.listeners('exit').slice(-1)
    const late = ['one\n']
    lines.source = () => {
      for (const line of late.splice(0)) lines.gather(line)
    }
    lines.write('two\n')
    t.strictSame(pieces, ['one\ntwo\n'])
    late.push('three\n')
    lines.expect()
    await until('a piece', () => pieces.length > 1 || undefined)
    late.push('four\n')
    lines.expect()
    atEnd?.(0)
    t.strictSame(pieces, ['one\ntwo\n', 'three\n', 'four\n'])
  },
)
