// The client's body (gateway/listener/body.ts), of which parts are lent: they are in a buffer that is read into again.

import t from 'tap'
import { type BodyStream, ClientBody } from '../../gateway/listener/body.ts'

/** A source that writes down what it is told. */
function sourceOf(): { body: ClientBody; lend: (text: string) => boolean; told: string[] } {
  const told: string[] = []
  const source = {
    start: () => {},
    pause: () => void told.push('pause'),
    resume: () => void told.push('resume'),
  }
  const body = new ClientBody(source, 100)
  const buffer = Buffer.alloc(8)
  const lend = (text: string): boolean => body.take(buffer.subarray(0, buffer.write(text)), true)
  return { body, lend, told }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** One whose reader flows, and takes no part at once. */
async function holding(): Promise<ReturnType<typeof sourceOf> & { out: BodyStream }> {
  const all = sourceOf()
  const out = all.body.rest()
  out.direct = () => false
  out.resume()
  await turn()
  return { ...all, out }
}

t.test('what is lent is copied where it has to wait', async (t) => {
  const { body, lend } = sourceOf()
  t.ok(lend('one'), 'nobody has asked for it')
  t.ok(lend('two'))
  t.equal(`${await body.next()} ${await body.next()}`, 'one two')
  const out = body.rest()
  out.direct = () => t.fail('it does not flow yet')
  t.ok(lend('three'))
  t.ok(lend('four'))
  t.equal(`${out.read()} ${out.read()}`, 'three four')
})

t.test('nothing is lent past what waits in the stream', async (t) => {
  const { body, lend } = sourceOf()
  const out = body.rest()
  const seen: string[] = []
  out.on('data', (chunk: Buffer) => {
    seen.push(String(chunk))
    out.pause()
  })
  out.direct = (chunk) => seen.push(`direct ${chunk}`) > 0
  await turn()
  for (const text of ['one', 'two']) t.ok(lend(text))
  t.strictSame(seen, ['direct one', 'direct two'])
  body.take(Buffer.from('three'))
  for (const text of ['four', 'five']) t.ok(lend(text))
  t.strictSame(seen.slice(2), ['three'], 'it is paused')
  out.resume()
  t.ok(lend('six'), 'it flows from the next turn on')
  for (let turns = 0; turns < 5; turns++) {
    out.resume()
    await turn()
  }
  t.equal(seen.slice(2).join('').replaceAll('direct ', ''), 'threefourfivesix')
})

t.test('no more is asked for while a part is in use', async (t) => {
  const { body, lend, told, out } = await holding()
  t.strictSame(told, ['resume'])
  t.notOk(lend('one'))
  t.strictSame(told, ['resume', 'pause'])
  t.notOk(body.due, 'the client is not late')
  out.taken()
  t.strictSame(told, ['resume', 'pause', 'resume'])
  t.ok(body.due)
})

t.test('a part that was in use at the end of the stream asks for nothing', async (t) => {
  const { body, lend, told, out } = await holding()
  lend('one')
  body.end()
  const before = told.length
  out.taken()
  t.equal(told.length, before)
})
