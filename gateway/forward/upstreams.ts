// Connections to one upstream, without a limit on their number (event streams would block the rest): our
// own for HTTP without TLS, an undici pool for the rest. A handler knows the socket that carries it, so that
// a reused connection can be told from a new one and a reset from a clean end.

import type { Socket } from 'node:net'
import { buildConnector, Client, type Dispatcher, Pool } from 'undici'
import type { UpstreamSettings } from '../configuration/configuration.ts'
import { Connections } from './connections.ts'

/** Heads of replies beyond it are refused. */
const replyHeadBytesMax = 64 * 1024
const keepAliveMs = 4_000
const defaultPort = 80

/** What a dispatch handler gets to know of the connection that carries it. */
export type ConnectionAware = { connection?: { readonly socket: Socket | undefined } }

class TrackedClient extends Client {
  socket: Socket | undefined
  override dispatch(
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler & ConnectionAware,
  ): boolean {
    handler.connection = this
    return super.dispatch(options, handler)
  }
}

type Dispatch = (
  options: Dispatcher.DispatchOptions,
  handler: Dispatcher.DispatchHandler & ConnectionAware,
) => void

/** What carries requests to one server. */
type Transport = {
  /** On an idle connection, or a new one. */
  readonly dispatch: Dispatch
  /** On a new connection, that serves nothing else. */
  readonly dispatchFresh: Dispatch
  /** Closes idle connections; requests under way finish. */
  readonly close: () => void | Promise<void>
  readonly destroy: () => void | Promise<void>
}

export class Upstream {
  readonly settings: UpstreamSettings
  /** Host and port as its Host field has them. */
  readonly authority: string
  /** How the last attempt to connect went; undefined: there was none. */
  isReachable: boolean | undefined
  readonly #transport: Transport

  constructor(settings: UpstreamSettings) {
    this.settings = settings
    const origin = new URL(settings.origin)
    this.authority = origin.host
    const onConnected = (isReachable: boolean): void => {
      this.isReachable = isReachable
    }
    this.#transport =
      origin.protocol === 'http:'
        ? new Connections({
            host: origin.hostname.replace(/^\[|\]$/g, ''),
            port: Number(origin.port || defaultPort),
            connectMs: settings.timeouts.connectMs,
            onConnected,
          })
        : undiciTransport(settings, onConnected)
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#transport.dispatch(options, handler)
  }

  dispatchFresh(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#transport.dispatchFresh(options, handler)
  }

  async close(): Promise<void> {
    await this.#transport.close()
  }

  async destroy(): Promise<void> {
    await this.#transport.destroy()
  }
}

function undiciTransport(
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
    dispatch: (options, handler) => void pool.dispatch(options, handler),
    dispatchFresh: (options, handler) => {
      const client = makeClient(own)
      client.dispatch({ ...options, reset: true }, handler)
      void client.close()
    },
    close: () => pool.close(),
    destroy: () => pool.destroy(),
  }
}
