// The composition root: builds every part from a configuration, starts it, drains it, ends it.

import { randomUUID } from 'node:crypto'
import type { Configuration } from './configuration/configuration.ts'
import type { Exchange } from './listener/exchange.ts'
import { Listener } from './listener/listener.ts'
import { type ManagementState, startManagement } from './listener/management.ts'
import { serve } from './pipeline.ts'
import { bareRefusal, refuse } from './refusal.ts'
import { buildSnapshot, type Snapshot } from './snapshot.ts'
import { type Log, logRequest } from './telemetry/log.ts'
import { TokenLookup } from './tokens/lookup.ts'
import { openSqliteStore, requestBusyMs } from './tokens/sqlite.ts'
import type { TokenStore } from './tokens/store.ts'

const pruneIntervalMs = 24 * 60 * 60 * 1000

export class Gateway {
  #configuration: Configuration
  #log: Log
  #store: TokenStore
  #lookup: TokenLookup
  #snapshot: Snapshot
  #listeners: Listener[] = []
  #state: ManagementState = { isReady: false, checks: new Map() }
  #pruning: NodeJS.Timeout | undefined
  #stopManagement: (() => Promise<void>) | undefined

  /** Opens the authority; throws where its database cannot be used. */
  constructor(configuration: Configuration, log: Log) {
    this.#configuration = configuration
    this.#log = log
    this.#store = openSqliteStore(configuration.tokens.authority.file, { busyMs: requestBusyMs })
    this.#lookup = new TokenLookup(this.#store, configuration.tokens.cache)
    this.#snapshot = buildSnapshot(configuration, this.#lookup)
  }

  /** Resolves when every listener accepts; rejects, with nothing left open, when an address is taken. */
  async start(): Promise<void> {
    this.#state.checks.set('configuration', 'ok')
    this.#state.checks.set('authority', 'ok')
    this.#lookup.follow({
      failed: (error) => {
        this.#state.checks.set('authority', 'unavailable')
        this.#log.error({ cause: String(error) }, 'the change feed of the authority cannot be read')
      },
      recovered: () => {
        this.#state.checks.set('authority', 'ok')
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
          await serve(this.#snapshot, exchange, trusted)
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
  }

  async #end(): Promise<void> {
    clearInterval(this.#pruning)
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
