// The composition root: builds every part from a configuration, starts it, drains it, ends it.

import { randomUUID } from 'node:crypto'
import type { Configuration } from './configuration/configuration.ts'
import { GatewayError } from './errors.ts'
import type { Exchange } from './listener/exchange.ts'
import { Listener } from './listener/listener.ts'
import { type ManagementState, startManagement } from './listener/management.ts'
import { OpenRequests } from './open-requests.ts'
import { serve } from './pipeline.ts'
import { bareRefusal, refuse } from './refusal.ts'
import { buildSnapshot, type Snapshot } from './snapshot.ts'
import type { Log } from './telemetry/log.ts'
import { Metrics } from './telemetry/metrics.ts'
import { RequestLog } from './telemetry/request-log.ts'
import { LastUse } from './tokens/last-use.ts'
import { TokenLookup } from './tokens/lookup.ts'
import { createRedisLink } from './tokens/redis-link.ts'
import { openSqliteStore, requestBusyMs } from './tokens/sqlite.ts'
import type { TokenStore } from './tokens/store.ts'
import { TokenThrottle } from './tokens/throttle.ts'
import { readVersion } from './version.ts'

/** After the drain's timeout git pushes get so long to end as refusals. */
const endInOrderMs = 12_000
const pruneIntervalMs = 24 * 60 * 60 * 1000

