// The reader of plain heads (gateway/http1/plain-head.ts): what it takes node:http takes too, with the same
// method, target, fields and length of the body. It may leave more to node:http, never less.

import fc from 'fast-check'
import t from 'tap'
import { FieldBlocks } from '../../gateway/http1/field-blocks.ts'
import { readPlainHead } from '../../gateway/http1/plain-head.ts'
import { search } from '../search.ts'
import { startNodeReader } from './node-reader.ts'
import { requestHeads } from './wire.ts'

const fieldsMax = 100
const blocks = new FieldBlocks()

const node = await startNodeReader()
t.teardown(() => node.stop())

t.test('what it takes node:http takes, with the same meaning', async (t) => {
  let taken = 0
  await search(
    2_000,
    fc.asyncProperty(requestHeads, async (text) => {
      const isOneHead = text.indexOf('\r\n\r\n') === text.length - 4
      const plain = isOneHead ? readPlainHead(text, fieldsMax, blocks) : undefined
      if (plain === undefined) return
      taken++
      const { method, target } = plain
      const { fields, closes, length = 0, isChunked } = plain.block
      const body = 'x'.repeat(isChunked ? 3 : length)
      const mine = { method, target, fields, body, closes }
      const theirs = await node.read(text + (isChunked ? `3\r\n${body}\r\n0\r\n\r\n` : body))
      if (JSON.stringify(theirs) === JSON.stringify(mine)) return
      throw new Error(`${JSON.stringify(mine)}, but node:http ${JSON.stringify(theirs)}`)
    }),
  )
  t.ok(taken > 200, `${taken} were taken`)
})

t.test('a usual request is plain', (t) => {
  const text =
    'GET /api/devices/7?full=1 HTTP/1.1\r\nHost: api.example\r\nUser-Agent: curl/8.5.0\r\n' +
    'Accept: */*\r\nOSF-TOKEN: sgt_x\r\nConnection: keep-alive\r\n\r\n'
  t.match(readPlainHead(text, fieldsMax, blocks), {
    method: 'GET',
    target: '/api/devices/7?full=1',
    block: { closes: false, length: undefined },
  })
  t.end()
})

t.test('so is one with a body of a known length', (t) => {
  for (const [sent, length] of [
    ['7', 7],
    ['0', 0],
    [' 123456789012345\t', 123_456_789_012_345],
  ] as const) {
    const text = `PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length:${sent}\r\n\r\n`
    t.match(readPlainHead(text, fieldsMax, blocks), { method: 'PUT', block: { length } })
  }
  t.end()
})

t.test('and one in chunks', (t) => {
  const text = 'PATCH /a HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\n\r\n'
  t.match(readPlainHead(text, fieldsMax, blocks), { block: { length: undefined, isChunked: true } })
  t.end()
})

for (const [sentence, text] of [
  ['no body is expected', 'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n'],
  ['a length has a zero first', 'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\n'],
  ['a length has a sign', 'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n'],
  ['a length is not safe', `PUT / HTTP/1.1\r\nContent-Length: 1${'0'.repeat(15)}\r\n\r\n`],
  [
    'there are two lengths',
    'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n',
  ],
  [
    'a length has a coding beside it',
    'PUT / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n',
  ],
  ['a body follows', 'DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'],
  ['there is a coding before it', 'PUT / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n'],
  [
    'there are two codings',
    'PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n',
  ],
  [
    'it waits for a 100 without a body',
    'GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n',
  ],
  ['it expects something else', 'PUT / HTTP/1.1\r\nContent-Length: 1\r\nExpect: a\r\n\r\n'],
  ['it asks for another protocol', 'GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n'],
  ['Connection names a field', 'GET / HTTP/1.1\r\nHost: a\r\nConnection: x-a\r\n\r\n'],
  ['the method is an unusual one', 'PURGE / HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['HTTP/1.0', 'GET / HTTP/1.0\r\nHost: a\r\n\r\n'],
  ['the target is absolute', 'GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n'],
  ['there are too many fields', `GET / HTTP/1.1\r\n${'A: b\r\n'.repeat(101)}\r\n`],
] as const) {
  t.test(`it is left to node:http where ${sentence}`, (t) => {
    t.equal(readPlainHead(text, fieldsMax, blocks), undefined)
    t.end()
  })
}
