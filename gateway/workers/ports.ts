// The ports of several processes, before the first of them listens and while any does.

import { once } from 'node:events'
import net, { type AddressInfo, type ListenOptions, type Server } from 'node:net'
import type { ListenSettings } from '../configuration/configuration.ts'

/** SO_REUSEPORT as Linux has it (socket(7)): new connections are spread evenly over all that listen. */
const hasOwnSockets = process.platform === 'linux'

export type Ports = {
  /** What each worker listens on: with a port where a free one was asked for, so that all have the same. */
  readonly listen: readonly ListenSettings[]
  /** Lets go of the free ports, which are held until a worker listens. */
  release(): void
  /** Lets go of everything. */
  close(): void
}

/**
 * Rejects as `listen` does where an address is taken. Workers with sockets of their own would share one with those
 * of another gateway of the same user: each address is claimed by a name until `close`.
 */
export async function pickPorts(all: readonly ListenSettings[]): Promise<Ports> {
  const looking: Server[] = []
  const holding: Server[] = []
  const claiming: Server[] = []
  const listen: ListenSettings[] = []
  const close = (): void => closeAll([...holding, ...claiming])
  try {
    for (const settings of all) {
      const { host } = settings
      const isHeld = settings.port === 0 && hasOwnSockets
      const server = await open({ host, port: settings.port, reusePort: isHeld })
      const servers = isHeld ? holding : looking
      servers.push(server)
      const { address, port } = server.address() as AddressInfo
      if (hasOwnSockets) claiming.push(await claim(address, port))
      listen.push({ ...settings, port, reusePort: hasOwnSockets })
    }
  } catch (error) {
    close()
    throw error
  } finally {
    // Not before: two listeners of one address would not be told apart.
    closeAll(looking)
  }
  return { listen, release: () => closeAll(holding), close }
}

/** In the abstract namespace, which is that of the network and its ports, and forgets who has ended: unix(7). */
async function claim(address: string, port: number): Promise<Server> {
  try {
    return await open({ path: `\0scopegate ${address} ${port}` })
  } catch (error) {
    throw Object.assign(error as Error, { address, port })
  }
}

/** Nobody is served: who connects is let go at once. */
async function open(options: ListenOptions): Promise<Server> {
  const server = net.createServer((socket) => socket.destroy())
  server.listen(options)
  await once(server, 'listening')
  return server
}

function closeAll(servers: readonly Server[]): void {
  for (const server of servers) server.close()
}
