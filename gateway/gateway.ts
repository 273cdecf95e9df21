// The composition root: builds every part from a configuration, starts it, drains it, ends it.

import { randomUUID } from 'node:crypto'
import type { Configuration } from './configuration/configuration.ts'
import type { Exchange } from './listener/exchange.ts'
import { Listener } from './listener/listener.ts'
import { type ManagementState, startManagement } from './listener/management.ts'
import { OpenRequests } from './open-requests.ts'
import { serve } from './pipeline.ts'
import { bareRefusal, refuse } from './refusal.ts'
import { buildSnapshot, type Snapshot } from './snapshot.ts'
import { type Log, logRequest } from './telemetry/log.ts'
import { Metrics } from './telemetry/metrics.ts'
import { TokenLookup } from './tokens/lookup.ts'
import { openSqliteStore, requestBusyMs } from './tokens/sqlite.ts'
import type { TokenStore } from './tokens/store.ts'
import { readVersion } from './version.ts'

const pruneIntervalMs = 24 * 60 * 60 * 1000

export class Gateway {
  #configuration: Configuration
  #log: Log
  #store: TokenStore
  #lookup: TokenLookup
  #snapshot: Snapshot
  #listeners: Listener[] = []
  #open = new OpenRequests()
  #underWay = 0
  #metrics = new Metrics(readVersion(), () => this.#underWay)
  #state: ManagementState = {
    isReady: false,
    metrics: () => this.#metrics.page(),
    checks: new Map(),
  }
  #pruning: NodeJS.Timeout | undefined
  #stopManagement: (() => Promise<void>) | undefined

  /** Opens the authority; throws where its database cannot be used. */
  constructor(configuration: Configuration, log: Log) {
    this.#configuration = configuration
    this.#log = log
    this.#store = openSqliteStore(configuration.tokens.authority.file, { busyMs: requestBusyMs })
    this.#lookup = new TokenLookup(this.#store, configuration.tokens.cache)
    this.#snapshot = buildSnapshot(configuration, this.#lookup, this.#open)
  }

  /** Resolves when every listener accepts; rejects, with nothing left open, when an address is taken. */
  async start(): Promise<void> {
    this.#state.checks.set('configuration', 'ok')
    this.#dependency('authority', true)
    this.#open.start()
    this.#lookup.follow({
      changed: ({ tokenId }) => void this.#open.changed(tokenId, this.#lookup),
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
    const { promise: late, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, timeoutMs)
    await Promise.race([drained, late])
    clearTimeout(timer)
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
        refuseUnread: (error) => bareRefusal(error, randomUUID()),
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
    logRequest(this.#log, exchange)
    this.#metrics.request(exchange)
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
    await this.#store.close()
  }
}

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