export class Gateway {
  #configuration: Configuration
  #log: Log
  #requestLog: RequestLog
  #store: TokenStore
  #lookup: TokenLookup
  #lastUse: LastUse
  #snapshot: Snapshot
  #listeners: Listener[] = []
  #open = new OpenRequests()
  #underWay = 0
  #metrics = new Metrics(readVersion(), () => this.#underWay)
  #state: ManagementState = {
    isReady: false,
    metrics: () => this.#metrics.page(),
    checks: new Map(),
    upstreams: () => this.#upstreams(),
  }
  #pruning: NodeJS.Timeout | undefined
  #stopManagement: (() => Promise<void>) | undefined

  /** Opens the authority; throws where its database cannot be used. */
  constructor(configuration: Configuration, log: Log) {
    this.#configuration = configuration
    this.#log = log
    this.#requestLog = new RequestLog(log)
    this.#store = openSqliteStore(configuration.tokens.authority.file, { busyMs: requestBusyMs })
    const { redis, cache } = configuration.tokens
    this.#lookup = new TokenLookup(this.#store, cache, {
      redis: redis && createRedisLink(redis),
      observer: {
        lookup: (tier, result, durationMs) => this.#metrics.lookup(tier, result, durationMs),
        dependency: (name, isUp, reason) => this.#redisIs(name, isUp, reason),
      },
    })
    this.#lastUse = new LastUse(this.#store)
    this.#snapshot = buildSnapshot(configuration, {
      lookup: this.#lookup,
      throttle: new TokenThrottle(this.#lookup),
      open: this.#open,
      lastUse: this.#lastUse,
    })
  }

  /** Resolves when every listener accepts; rejects, with nothing left open, when an address is taken. */
  async start(): Promise<void> {
    this.#state.checks.set('configuration', 'ok')
    this.#dependency('authority', true)
    // Until it has been reached for the first time.
    if (this.#configuration.tokens.redis !== undefined) this.#dependency('redis', false)
    this.#open.start()
    this.#lastUse.start({
      failed: (error) => this.#log.warn({ cause: String(error) }, 'last use cannot be written'),
      recovered: () => this.#log.info('last use is written again'),
    })
    this.#lookup.follow({
      changed: ({ tokenId }) => void this.#open.changed(tokenId, this.#lookup),
      restarted: () => {
        this.#log.warn('an older state of the authority was restored')
        void this.#open.allChanged(this.#lookup)
      },
      failed: (error) => {
        this.#dependency('authority', false)
        this.#log.error({ cause: String(error) }, 'the change feed of the authority cannot be read')
      },
      recovered: () => {
        this.#dependency('authority', true)
        this.#log.info('the change feed of the authority is read again')
      },
    })
    try {
      await this.#listen()
    } catch (error) {
      await this.#end()
      throw error
    }
    this.#state.isReady = true
    this.#prune()
    this.#pruning = setInterval(() => this.#prune(), pruneIntervalMs).unref()
  }

  /** Drains: not ready at once, accepting until `drain.delay`, finishing until `drain.timeout`. */
  async stop(): Promise<void> {
    const { delayMs, timeoutMs } = this.#configuration.server.drain
    this.#state.isReady = false
    this.#log.info('draining')
    await after(delayMs)
    const drained = Promise.all(this.#listeners.map((listener) => listener.drain()))
    await inTime(drained, timeoutMs)
    const goingAway = new GatewayError('overloaded', 'the gateway is going away: push again')
    await inTime(
      Promise.all(this.#listeners.map((listener) => listener.endInOrder(goingAway))),
      endInOrderMs,
    )
    await this.#end()
    this.#log.info('stopped')
  }

  async #listen(): Promise<void> {
    const { listen, server, management } = this.#configuration
    if (management !== undefined) {
      const { url, stop } = await startManagement(management, this.#state)
      this.#stopManagement = stop
      this.#log.info({ url, management: true }, 'listening')
    }
    for (const settings of listen) {
      const listener = new Listener(settings, server, {
        serve: async (exchange, trusted) => {
          this.#underWay += 1
          await serve(this.#snapshot, exchange, trusted)
          this.#underWay -= 1
          this.#finished(exchange)
        },
        refuse: (exchange, error) => {
          refuse(exchange, error, {})
          this.#finished(exchange)
        },
        refuseUnread: (error, address) => {
          const requestId = randomUUID()
          this.#requestLog.unread({ requestId, error, address })
          return bareRefusal(error, requestId)
        },
      })
      const url = await listener.listen()
      this.#listeners.push(listener)
      this.#log.info({ url }, 'listening')
    }
  }

  /** Forgets tokens that ended long ago. */
  #prune(): void {
    this.#store.prune(Date.now()).catch((error: unknown) => {
      this.#log.warn({ cause: String(error) }, 'tokens that ended long ago could not be forgotten')
    })
  }

  #finished(exchange: Exchange): void {
    this.#requestLog.request(exchange)
    this.#metrics.request(exchange)
  }

  /** An outage of the shared cache is no outage of the gateway: the authority is asked instead. */
  #redisIs(name: string, isUp: boolean, reason?: string): void {
    if (name !== 'redis') return
    this.#dependency(name, isUp)
    if (isUp) this.#log.info('Redis answers')
    else this.#log.warn({ cause: reason }, 'Redis is not used: it does not answer as it should')
  }

  *#upstreams(): Generator<{ name: string; isReachable: boolean | undefined }> {
    for (const [name, { upstream }] of this.#snapshot.upstreams) {
      yield { name, isReachable: upstream.isReachable }
    }
  }

  #dependency(name: string, up: boolean): void {
    this.#state.checks.set(name, up ? 'ok' : 'unavailable')
    this.#metrics.dependency(name, up)
  }

  async #end(): Promise<void> {
    clearInterval(this.#pruning)
    this.#open.stop()
    for (const listener of this.#listeners) listener.destroy()
    await this.#stopManagement?.()
    for (const { upstream } of this.#snapshot.upstreams.values()) await upstream.destroy()
    this.#lookup.close()
    const tokens = await this.#lastUse.close()
    if (tokens > 0) this.#log.warn({ tokens }, 'last use of these many tokens was not written')
    await this.#store.close()
  }
}

/** Waits for the work, but no longer than this. */
async function inTime(work: Promise<unknown>, ms: number): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  await Promise.race([work, late])
  clearTimeout(timer)
}

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
