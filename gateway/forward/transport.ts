// What carries requests to one server. Types only.

import type { Socket } from 'node:net'
import type { Dispatcher } from 'undici'
import type { SentHead } from './sent-head.ts'

/** What carries one request at present. */
export type Carrying = {
  readonly socket: Socket | undefined
  /** Parts of a body are overwritten after the call that passes them: what is kept must be copied. */
  readonly reusesBytes: boolean
  /** The part that is passed stays as it is while the request is paused. */
  readonly lendsBytes?: boolean
}

/** What a dispatch handler gets to know, beside undici's own events, of the connection that carries it. */
export type ConnectionAware = {
  connection?: Carrying
  /** Parts of a long body may be lent: it pauses the request where it has not taken one when the call returns. */
  readonly takesLent?: boolean
  /** In place of onResponseData: a whole body that came with its head, one character a byte. */
  onResponseText?(controller: Dispatcher.DispatchController, body: string): void
  /** All that was read at one time was passed. Told only by connections that reuse their bytes. */
  onReadEnd?(): void
}

/** undici's options, with a head that may be written already. */
export type SentRequest = Omit<Dispatcher.DispatchOptions, 'headers'> & { readonly head: SentHead }

type Dispatch = (
  options: SentRequest,
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
