// An upstream for large bodies: `GET …/N` sends N zeros, a POST is counted and answered, `GET …/silence` gets
// no reply. It looks at no byte of a body and keeps none, so that it is never the slow one.

import net from 'node:net'

const blockBytes = 256 * 1024

export type Hose = {
  readonly url: string
  /** Heads read so far. */
  readonly requests: number
  /** Bytes of bodies that were written and that were read, of all connections. */
  readonly sent: number
  readonly received: number
  /** Connections that are open. */
  readonly open: number
  /** Stops, or goes on, reading from every connection. */
  reading(go: boolean): void
  stop(): Promise<void>
}

/** Starts the upstream on a port of the system's choice. */
export async function startHose(): Promise<Hose> {
  const block = Buffer.alloc(blockBytes)
  const sockets = new Set<net.Socket>()
  const count = { requests: 0, sent: 0, received: 0 }
  let paused = false

  const server = net.createServer((socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {})
    let head = ''
    let due = 0
    const take = (bytes: number): void => {
      due -= bytes
      count.received += bytes
      if (due === 0) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    }
    const begin = (bodyBytes: number): void => {
      count.requests++
      due = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0)
      const size = /^GET \S*\/(\d+) /.exec(head)?.[1]
      head = ''
      if (size !== undefined) pour(socket, Number(size))
      if (due > 0) take(bodyBytes)
    }
    socket.on('data', (chunk: Buffer) => {
      if (due > 0) {
        take(chunk.length)
        return
      }
      head += chunk.toString('latin1')
      const end = head.indexOf('\r\n\r\n') + 4
      if (end > 3) begin(head.length - end)
    })
    if (paused) socket.pause()
  })

  function pour(socket: net.Socket, size: number): void {
    let left = size
    const more = (): void => {
      while (left > 0) {
        const bytes = left < blockBytes ? block.subarray(0, left) : block
        left -= bytes.length
        count.sent += bytes.length
        if (!socket.write(bytes)) return
      }
      socket.off('drain', more)
    }
    socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
    socket.on('drain', more)
    more()
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    get requests() {
      return count.requests
    },
    get sent() {
      return count.sent
    },
    get received() {
      return count.received
    },
    get open() {
      return sockets.size
    },
    reading: (go) => {
      paused = !go
      for (const socket of sockets) go ? socket.resume() : socket.pause()
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
