// Unknown tokens are throttled for each client address; known ones, revoked and expired ones too, never.
// It guards the authority: nobody guesses 190 random bits, but whoever tries makes the authority look.
//
// The promise, for each process:
// - What memory or the shared cache knows as a token passes without a word to the throttle. So does what
//   its checksum shows to be no token: it costs nothing, it counts nothing, and who sent it is told so.
// - An address has `pointsMax` points in each window. An unknown token that the authority had to be asked
//   for costs ten of them, one that is known to be absent already costs one: a client that repeats a wrong
//   token, as docker does for each of its requests, locks nobody out who shares its address.
// - An address without points left is answered 429 for unknown tokens until its window ends. The authority
//   is asked for it all the same, since the token may be a known one: in turn, not at once. All such
//   addresses together are worth `pacedLookupsPerSecond` questions, however many they are.
// - Only while `pacedLookupsWaitingMax` of these wait already is a token refused unseen, that may be a known
//   one. One address alone does not get there over the connections that it may open by default.
//
// Memory is bounded: addresses (of IPv6 the network of 64 bits, for one customer has all of it) share a
// fixed number of buckets, by a digest under a random key, so that nobody can choose whose to share.

import { hash, randomBytes } from 'node:crypto'
import { isIPv4, isIPv6, SocketAddress } from 'node:net'
import type { RateLimiterMemory, RateLimiterQueue, RateLimiterRes } from 'rate-limiter-flexible'
import { GatewayError } from '../errors.ts'
import type { TokenLookup } from './lookup.ts'
import { isWellFormed, type Lookup } from './token.ts'

/** What an address may spend in a window: on ten unknown tokens a second, or on a hundred repeats. */
export const pointsMax = 6_000
export const windowSeconds = 60
export const lookupPoints = 10
export const repeatPoints = 1

/** Questions for addresses that have no points left; they wait two seconds at most. */
export const pacedLookupsPerSecond = 500
export const pacedLookupsWaitingMax = 1_000

const pacingSeconds = 0.1
/** About 400 bytes each, while in use. */
const bucketCount = 32_768

/** One for each process. */
export class TokenThrottle {
  readonly #lookup: TokenLookup
  readonly #key = randomBytes(16).toString('latin1')
  #limits: Promise<Limits> | undefined

  constructor(lookup: TokenLookup) {
    this.#lookup = lookup
  }

  /**
   * As TokenLookup's `find`, for a client's address. Rejects with `too_many_requests` where the answer would
   * be `absent` and the address has spent what it may, or where too many lookups wait.
   */
  find(secret: string, address: string, now: number, key?: string): Lookup | Promise<Lookup> {
    const known = this.#lookup.recall(secret, now, key)
    if (known !== undefined) return known
    const visit = new Visit()
    const answer = this.#lookup.find(secret, now, () => this.#admit(visit, address))
    if (answer instanceof Promise) return this.#settle(answer, visit, address)
    if (answer.kind !== 'absent' || !isWellFormed(secret)) return answer
    return this.#repeated(answer, address)
  }

  /** Before the authority is asked: paid in advance, so that what is asked at the same time counts. */
  async #admit(visit: Visit, address: string): Promise<void> {
    visit.bucket = this.#bucketOf(address)
    visit.excess = await this.#spend(visit.bucket, lookupPoints)
    if (visit.excess === undefined) return
    try {
      const { turns } = await this.#load()
      await turns.removeTokens(1)
    } catch (cause) {
      throw new GatewayError(
        'too_many_requests',
        'too many tokens of addresses that sent unknown ones wait to be looked up; try again in a second',
        { cause, retryAfter: 1 },
      )
    }
  }

  async #settle(answer: Promise<Lookup>, visit: Visit, address: string): Promise<Lookup> {
    let lookup: Lookup | undefined
    try {
      lookup = await answer
    } finally {
      // A known token costs nothing, and neither does an outage.
      if (visit.bucket !== undefined && lookup?.kind !== 'absent') {
        const { spent } = await this.#load()
        await spent.reward(visit.bucket, lookupPoints)
      }
    }
    if (lookup.kind !== 'absent') return lookup
    if (visit.bucket === undefined) return this.#repeated(lookup, address)
    if (visit.excess !== undefined) throw tooMany(visit.excess)
    return lookup
  }

  async #repeated(absent: Lookup, address: string): Promise<Lookup> {
    const excess = await this.#spend(this.#bucketOf(address), repeatPoints)
    if (excess !== undefined) throw tooMany(excess)
    return absent
  }

  /** Undefined, or the state of a bucket that has spent more than it may. */
  async #spend(bucket: string, points: number): Promise<RateLimiterRes | undefined> {
    const { spent } = await this.#load()
    try {
      await spent.consume(bucket, points)
      return undefined
    } catch (excess) {
      if (excess instanceof Error) throw excess
      return excess as RateLimiterRes
    }
  }

  /** Loaded at the first token that memory does not know. */
  #load(): Promise<Limits> {
    this.#limits ??= import('rate-limiter-flexible').then(({ default: all }) => makeLimits(all))
    return this.#limits
  }

  #bucketOf(address: string): string {
    const digest = hash('sha256', this.#key + networkOf(address), 'buffer')
    return String(digest.readUInt32BE(0) % bucketCount)
  }
}

type Limits = { readonly spent: RateLimiterMemory; readonly turns: RateLimiterQueue }

function makeLimits(limiters: typeof import('rate-limiter-flexible')): Limits {
  const pace = new limiters.RateLimiterMemory({
    points: pacedLookupsPerSecond * pacingSeconds,
    duration: pacingSeconds,
  })
  return {
    spent: new limiters.RateLimiterMemory({ points: pointsMax, duration: windowSeconds }),
    turns: new limiters.RateLimiterQueue(pace, { maxQueueSize: pacedLookupsWaitingMax }),
  }
}

/** What one request has paid, where the authority had to be asked. */
class Visit {
  bucket: string | undefined
  excess: RateLimiterRes | undefined
}

function tooMany({ msBeforeNext }: RateLimiterRes): GatewayError {
  const retryAfter = Math.max(1, Math.ceil(msBeforeNext / 1000))
  return new GatewayError(
    'too_many_requests',
    'the token is unknown, and too many requests with unknown tokens came from this address; ' +
      `check the token, and try again in ${retryAfter} s`,
    { retryAfter },
  )
}

const groupsOfIpv6 = 8
const groupsOfNetwork = 4

/** The address itself, or the first 64 bits of an IPv6 address (RFC 4291 2.5.4) as four groups. */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address
  const plain = address.split('%')[0] as string
  const written = new SocketAddress({ address: plain, family: 'ipv6' }).address
  const mapped = written.startsWith('::ffff:') ? written.slice('::ffff:'.length) : ''
  if (isIPv4(mapped)) return mapped
  const [left = [], right = []] = written.split('::').map((half) => half.split(':').filter(Boolean))
  const zeros = Array<string>(Math.max(0, groupsOfIpv6 - left.length - right.length)).fill('0')
  return [...left, ...zeros, ...right].slice(0, groupsOfNetwork).join(':')
}
