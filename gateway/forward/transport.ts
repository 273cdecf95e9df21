// What carries requests to one server. Types only.

import type { Socket } from 'node:net'
import type { Dispatcher } from 'undici'

/** What a dispatch handler gets to know of the connection that carries it. */
export type ConnectionAware = { connection?: { readonly socket: Socket | undefined } }

type Dispatch = (
  options: Dispatcher.DispatchOptions,
  handler: Dispatcher.DispatchHandler & ConnectionAware,
) => void

export type Transport = {
  /** On an idle connection, or a new one. */
  readonly dispatch: Dispatch
  /** On a new connection, that serves nothing else. */
  readonly dispatchFresh: Dispatch
  /** Closes idle connections; requests under way finish. */
  readonly close: () => void | Promise<void>
  readonly destroy: () => void | Promise<void>
}
