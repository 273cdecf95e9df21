// Connections to one upstream: an undici pool without a limit on connections (event streams would block
// the rest), each connection knowing its socket, so that a reused one can be told from a new one and a
// reset from a clean end.

import type { Socket } from 'node:net'
import { buildConnector, Client, type Dispatcher, Pool } from 'undici'
import type { UpstreamSettings } from '../configuration/configuration.ts'

/** Heads of replies beyond it are refused. */
const replyHeadBytesMax = 64 * 1024
const keepAliveMs = 4_000

/** What a dispatch handler gets to know of the connection that carries it. */
export type ConnectionAware = { connection?: TrackedClient }

export class TrackedClient extends Client {
  socket: Socket | undefined
  override dispatch(
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler & ConnectionAware,
  ): boolean {
    handler.connection = this
    return super.dispatch(options, handler)
  }
}

export class Upstream {
  readonly settings: UpstreamSettings
  /** Host and port as its Host field has them. */
  readonly authority: string
  /** How the last attempt to connect went; undefined: there was none. */
  isReachable: boolean | undefined
  #pool: Pool
  #options: Client.Options

  constructor(settings: UpstreamSettings) {
    this.settings = settings
    this.authority = new URL(settings.origin).host
    this.#options = {
      allowH2: false,
      pipelining: 1,
      maxHeaderSize: replyHeadBytesMax,
      keepAliveTimeout: keepAliveMs,
    }
    this.#pool = new Pool(settings.origin, {
      ...this.#options,
      factory: (_origin, options) => this.#connect(options as Client.Options),
    })
  }

  /** Sends a request on an idle connection, or a new one. */
  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#pool.dispatch(options, handler)
  }

  /** Sends a request on a new connection, that serves nothing else. */
  dispatchFresh(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    const client = this.#connect(this.#options)
    client.dispatch({ ...options, reset: true }, handler)
    void client.close()
  }

  /** Closes idle connections; requests under way finish. */
  async close(): Promise<void> {
    await this.#pool.close()
  }

  async destroy(): Promise<void> {
    await this.#pool.destroy()
  }

  #connect(options: Client.Options): TrackedClient {
    const { tls, timeouts } = this.settings
    const connect = buildConnector({
      allowH2: false,
      timeout: timeouts.connectMs,
      ...(tls?.ca === undefined ? {} : { ca: tls.ca }),
      ...(tls?.cert === undefined ? {} : { cert: tls.cert }),
      ...(tls?.key === undefined ? {} : { key: tls.key }),
    })
    const client: TrackedClient = new TrackedClient(this.settings.origin, {
      ...options,
      connect: (target, callback) =>
        connect(target, (...result) => {
          this.isReachable = result[0] === null
          if (result[1] !== null) client.socket = result[1]
          callback(...result)
        }),
    })
    return client
  }
}
