// The composition root of what serves requests: builds every part from a configuration, starts it, drains
// it, ends it. There is one in each process that listens; standalone.ts and workers/ run them.

import { randomUUID } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import type { Configuration } from './configuration/configuration.ts'
import { drain } from './drain.ts'
import { settleEngine } from './engine.ts'
import type { Exchange } from './listener/exchange.ts'
import { Listener } from './listener/listener.ts'
import type { Check } from './listener/management.ts'
import { OpenRequests } from './open-requests.ts'
import { serve } from './pipeline.ts'
import { bareRefusal, refuse } from './refusal.ts'
import { buildSnapshot, type Snapshot } from './snapshot.ts'
import type { Log } from './telemetry/log.ts'
import { Metrics } from './telemetry/metrics.ts'
import { RequestLog } from './telemetry/request-log.ts'
import { LastUse } from './tokens/last-use.ts'
import { TokenLookup } from './tokens/lookup.ts'
import { startPruning } from './tokens/pruning.ts'
import { createRedisLink } from './tokens/redis-link.ts'
import { openSqliteStore, requestBusyMs } from './tokens/sqlite.ts'
import type { TokenStore } from './tokens/store.ts'
import { TokenThrottle } from './tokens/throttle.ts'
import { readVersion } from './version.ts'

/** Records are read again after 80 to 100 % of `fresh`. */
const freshSpread = 0.2
/** The page of metrics is loaded so long after the start, or when it is asked for. */
const metricsDelayMs = 1_000

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
  readonly metrics = new Metrics(readVersion(), () => this.#underWay)
  /** Whether it is up, by name. */
  #dependencies = new Map<string, boolean>()
  #stopPruning: (() => void) | undefined
  #ended: Promise<void> | undefined

  /** Opens the authority; throws where its database cannot be used. */
  constructor(configuration: Configuration, log: Log) {
    this.#configuration = configuration
    this.#log = log
    this.#requestLog = new RequestLog(log)
    this.#store = openSqliteStore(configuration.tokens.authority.file, { busyMs: requestBusyMs })
    const { redis, cache } = configuration.tokens
    this.#lookup = new TokenLookup(this.#store, cache, {
      redis: redis && createRedisLink(redis),
      spread: freshSpread,
      observer: {
        lookup: (tier, result, durationMs) => this.metrics.lookup(tier, result, durationMs),
        dependency: (name, isUp, reason) => this.#redisIs(name, isUp, reason),
      },
    })
    this.#lastUse = new LastUse(this.#store)
    this.#snapshot = buildSnapshot(configuration, {
      lookup: this.#lookup,
      throttle: new TokenThrottle(this.#lookup),
      open: this.#open,
      lastUse: this.#lastUse,
      grantKey: configuration.tokens.grantKey ?? this.#store.grantKey,
    })
    settleEngine()
  }

  /**
   * Resolves with the URL of every listener when all accept; rejects, with nothing left open, when an
   * address is taken.
   */
  async start(): Promise<readonly string[]> {
    this.#dependency('authority', true)
    // Until it has been reached for the first time.
    if (this.#configuration.tokens.redis !== undefined) this.#dependency('redis', false)
    this.#open.start()
    this.#lastUse.start({
      failed: (error) => this.#log.warn({ cause: reasonOf(error) }, 'last use cannot be written'),
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
        this.#log.error(
          { cause: reasonOf(error) },
          'the change feed of the authority cannot be read',
        )
      },
      recovered: () => {
        this.#dependency('authority', true)
        this.#log.info('the change feed of the authority is read again')
      },
    })
    try {
      const urls = await this.#listen()
      setTimeout(() => void this.metrics.load(), metricsDelayMs).unref()
      return urls
    } catch (error) {
      await this.end()
      throw error
    }
  }

  /** Begins to forget tokens that ended long ago: in one process of those that share an authority. */
  startPruning(): void {
    this.#stopPruning = startPruning(this.#store, this.#log)
  }

  /** Drains and ends: accepting until `drain.delay`, finishing until `drain.timeout`. */
  async stop(): Promise<void> {
    await drain(this.#listeners, this.#configuration.server.drain)
    await this.end()
  }

  /** Ends at once: what is in flight is cut. The last use of tokens is written. */
  end(): Promise<void> {
    this.#ended ??= this.#end()
    return this.#ended
  }

  /** How each part does: the configuration, what it depends on, the upstreams. */
  checks(): readonly Check[] {
    const checks: Check[] = [{ name: 'configuration', value: 'ok' }]
    for (const [name, isUp] of this.#dependencies) checks.push({ name, value: wordOf(isUp) })
    for (const [name, { upstream }] of this.#snapshot.upstreams) {
      checks.push({ name: `upstream ${name}`, value: wordOf(upstream.isReachable) })
    }
    return checks
  }

  async #end(): Promise<void> {
    this.#stopPruning?.()
    this.#open.stop()
    for (const listener of this.#listeners) listener.destroy()
    for (const { upstream } of this.#snapshot.upstreams.values()) await upstream.destroy()
    this.#lookup.close()
    const tokens = await this.#lastUse.close()
    if (tokens > 0) this.#log.warn({ tokens }, 'last use of these many tokens was not written')
    await this.#store.close()
  }

  async #listen(): Promise<readonly string[]> {
    const urls: string[] = []
    for (const settings of this.#configuration.listen) {
      const listener = new Listener(settings, this.#configuration.server, {
        serve: (exchange, trusted) => {
          this.#underWay += 1
          void serve(this.#snapshot, exchange, trusted).then(() => {
            this.#underWay -= 1
            this.#finished(exchange)
          })
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
      urls.push(await listener.listen())
      this.#listeners.push(listener)
    }
    return urls
  }

  #finished(exchange: Exchange): void {
    const durationMs = performance.now() - exchange.startedAt
    this.#requestLog.request(exchange, durationMs)
    this.metrics.request(exchange, durationMs)
  }

  /** An outage of the shared cache is no outage of the gateway: the authority is asked instead. */
  #redisIs(name: string, isUp: boolean, reason?: string): void {
    if (name !== 'redis') return
    this.#dependency(name, isUp)
    if (isUp) this.#log.info('Redis answers')
    else this.#log.warn({ cause: reason }, 'Redis is not used: it does not answer as it should')
  }

  #dependency(name: string, isUp: boolean): void {
    this.#dependencies.set(name, isUp)
    this.metrics.dependency(name, isUp)
  }
}

/** What the store itself said: clients are told that it does not answer, operators why. */
function reasonOf(error: unknown): string {
  return String(error instanceof Error && error.cause !== undefined ? error.cause : error)
}

/** undefined: nobody has tried yet. */
function wordOf(isUp: boolean | undefined): string {
  return isUp === undefined ? 'not asked yet' : isUp ? 'ok' : 'unavailable'
}
