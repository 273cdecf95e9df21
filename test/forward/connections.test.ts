// Connections of our own to a server (gateway/forward/connections.ts): what is read belongs to the request that
// it answers, also where the next one is sent while the reply before it ends.

import net, { type AddressInfo } from 'node:net'
import t from 'tap'
import { Connections } from '../../gateway/forward/connections.ts'
import { SentHead, SharedFields } from '../../gateway/forward/sent-head.ts'

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
