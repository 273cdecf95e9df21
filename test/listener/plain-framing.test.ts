// Where bodies of plain requests end (gateway/listener/plain-framing.ts). Chunks that it takes node:http takes too,
// with the same content and end, wherever the network cuts them. It may refuse more, never less.

import fc from 'fast-check'
import t from 'tap'
import { WireError } from '../../gateway/http1/field-lines.ts'
import {
  ChunkedFraming,
  LengthFraming,
  type PlainFraming,
} from '../../gateway/listener/plain-framing.ts'
import { startNodeReader } from '../http1/node-reader.ts'
import { chunkedBodies } from '../http1/wire.ts'
import { cut, places, search } from '../search.ts'

type Read = { readonly content: string; readonly behind: string; readonly isWhole: boolean }

/** Undefined: refused. */
function read(framing: PlainFraming, parts: readonly Buffer[]): Read | undefined {
  let content = ''
  let behind = ''
  try {
    for (const part of parts) {
      if (framing.isWhole) {
        behind += part.toString('latin1')
        continue
      }
      // It may move what is in it.
      const framed = framing.take(Buffer.from(part))
      content += framed.content.toString('latin1')
      behind += framed.behind?.toString('latin1') ?? ''
    }
    return { content, behind, isWhole: framing.isWhole }
  } catch (error) {
    if (error instanceof WireError) return undefined
    throw error
  }
}

const node = await startNodeReader()
t.teardown(() => node.stop())
const head = 'PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'

t.test('chunks that it takes node:http takes, with the same content', async (t) => {
  let taken = 0
  await search(
    2_000,
    fc.asyncProperty(chunkedBodies, async (text) => {
      const mine = read(new ChunkedFraming(), [Buffer.from(text, 'latin1')])
      if (mine?.isWhole !== true) return
      taken++
      const theirs = await node.read(head + text.slice(0, text.length - mine.behind.length))
      if (theirs?.body === mine.content) return
      throw new Error(`${JSON.stringify(mine)}, but node:http ${JSON.stringify(theirs)}`)
    }),
  )
  t.ok(taken > 200, `${taken} were taken`)
})

t.test('chunks mean the same wherever they are cut', async () => {
  await search(
    3_000,
    fc.property(chunkedBodies, places, (text, at) => {
      const bytes = Buffer.from(text, 'latin1')
      const whole = JSON.stringify(read(new ChunkedFraming(), [bytes]))
      return JSON.stringify(read(new ChunkedFraming(), cut(bytes, at))) === whole
    }),
  )
})

t.test('a length ends a body wherever it is cut', async () => {
  await search(
    1_000,
    fc.property(fc.string({ minLength: 1 }), fc.nat(20), places, (text, length, at) => {
      const bytes = Buffer.from(text)
      const parts = cut(bytes, at).filter((part) => part.length > 0)
      const mine = read(new LengthFraming(length), parts)
      const sent = bytes.toString('latin1')
      return (
        mine?.content === sent.slice(0, length) &&
        mine.behind === sent.slice(length) &&
        mine.isWhole === sent.length >= length
      )
    }),
  )
})

for (const [sentence, text] of [
  ['a size that never ends', '5'.repeat(5_000)],
  ['extensions that never end', `5;${'a'.repeat(5_000)}`],
  ['trailers that never end', `0\r\nA: ${'x'.repeat(17_000)}`],
  ['a line of trailers that ends in LF alone', '0\r\nA: b\n'],
  ['a length among the trailers', '0\r\nA: b\r\ncontent-Length: 5\r\n\r\n'],
  ['a CR behind which nothing ends', '0\r\n\rA'],
] as const) {
  t.test(`it refuses ${sentence} before more has come`, (t) => {
    const bytes = Buffer.from(text, 'latin1')
    t.throws(() => new ChunkedFraming().take(bytes), { name: 'WireError' })
    t.end()
  })
}

t.test('what is behind the body is no part of it, however long', (t) => {
  const behind = `GET / HTTP/1.1\r\nX: ${'a'.repeat(20_000)}`
  const framing = new ChunkedFraming()
  const framed = framing.take(Buffer.from(`1\r\na\r\n0\r\n\r\n${behind}`))
  t.equal(String(framed.content), 'a')
  t.equal(String(framed.behind), behind)
  t.end()
})

t.test('the content of a read is one piece of it', (t) => {
  const framing = new ChunkedFraming()
  const bytes = Buffer.from('2\r\nab\r\n1\r\nc\r\n3\r\ndef\r\n5\r\ngh')
  const { content } = framing.take(bytes)
  t.equal(String(content), 'abcdefgh')
  t.equal(content.buffer, bytes.buffer)
  t.equal(content.byteOffset, bytes.byteOffset + 3)
  t.end()
})
