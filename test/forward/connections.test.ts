// Connections of our own to a server (gateway/forward/connections.ts): what is read belongs to the request that
// it answers, also where the next one is sent while the reply before it ends.

import net, { type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { Connections } from '../../gateway/forward/connections.ts'
import { SentHead, SharedFields } from '../../gateway/forward/sent-head.ts'
import { ClientBody } from '../../gateway/listener/body.ts'
import { until } from '../servers/ready.ts'

const whole = (body: string): string =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`

t.test(
  'bytes behind a reply are never the answer to a request that is sent at its end',
  async (t) => {
    const server = net.createServer((socket) => {
      socket.on('error', () => {})
      socket.on('data', (bytes) => {
        const isFirst = bytes.toString('latin1').startsWith('GET /first ')
        socket.write(isFirst ? whole('first') + whole('forged') : whole('second'))
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => server.close())
    const { port } = server.address() as AddressInfo
    const connections = new Connections({
      host: '127.0.0.1',
      port,
      connectMs: 5_000,
      onConnected: () => {},
    })
    t.teardown(() => connections.destroy())

    const bodies: string[] = []
    await new Promise<void>((resolve, reject) => {
      const ask = (path: string, ended: () => void): void => {
        let body = ''
        connections.dispatch(
          {
            path,
            method: 'GET',
            head: new SentHead(new SharedFields(['Host', 'a']), 'r'),
            body: null,
          },
          {
            onResponseData: (_, chunk) => {
              body += chunk.toString('latin1')
            },
            onResponseEnd: () => {
              bodies.push(body)
              ended()
            },
            onResponseError: (_, error) => reject(error),
          },
        )
      }
      ask('/first', () => ask('/second', resolve))
    })
    t.strictSame(bodies, ['first', 'second'])
  },
)

const part = Buffer.alloc(2 ** 20)

/** Sends so many parts to a server that reads them once all are sent, and answers never. Which was not taken at once? */
async function sendParts(
  t: Test,
  count: number,
): Promise<{ firstHeld: number; error: Promise<Error> }> {
  const sockets: net.Socket[] = []
  const server = net.createServer((socket) => {
    sockets.push(socket.pause().on('error', () => {}))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const options = { host: '127.0.0.1', port, connectMs: 5_000, onConnected: () => {} }
  const connections = new Connections(options)
  t.teardown(() => {
    connections.destroy()
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const source = { start: () => {}, pause: () => {}, resume: () => {} }
  const body = new ClientBody(source, count * part.length)
  const stream = body.rest()
  const head = new SentHead(new SharedFields(['Host', 'a']), 'r')
  head.length = count * part.length
  const failed = Promise.withResolvers<Error>()
  connections.dispatch(
    { path: '/', method: 'PUT', head, body: stream, headersTimeout: 200 },
    { onResponseError: (_, error) => failed.resolve(error) },
  )
  await until('it is sent', () => (stream.direct && stream.readableFlowing) || undefined)
  await new Promise((resolve) => setImmediate(resolve))
  let firstHeld = 0
  while (firstHeld < count && body.take(part, true)) firstHeld += 1
  if (firstHeld === count - 1) {
    body.end()
    for (const socket of sockets) socket.resume()
  }
  return { firstHeld, error: failed.promise }
}

t.test('a server that takes the last part late, and then is silent, is late', async (t) => {
  let count = 64
  for (;;) {
    const { firstHeld, error } = await sendParts(t, count)
    if (firstHeld === count - 1) {
      let late: Error | undefined
      void error.then((said) => (late = said))
      t.match(await until('it is late', () => late, 5_000), { code: 'ETIMEDOUT' })
      return
    }
    count = firstHeld + 1
  }
})
