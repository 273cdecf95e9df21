// The reply to a request that a guard judges while its body passes: held back until the verdict, then relayed
// as any other, or waited for and dropped. A guarded request is never cut where it can be ended as a refusal:
// a server that is cut in the middle may keep what it was sent, or wait for the rest for ever.

import type { Dispatcher } from 'undici'
import { GatewayError } from '../errors.ts'
import type { Exchange } from '../listener/exchange.ts'
import type { Guard, Verdict } from '../protocols/protocol.ts'
import type { Relay } from './relay.ts'
import type { ConnectionAware } from './transport.ts'

/** Of a reply that comes before the verdict so much is kept; then the upstream waits. */
const heldBytesMax = 64 * 1024
/** What the upstream gets to end its reply to a refused request. */
const refusalEndMs = 10_000

export type GuardedExchange = {
  readonly exchange: Exchange
  readonly guard: Guard
  /** Longest silence of a reply that has begun and may be relayed. */
  readonly idleMs: number
  /** The request has ended as a refusal, which is still to be said to the client. */
  readonly refused: (verdict: Verdict) => void
}

export class GuardedReply implements Dispatcher.DispatchHandler, ConnectionAware {
  connection?: NonNullable<ConnectionAware['connection']>
  readonly #relay: Relay
  readonly #guarded: GuardedExchange
  #state: 'held' | 'relayed' | 'dropped' = 'held'
  #controller: Dispatcher.DispatchController | undefined
  #aborted: Error | undefined
  #status: number | undefined
  #chunks: Buffer[] = []
  #heldBytes = 0
  /** How the reply ended while it was held. */
  #ending: { readonly error?: Error } | undefined
  #verdict: Verdict | undefined
  #timer: NodeJS.Timeout | undefined
  #stopListening: () => void

  constructor(relay: Relay, guarded: GuardedExchange) {
    this.#relay = relay
    this.#guarded = guarded
    const { exchange, guard } = guarded
    this.#stopListening = exchange.onAbort((error) => this.#end(() => guard.abandon(error)))
    exchange.onWithdraw((error) => this.#end(() => guard.withdraw(error)))
    void guard.verdict.then((verdict) => this.#judged(verdict))
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.connection !== undefined) this.#relay.connection = this.connection
    this.#relay.onRequestStart(controller)
    if (this.#aborted !== undefined) controller.abort(this.#aborted)
  }

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    if (this.#state === 'relayed') this.#begin(controller, status)
    // Informational replies are of no use any more when the verdict has come.
    else if (status >= 200) this.#status = status
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#state === 'relayed') {
      this.#timer?.refresh()
      this.#relay.onResponseData(controller, chunk)
    } else if (this.#state === 'held') {
      this.#chunks.push(Buffer.from(chunk))
      this.#heldBytes += chunk.length
      if (this.#heldBytes > heldBytesMax) controller.pause()
    }
  }

  onReadEnd(): void {
    if (this.#state === 'relayed') this.#relay.onReadEnd()
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    if (this.#state === 'relayed') {
      this.#settle()
      this.#relay.onResponseEnd(controller)
    } else this.#ended({})
  }

  onResponseError(controller: Dispatcher.DispatchController | null, error: Error): void {
    if (this.#state === 'relayed') {
      this.#settle()
      this.#relay.onResponseError(controller, error)
    } else this.#ended({ error })
  }

  #judged(verdict: Verdict): void {
    if (this.#state !== 'held') return
    this.#verdict = verdict
    clearTimeout(this.#timer)
    this.#timer = undefined
    const isPaused = this.#heldBytes > heldBytesMax
    if (verdict.kind === 'refused') {
      this.#state = 'dropped'
      if (this.#ending !== undefined) this.#ended(this.#ending)
      else this.#endSoon()
    } else {
      this.#state = 'relayed'
      this.#relayHeld()
    }
    this.#chunks = []
    if (isPaused) this.#controller?.resume()
  }

  #relayHeld(): void {
    const controller = this.#controller
    if (controller !== undefined && this.#status !== undefined) {
      try {
        this.#begin(controller, this.#status)
        for (const chunk of this.#chunks) this.#relay.onResponseData(controller, chunk)
        this.#relay.onReadEnd()
      } catch (error) {
        this.#settle()
        this.#relay.onResponseError(controller, error as Error)
        controller.abort(error as Error)
        return
      }
    }
    if (this.#ending === undefined) return
    if (this.#ending.error !== undefined || controller === undefined) {
      this.onResponseError(controller ?? null, this.#ending.error ?? new Error('no reply'))
    } else this.onResponseEnd(controller)
  }

  #begin(controller: Dispatcher.DispatchController, status: number): void {
    const late = new GatewayError('upstream_timeout', 'the upstream did not go on with its reply')
    this.#timer ??= setTimeout(() => controller.abort(late), this.#guarded.idleMs)
    this.#relay.onResponseStart(controller, status)
  }

  #ended(ending: { readonly error?: Error }): void {
    this.#ending = ending
    if (this.#state === 'held') {
      this.#guarded.guard.ended()
      return
    }
    this.#settle()
    if (this.#verdict?.kind === 'refused') this.#guarded.refused(this.#verdict)
    else this.#relay.onResponseError(null, new GatewayError('bad_request', 'the client left'))
  }

  #end(tellGuard: () => void): void {
    if (this.#state === 'held') {
      tellGuard()
      this.#endSoon()
    } else if (this.#state === 'relayed' && this.#guarded.exchange.gone) {
      // What was permitted and sent whole is not cut either; nobody is there for the reply.
      this.#state = 'dropped'
      this.#controller?.resume()
    }
  }

  /** The upstream is to be left in order, but is not waited for for ever. */
  #endSoon(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#aborted = new Error('the upstream has not answered a request that ended as a refusal')
      this.#controller?.abort(this.#aborted)
    }, refusalEndMs)
  }

  #settle(): void {
    clearTimeout(this.#timer)
    this.#stopListening()
    this.#guarded.exchange.onWithdraw(undefined)
  }
}
