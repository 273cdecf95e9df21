// Requests under way, by the token that permitted them: a change of a token acts on what is open. A revoked
// or narrowed token ends its requests at once; expiry is judged when a request begins, and ends afterwards
// only what has no end of its own: WebSockets and event streams.

import type { Denial } from './decision/access.ts'
import { describeDenial } from './decision/decide.ts'
import { GatewayError } from './errors.ts'
import type { Exchange } from './listener/exchange.ts'
import type { TokenLookup } from './tokens/lookup.ts'
import { stateOf, type TokenRecord, writeTime } from './tokens/token.ts'

/** How often endless exchanges are compared with the end of their token. */
const expiryIntervalMs = 500

/** Would the record, as it is now, still permit the request? The first denial, if not. */
export type Reconsider = (record: TokenRecord) => Denial | undefined

export class OpenRequests {
  /**
   * Of all tokens, in no order: a change looks through them, which is rarer than a request. No Set: each request
   * would leave its part of the table behind, and what that names would outlive it for the garbage collector.
   */
  readonly #open: Exchange[] = []
  #timer: NodeJS.Timeout | undefined

  /** Begins to end what outlives its token. */
  start(): void {
    this.#timer = setInterval(() => this.#endExpired(Date.now()), expiryIntervalMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** A request was permitted by its `record`. */
  enter(exchange: Exchange, reconsider: Reconsider): void {
    if (exchange.record === undefined) return
    exchange.reconsider = reconsider
    if (exchange.openPlace < 0) exchange.openPlace = this.#open.push(exchange) - 1
  }

  leave(exchange: Exchange): void {
    const place = exchange.openPlace
    if (place < 0) return
    exchange.openPlace = -1
    const last = this.#open.pop() as Exchange
    if (last === exchange) return
    this.#open[place] = last
    last.openPlace = place
  }

  /** A token has changed: what it no longer permits ends. Never rejects; what cannot be asked ends too. */
  async changed(tokenId: string, lookup: TokenLookup): Promise<void> {
    const open = this.#of(tokenId)
    if (open.length === 0) return
    let present: TokenRecord | undefined
    let verdict: (reconsider: Reconsider) => GatewayError | undefined
    try {
      const found = await lookup.findById(tokenId, Date.now())
      if (found.kind !== 'absent') present = found.record
      verdict = (reconsider) => {
        if (found.kind === 'absent') return new GatewayError('invalid_token', 'the token is gone')
        return endOf(found.record, reconsider)
      }
    } catch (error) {
      const failure = error instanceof GatewayError ? error : unavailable(error)
      verdict = () => failure
    }
    for (const exchange of this.#of(tokenId)) {
      const end = exchange.reconsider && verdict(exchange.reconsider)
      if (end !== undefined) exchange.withdraw(end)
      // What is decided later of this request is decided with the rights of now.
      else exchange.record = present
    }
  }

  /** What is decided of the request from now on is decided with what its token is now, or it has ended. */
  async renew(exchange: Exchange, lookup: TokenLookup): Promise<void> {
    const { record } = exchange
    if (record === undefined) return
    if (lookup.live(record, Date.now())?.version === record.version) return
    await this.changed(record.id, lookup)
  }

  /** Any token may have changed. */
  async allChanged(lookup: TokenLookup): Promise<void> {
    const tokens = new Set(this.#open.map(({ record }) => record?.id ?? ''))
    for (const tokenId of tokens) await this.changed(tokenId, lookup)
  }

  #of(tokenId: string): Exchange[] {
    return this.#open.filter(({ record }) => record?.id === tokenId)
  }

  #endExpired(now: number): void {
    for (const exchange of [...this.#open]) {
      const at = exchange.record?.expiresAt ?? null
      if (at === null || at > now) continue
      if (exchange.isEndless) exchange.abort(expired(at))
    }
  }
}

/** Expiry ends no transfer that began before it. */
function endOf(record: TokenRecord, reconsider: Reconsider): GatewayError | undefined {
  if (stateOf(record, Date.now()) === 'revoked') {
    return new GatewayError('invalid_token', `token revoked on ${writeTime(record.revokedAt)}`)
  }
  const denial = reconsider(record)
  return denial && new GatewayError(denial.reason, describeDenial(denial))
}

function expired(at: number): GatewayError {
  return new GatewayError('invalid_token', `token expired on ${writeTime(at)}`)
}

function unavailable(cause: unknown): GatewayError {
  return new GatewayError('lookup_unavailable', 'the token has changed and cannot be read', {
    cause,
    retryAfter: 1,
  })
}
