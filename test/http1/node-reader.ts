// What node:http makes of a request's bytes: the well-kept parser that our own readers are held against.

import http from 'node:http'
import net, { type AddressInfo } from 'node:net'

export type ReadByNode = {
  readonly method: string
  readonly target: string
  readonly fields: readonly string[]
  /** One character a byte. */
  readonly body: string
  /** The connection ends with the reply. */
  readonly closes: boolean
}

export type NodeReader = {
  /** The request, when it is whole; undefined: refused. Latin-1, one character a byte. One at a time. */
  read(text: string): Promise<ReadByNode | undefined>
  stop(): void
}

export async function startNodeReader(): Promise<NodeReader> {
  let seen: ReadByNode | undefined
  const server = http.createServer({ requireHostHeader: false }, (req, res) => {
    const { method = '', url: target = '', rawHeaders: fields } = req
    let body = ''
    req.on('data', (part: Buffer) => {
      body += part.toString('latin1')
    })
    req.on('end', () => {
      seen = { method, target, fields, body, closes: !res.shouldKeepAlive }
      res.end('seen')
    })
  })
  server.on('clientError', (_, socket) => socket.destroy())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    async read(text) {
      seen = undefined
      await new Promise<void>((resolve) => {
        const socket = net.connect(port, '127.0.0.1')
        socket.on('connect', () => socket.write(text, 'latin1'))
        socket.on('data', (chunk: Buffer) => {
          // An interim reply, to an expectation, is not the last.
          if (!/^HTTP\/1.1 100 Continue\r\n\r\n$/.test(String(chunk))) socket.destroy()
        })
        socket.on('error', () => {})
        socket.on('close', () => resolve())
      })
      return seen
    },
    stop: () => void server.close().closeAllConnections(),
  }
}
