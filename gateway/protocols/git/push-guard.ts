// A permitted push while it streams to the git server. Its last bytes are held back until it was decided
// again, with the token as it is then and with the proof that its updates are fast-forwards. What is refused
// then ends with random bytes in their place: the server finds its pack broken and leaves in order, which
// it does not when it is cut (receive-pack keeps its quarantine, git-http-backend spins). The bytes are
// random so that nobody can write a pack which becomes whole by them.

import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { setTimeout as after } from 'node:timers/promises'
import { GatewayError } from '../../errors.ts'
import type { Guard, Refused, RequestBody, Verdict } from '../protocol.ts'
import type { PushProof } from './push-proof.ts'

/** Of the pack so much is held back, its trailer included. */
const heldBytes = 1024
const fillBytes = 64 * 1024
/** A body of declared length is filled up to it at once where so much is missing, and slowly where more is. */
const fillAtOnceBytesMax = 2 ** 20
const fillIntervalMs = 100

export type PushStream = {
  /** The command list as it is forwarded. */
  readonly commands: Buffer
  /** What of the pack was read already. */
  readonly start: readonly Buffer[]
  readonly body: Pick<RequestBody, 'next'> & { close?(): void }
  /** Bytes to forward in all; undefined: chunked. */
  readonly length: number | undefined
  /** Undefined where nothing is to be proved. */
  readonly proof: PushProof | undefined
  /** Decides again. Undefined: permitted. Rejects with a GatewayError where it cannot be decided. */
  readonly decideAgain: () => Promise<Refused | undefined>
  /** In git's words: why the push has ended. */
  readonly refuse: (error: GatewayError) => Refused
}

export class PushGuard implements Guard {
  readonly verdict: Promise<Verdict>
  readonly #stream: PushStream
  #settle: (verdict: Verdict) => void = () => {}
  /** How the push is to end; what comes first stands. */
  #ending: Refused | 'unasked' | undefined
  /** Ends what is being waited for. */
  #interrupt: ((error: Error) => void) | undefined
  #sentBytes = 0
  #held: Buffer[] = []
  #heldBytes = 0

  constructor(stream: PushStream) {
    this.#stream = stream
    this.verdict = new Promise((resolve) => {
      this.#settle = resolve
    })
  }

  /** What is sent to the upstream. */
  readable(): Readable {
    return Readable.from(this.#bytes(), { objectMode: false })
  }

  withdraw(error: GatewayError): void {
    this.#end(this.#stream.refuse(error), error)
  }

  abandon(error: GatewayError): void {
    this.#end({ kind: 'refused', error }, error)
  }

  ended(): void {
    this.#end('unasked', new Error('the upstream takes no more'))
    this.#settle(this.#ending === 'unasked' ? { kind: 'unasked' } : this.#ending!)
  }

  #end(ending: Refused | 'unasked', error: Error): void {
    this.#ending ??= ending
    this.#interrupt?.(error)
  }

  async *#bytes(): AsyncGenerator<Buffer> {
    try {
      yield* this.#send(this.#stream.commands)
      const refused = yield* this.#pass()
      if (refused === undefined) {
        this.#settle({ kind: 'permitted' })
        yield* this.#held
        return
      }
      this.#settle(refused)
    } catch (error) {
      const ending = this.#ending
      this.#settle(
        ending === undefined || ending === 'unasked'
          ? this.#stream.refuse(asFailure(error))
          : ending,
      )
    } finally {
      this.#stream.proof?.close()
      this.#stream.body.close?.()
      this.ended()
    }
    yield* this.#fill()
  }

  /** Sends all but the end, which is in `#held` then. */
  async *#pass(): AsyncGenerator<Buffer, Refused | undefined> {
    const { body, start, proof, decideAgain } = this.#stream
    for (const chunk of start) this.#hold(chunk, proof)
    for (;;) {
      if (proof?.isOver === false) await this.#wait(proof.keepUp())
      if (proof?.hasFailed) {
        const refused = await this.#wait(decideAgain())
        if (refused !== undefined) return refused
      }
      yield* this.#release(proof)
      const chunk = await this.#wait(body.next())
      if (chunk === undefined) break
      this.#hold(chunk, proof)
    }
    if (proof?.isOver === false) await this.#wait(proof.finish())
    return await this.#wait(decideAgain())
  }

  #hold(chunk: Buffer, proof: PushProof | undefined): void {
    this.#held.push(chunk)
    this.#heldBytes += chunk.length
    if (proof?.isOver === false) proof.take(chunk)
  }

  // The end of a pack that is being read is where its parser finds it: bytes behind it are no shield.
  async *#release(proof: PushProof | undefined): AsyncGenerator<Buffer> {
    const mayGo = (): number => {
      const unread = proof?.isOver === false ? proof.unreadBytes : 0
      return this.#heldBytes - unread - heldBytes
    }
    while (this.#held.length > 0 && this.#held[0]!.length <= mayGo()) {
      const chunk = this.#held.shift()!
      this.#heldBytes -= chunk.length
      yield* this.#send(chunk)
    }
  }

  *#send(chunk: Buffer): Generator<Buffer> {
    this.#check()
    this.#sentBytes += chunk.length
    yield chunk
    this.#check()
  }

  #check(): void {
    const ending = this.#ending
    if (ending !== undefined && ending !== 'unasked') throw ending.error
  }

  /** Resolves with the promise, unless the push is to end before. */
  async #wait<T>(promise: Promise<T>): Promise<T> {
    this.#check()
    return await new Promise((resolve, reject) => {
      this.#interrupt = reject
      promise.then(resolve, reject)
    })
  }

  async *#fill(): AsyncGenerator<Buffer> {
    const { length } = this.#stream
    if (length === undefined) {
      yield randomBytes(fillBytes)
      return
    }
    let missing = length - this.#sentBytes
    const isSlow = missing > fillAtOnceBytesMax
    while (missing > 0) {
      const bytes = Math.min(missing, fillBytes)
      missing -= bytes
      yield randomBytes(bytes)
      // The server gets time to find out, and with it the relay to end this.
      if (isSlow) await after(fillIntervalMs)
    }
  }
}

function asFailure(error: unknown): GatewayError {
  if (error instanceof GatewayError) return error
  return new GatewayError('internal_error', 'something went wrong inside the gateway', {
    cause: error,
  })
}
