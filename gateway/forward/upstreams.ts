// Connections to one upstream, without a limit on their number (event streams would block the rest): our
// own for HTTP without TLS, an undici pool for the rest. A handler knows the socket that carries it, so that
// a reused connection can be told from a new one and a reset from a clean end.

import type { Dispatcher } from 'undici'
import type { UpstreamSettings } from '../configuration/configuration.ts'
import { Connections } from './connections.ts'
import type { SentRequest, Transport } from './transport.ts'

const defaultPort = 80

export class Upstream {
  readonly settings: UpstreamSettings
  /** Host and port as its Host field has them. */
  readonly authority: string
  /** How the last attempt to connect went; undefined: there was none. */
  isReachable: boolean | undefined
  /** A promise until it is loaded. */
  #transport: Transport | Promise<Transport>

  constructor(settings: UpstreamSettings) {
    this.settings = settings
    const origin = new URL(settings.origin)
    this.authority = origin.host
    const onConnected = (isReachable: boolean): void => {
      this.isReachable = isReachable
    }
    if (origin.protocol === 'http:') {
      this.#transport = new Connections({
        host: origin.hostname.replace(/^\[|\]$/g, ''),
        port: Number(origin.port || defaultPort),
        connectMs: settings.timeouts.connectMs,
        onConnected,
      })
    } else {
      this.#transport = import('./undici-transport.ts').then(({ undiciTransport }) => {
        const transport = undiciTransport(settings, onConnected)
        this.#transport = transport
        return transport
      })
    }
  }

  /** Sends a request on an idle connection, or a new one. */
  dispatch(request: SentRequest, handler: Dispatcher.DispatchHandler): void {
    this.#with((transport) => transport.dispatch(request, handler))
  }

  /** Sends a request on a new connection, that serves nothing else. */
  dispatchFresh(request: SentRequest, handler: Dispatcher.DispatchHandler): void {
    this.#with((transport) => transport.dispatchFresh(request, handler))
  }

  /** Closes idle connections; requests under way finish. */
  async close(): Promise<void> {
    await (await this.#transport).close()
  }

  async destroy(): Promise<void> {
    await (await this.#transport).destroy()
  }

  #with(use: (transport: Transport) => void): void {
    if (this.#transport instanceof Promise) void this.#transport.then(use)
    else use(this.#transport)
  }
}
