// The ports of several processes, before the first of them listens.

import { once } from 'node:events'
import net, { type AddressInfo, type Server } from 'node:net'
import type { ListenSettings } from '../configuration/configuration.ts'

/** SO_REUSEPORT as Linux has it (socket(7)): new connections are spread evenly over all that listen. */
const hasOwnSockets = process.platform === 'linux'

export type Ports = {
  /** What each worker listens on: with a port where a free one was asked for, so that all have the same. */
  readonly listen: readonly ListenSettings[]
  /** Lets go of the free ports, which are held until the workers listen: nobody else can get them. */
  release(): void
}

/**
 * Rejects as `listen` does where an address is taken, also by another gateway with workers: theirs would share
 * it with the workers of this one.
 */
export async function pickPorts(all: readonly ListenSettings[]): Promise<Ports> {
  const looking: Server[] = []
  const holding: Server[] = []
  const listen: ListenSettings[] = []
  const release = (): void => {
    for (const server of holding) server.close()
  }
  try {
    for (const settings of all) {
      const isHeld = settings.port === 0 && hasOwnSockets
      const server = net.createServer()
      server.listen({ host: settings.host, port: settings.port, reusePort: isHeld })
      await once(server, 'listening')
      const { port } = server.address() as AddressInfo
      listen.push({ ...settings, port, reusePort: hasOwnSockets })
      if (isHeld) holding.push(server)
      else looking.push(server)
    }
  } catch (error) {
    release()
    throw error
  } finally {
    // Not before: two listeners of one address would not be told apart.
    for (const server of looking) server.close()
  }
  return { listen, release }
}
