// The buffer that accepted sockets share (gateway/listener/shared-read.ts), on the Node that the project brings.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net, { type AddressInfo, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import {
  canShareReads,
  sharedBuffer,
  shareReads,
  unshareReads,
} from '../../gateway/listener/shared-read.ts'
import { until } from '../servers/ready.ts'

async function pair(t: Test): Promise<{ client: Socket; accepted: Socket }> {
  const server = net.createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [accepted] = (await once(server, 'connection')) as [Socket]
  t.teardown(() => {
    client.destroy()
    accepted.destroy()
    server.close()
  })
  return { client, accepted }
}

/** Reads on into the same buffer. */
const keep = (): undefined => undefined

t.test('this Node can', (t) => {
  t.ok(canShareReads, 'else every plain request costs a buffer more')
  t.end()
})

t.test('what comes is told, in order, and not while it is paused', async (t) => {
  const { client, accepted } = await pair(t)
  let text = ''
  t.ok(
    shareReads(
      accepted,
      (bytes) => {
        text += sharedBuffer.toString('latin1', 0, bytes)
        return true
      },
      keep,
    ),
  )
  client.write('one')
  await until('the first', () => text === 'one' || undefined)
  accepted.pause()
  client.write('two')
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.equal(text, 'one')
  accepted.resume()
  await until('the second', () => text === 'onetwo' || undefined)
  client.end()
  await once(accepted, 'end')
})

t.test('from the next read on another buffer is used, where one is given', async (t) => {
  const { client, accepted } = await pair(t)
  const own = Buffer.alloc(8)
  const buffers = [own, undefined, sharedBuffer]
  const seen: [Buffer, string][] = []
  shareReads(
    accepted,
    (bytes, buffer) => {
      seen.push([buffer, buffer.toString('latin1', 0, bytes)])
      return true
    },
    () => buffers.shift(),
  )
  for (const [number, text] of ['one', 'two', 'three', 'four'].entries()) {
    client.write(text)
    await until(text, () => seen.length === number + 1 || undefined)
  }
  const expected = [
    [sharedBuffer, 'one'],
    [own, 'two'],
    [own, 'three'],
    [sharedBuffer, 'four'],
  ] as const
  for (const [i, [buffer, text]] of expected.entries()) {
    t.ok(seen[i]?.[0] === buffer && seen[i]?.[1] === text, text)
  }
})

t.test('a socket that is a stream again has all of the rest, at its own pace', async (t) => {
  const { client, accepted } = await pair(t)
  const body = randomBytes(8 * 2 ** 20)
  let first = Buffer.alloc(0)
  shareReads(
    accepted,
    (bytes) => {
      first = Buffer.from(sharedBuffer.subarray(0, bytes))
      unshareReads(accepted)
      return true
    },
    keep,
  )
  client.end(body)
  await until('the first part', () => first.length > 0 || undefined)
  const parts = [first]
  for await (const part of accepted) {
    parts.push(part)
    await new Promise((resolve) => setImmediate(resolve))
  }
  t.ok(Buffer.concat(parts).equals(body))
})

t.test('a stream that is paused again sees its end', async (t) => {
  const { client, accepted } = await pair(t)
  shareReads(accepted, () => true, keep)
  unshareReads(accepted)
  accepted.resume()
  accepted.pause()
  client.end()
  await until('the end', () => accepted.readableEnded || accepted.readable === false || undefined)
})
