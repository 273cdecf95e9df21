// A TCP proxy with faults, for what a network does to the connection between a gateway and a server: bytes
// come late, never, or the connection is reset or half open. It looks at no byte.

import net from 'node:net'

export type Fault =
  /** Bytes pass. */
  | { readonly kind: 'none' }
  /** Every byte comes so much later, in both directions. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** Bytes are read and lost; both sides still have a connection. */
  | { readonly kind: 'drop' }
  /** Open connections stay and are silent, new ones are not accepted by anyone: half-open. */
  | { readonly kind: 'silent' }
  /** Connections, open and new, are reset. */
  | { readonly kind: 'reset' }

export type FaultProxy = {
  readonly port: number
  /** Connections accepted so far. */
  readonly accepted: number
  /** From now on, for open connections too. */
  become(fault: Fault): void
  stop(): Promise<void>
}

/** Starts a proxy to a loopback port. */
export async function startFaultProxy(target: number): Promise<FaultProxy> {
  const sockets = new Set<net.Socket>()
  const timers = new Set<NodeJS.Timeout>()
  let fault: Fault = { kind: 'none' }
  let accepted = 0

  const server = net.createServer({ noDelay: true }, (client) => {
    accepted += 1
    const upstream = net.connect({ port: target, host: '127.0.0.1', noDelay: true })
    join(client, upstream)
    join(upstream, client)
    if (fault.kind === 'reset') client.resetAndDestroy()
    if (fault.kind === 'silent') for (const socket of [client, upstream]) socket.pause()
  })

  function join(from: net.Socket, to: net.Socket): void {
    sockets.add(from)
    from.on('data', (bytes: Buffer) => {
      if (fault.kind === 'drop') return
      if (fault.kind !== 'delay') return void to.write(bytes)
      const timer = setTimeout(() => {
        timers.delete(timer)
        if (!to.destroyed) to.write(bytes)
      }, fault.ms)
      timers.add(timer)
    })
    from.on('error', () => {})
    from.on('close', () => {
      sockets.delete(from)
      to.destroy()
    })
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as net.AddressInfo).port,
    get accepted() {
      return accepted
    },
    become: (next) => {
      fault = next
      for (const socket of sockets) {
        if (fault.kind === 'reset') socket.resetAndDestroy()
        else if (fault.kind === 'silent') socket.pause()
        else socket.resume()
      }
    },
    stop: async () => {
      for (const timer of timers) clearTimeout(timer)
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
