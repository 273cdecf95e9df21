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
  #byToken = new Map<string, Map<Exchange, Reconsider>>()
  #timer: NodeJS.Timeout | undefined

  /** Number of requests under way that a token permitted. */
  get size(): number {
    let size = 0
    for (const open of this.#byToken.values()) size += open.size
    return size
  }

  /** Begins to end what outlives its token. */
  start(): void {
    this.#timer = setInterval(() => this.#endExpired(Date.now()), expiryIntervalMs).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** A request was permitted by its `record`. */
  enter(exchange: Exchange, reconsider: Reconsider): void {
    const { record } = exchange
    if (record === undefined) return
    const open = this.#byToken.get(record.id)
    if (open === undefined) this.#byToken.set(record.id, new Map([[exchange, reconsider]]))
    else open.set(exchange, reconsider)
  }

  leave(exchange: Exchange): void {
    const id = exchange.record?.id
    const open = id === undefined ? undefined : this.#byToken.get(id)
    if (id === undefined || open === undefined) return
    open.delete(exchange)
    if (open.size === 0) this.#byToken.delete(id)
  }

  /** A token has changed: what it no longer permits ends. Never rejects; what cannot be asked ends too. */
  async changed(tokenId: string, lookup: TokenLookup): Promise<void> {
    if (!this.#byToken.has(tokenId)) return
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
    for (const [exchange, reconsider] of this.#byToken.get(tokenId) ?? []) {
      const end = verdict(reconsider)
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
    for (const tokenId of [...this.#byToken.keys()]) await this.changed(tokenId, lookup)
  }

  #endExpired(now: number): void {
    for (const open of this.#byToken.values()) {
      for (const exchange of open.keys()) {
        const at = exchange.record?.expiresAt ?? null
        if (at === null || at > now) continue
        if (exchange.isEndless) exchange.abort(expired(at))
      }
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
