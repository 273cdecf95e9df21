// The ports of several processes, looked at before the first of them listens.

import { once } from 'node:events'
import net, { type AddressInfo, type Server } from 'node:net'
import type { ListenSettings } from '../configuration/configuration.ts'

/** SO_REUSEPORT as Linux has it (socket(7)): new connections are spread evenly over all that listen. */
const hasOwnSockets = process.platform === 'linux'

/**
 * What each worker listens on: with a port where a free one was asked for, so that all have the same. Rejects as
 * `listen` does where one is taken: workers with sockets of their own would share it with another gateway's.
 */
export async function pickPorts(
  listen: readonly ListenSettings[],
): Promise<readonly ListenSettings[]> {
  const held: Server[] = []
  const picked: ListenSettings[] = []
  try {
    for (const settings of listen) {
      const server = net.createServer()
      server.listen({ host: settings.host, port: settings.port })
      await once(server, 'listening')
      held.push(server)
      const { port } = server.address() as AddressInfo
      picked.push({ ...settings, port, ...(hasOwnSockets && { reusePort: true }) })
    }
  } finally {
    // All are held until then: two of the same would not be told apart.
    await Promise.all(held.map((server) => server[Symbol.asyncDispose]()))
  }
  return picked
}
