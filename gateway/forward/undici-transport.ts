// Connections to one upstream by undici's pool, for all that our own do not speak (TLS). Loaded where an
// upstream needs it alone.

import type { Socket } from 'node:net'
import { buildConnector, Client, type Dispatcher, Pool } from 'undici'
import type { UpstreamSettings } from '../configuration/configuration.ts'
import type { ConnectionAware, SentRequest, Transport } from './transport.ts'

/** Heads of replies beyond it are refused. */
const replyHeadBytesMax = 64 * 1024
const keepAliveMs = 4_000

class TrackedClient extends Client {
  socket: Socket | undefined
  readonly reusesBytes = false
  override dispatch(
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler & ConnectionAware,
  ): boolean {
    handler.connection = this
    return super.dispatch(options, handler)
  }
}

export function undiciTransport(
  settings: UpstreamSettings,
  onConnected: (isConnected: boolean) => void,
): Transport {
  const { origin, tls, timeouts } = settings
  const own: Client.Options = {
    allowH2: false,
    pipelining: 1,
    maxHeaderSize: replyHeadBytesMax,
    keepAliveTimeout: keepAliveMs,
  }
  const makeClient = (options: Client.Options): TrackedClient => {
    const connect = buildConnector({
      allowH2: false,
      timeout: timeouts.connectMs,
      ...(tls?.ca === undefined ? {} : { ca: tls.ca }),
      ...(tls?.cert === undefined ? {} : { cert: tls.cert }),
      ...(tls?.key === undefined ? {} : { key: tls.key }),
    })
    const client: TrackedClient = new TrackedClient(origin, {
      ...options,
      connect: (target, callback) =>
        connect(target, (...result) => {
          onConnected(result[0] === null)
          if (result[1] !== null) client.socket = result[1]
          callback(...result)
        }),
    })
    return client
  }
  const pool = new Pool(origin, {
    ...own,
    factory: (_origin, options) => makeClient(options as Client.Options),
  })
  return {
    dispatch: (request, handler) => void pool.dispatch(optionsOf(request), handler),
    dispatchFresh: (request, handler) => {
      const client = makeClient(own)
      client.dispatch({ ...optionsOf(request), reset: true }, handler)
      void client.close()
    },
    close: () => pool.close(),
    destroy: () => pool.destroy(),
  }
}

function optionsOf({ head, ...options }: SentRequest): Dispatcher.DispatchOptions {
  return { ...options, headers: head.list() }
}
