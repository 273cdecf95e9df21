// The recorder is what other tests believe about the bytes that reached an upstream: here is why they may.

import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { connect, send } from './raw-client.ts'
import { type Recorder, startRecorder } from './recorder.ts'
import { StrictParser } from './strict-parser.ts'

const get = 'GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n'
const chunked =
  'POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\nT: 1\r\n\r\n'
const sized = 'PUT /s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc'

t.test('Requests are read the same wherever their bytes are cut', async (t) => {
  const stream = Buffer.from(chunked + get + sized)
  const expected = ['POST /c', 'hello!', 'T=1', 'GET /a?b=c', '', '', 'PUT /s', 'abc', '']
  for (let cut = 0; cut <= stream.length; cut++) {
    t.same(readAll([stream.subarray(0, cut), stream.subarray(cut)]), expected, `cut at ${cut}`)
  }
  t.same(readAll([...stream].map((byte) => Buffer.from([byte]))), expected, 'byte by byte')
})

for (const [sentence, bytes] of [
  ['LF without CR ends no line', 'GET / HTTP/1.1\nHost: x\n\n'],
  ['one LF without CR among good lines', 'GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n'],
  ['two lengths', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n'],
  [
    'a length and a coding',
    'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
  ],
  [
    'a coding before chunked',
    'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n',
  ],
  ['a signed length', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\n'],
  ['a line that goes on in the next', 'GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n'],
  ['a space before the colon', 'GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n'],
  ['two Hosts', 'GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n'],
  ['no Host', 'GET / HTTP/1.1\r\n\r\n'],
  ['HTTP/1.0', 'GET / HTTP/1.0\r\nHost: x\r\n\r\n'],
  ['a NUL in a value', 'GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n'],
  ['a chunk extension', chunked.replace('5\r\n', '5;a=b\r\n')],
  ['a chunk that is longer than it says', chunked.replace('5\r\n', '4\r\n')],
] as const) {
  t.test(`A violation: ${sentence}`, async (t) => {
    t.throws(() => readAll([Buffer.from(bytes, 'latin1')]), { name: 'Violation' })
  })
}

t.test('Every request is kept to the byte, and the echo tells its digest', async (t) => {
  const recorder = await start(t)
  const reply = await send(recorder.url, chunked)
  const [request] = recorder.requests
  t.equal(request?.head, chunked.slice(0, chunked.indexOf('\r\n\r\n') + 4))
  t.equal(request?.body.toString(), 'hello!')
  t.same(request?.trailers, ['T', '1'])
  t.match(reply, `"bodySha256":"${createHash('sha256').update('hello!').digest('hex')}"`)
  t.equal(request?.state, 'complete')
})

t.test('A long body is counted and digested, and only its first MiB is kept', async (t) => {
  const recorder = await start(t)
  const body = Buffer.alloc(3 * 1024 * 1024, 'x')
  const head = `PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`
  await send(recorder.url, Buffer.concat([Buffer.from(head), body]))
  const [request] = recorder.requests
  t.equal(request?.bodyBytes, body.length)
  t.equal(request?.bodySha256, createHash('sha256').update(body).digest('hex'))
  t.equal(request?.body.length, 1024 * 1024)
})

t.test('A request that ends early is marked as cut', async (t) => {
  const recorder = await start(t)
  const client = await connect(recorder.url)
  client.write('PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na')
  await recorder.request('half a body', ({ bodyBytes }) => bodyBytes === 1)
  client.close()
  await recorder.request('cut', ({ state }) => state === 'cut')
})

t.test(
  'Bytes behind a request show as a request or as a violation, and the reply stands',
  async (t) => {
    const recorder = await start(t)
    const client = await connect(recorder.url)
    client.write(`${get}SMUGGLED`)
    await client.receive('the reply', (text) => text.startsWith('HTTP/1.1 200 OK'))
    client.write(' x\r\n\r\n')
    await client.receiveAll()
    t.equal(recorder.requests.length, 1)
    t.match(recorder.violations, [/request line: SMUGGLED x/])
  },
)

t.test('Replies are what the script says', async (t) => {
  const recorder = await start(t)
  recorder.respond(() => ({
    interim: [{ status: '103 Early Hints', fields: ['Link', '</a>'] }],
    status: '202 Accepted',
    fields: ['A', '1', 'A', '2'],
    chunks: ['one', 'two'],
    trailers: ['T', 'end'],
  }))
  t.equal(
    await send(recorder.url, get),
    'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n' +
      'HTTP/1.1 202 Accepted\r\nA: 1\r\nA: 2\r\nTransfer-Encoding: chunked\r\n\r\n' +
      '3\r\none\r\n3\r\ntwo\r\n0\r\nT: end\r\n\r\n',
  )
  recorder.respond(() => ({ raw: 'nonsense', ending: 'close' }))
  t.equal(await send(recorder.url, get, { until: 'close' }), 'nonsense')
  recorder.respond(() => ({ body: 'half', ending: 'close' }))
  t.match(await send(recorder.url, get, { until: 'close' }), /Content-Length: 5\r\n\r\nhalf$/)
  recorder.respond(() => ({ chunks: ['half'], ending: 'reset' }))
  const client = await connect(recorder.url)
  client.write(get)
  await client.receiveAll()
  t.equal(client.ending(), 'cut')
})

t.test('A reply at the head comes before the body was sent', async (t) => {
  const recorder = await start(t)
  recorder.respond(() => ({ status: '413 Too Large' }), 'head')
  const head = 'PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n'
  t.match(await send(recorder.url, head), /^HTTP\/1\.1 413/)
})

async function start(t: Test): Promise<Recorder> {
  const recorder = await startRecorder()
  t.teardown(() => recorder.stop())
  return recorder
}

function readAll(pieces: readonly Buffer[]): string[] {
  const seen: string[] = []
  let body = ''
  const parser = new StrictParser({
    head: ({ method, target }) => seen.push(`${method} ${target}`),
    body: (bytes) => {
      body += bytes.toString('latin1')
    },
    end: (trailers) => {
      seen.push(body, trailers.join('='))
      body = ''
    },
  })
  for (const piece of pieces) parser.feed(piece)
  return seen
}
