// The gateway in one process, as it runs by default: the listeners, and the management listener beside them.

import type { Configuration } from './configuration/configuration.ts'
import { Gateway } from './gateway.ts'
import { startManagement } from './listener/management.ts'
import type { Log } from './telemetry/log.ts'

export class Standalone {
  #configuration: Configuration
  #log: Log
  #gateway: Gateway
  #isReady = false
  #isStopping = false
  #started: Promise<void> | undefined
  #stopManagement: (() => Promise<void>) | undefined

  /** Opens the authority; throws where its database cannot be used. */
  constructor(configuration: Configuration, log: Log) {
    this.#configuration = configuration
    this.#log = log
    this.#gateway = new Gateway(configuration, log)
  }

  /** Resolves when every listener accepts; rejects, with nothing left open, when an address is taken. */
  start(): Promise<void> {
    this.#started = this.#start()
    return this.#started
  }

  /** Drains: not ready at once, then as the gateway does. */
  async stop(): Promise<void> {
    this.#isStopping = true
    this.#log.info('draining')
    // What is half open cannot be closed. Who started it hears of a failure.
    const hasStarted = await this.#started?.then(
      () => true,
      () => false,
    )
    if (hasStarted === false) return
    await this.#gateway.stop()
    await this.#stopManagement?.()
    this.#log.info('stopped')
  }

  async #start(): Promise<void> {
    try {
      await this.#manage()
    } catch (error) {
      await this.#gateway.end()
      throw error
    }
    try {
      for (const url of await this.#gateway.start()) this.#log.info({ url }, 'listening')
    } catch (error) {
      await this.#stopManagement?.()
      throw error
    }
    this.#isReady = true
    this.#gateway.startPruning()
  }

  async #manage(): Promise<void> {
    const { management } = this.#configuration
    if (management === undefined) return
    const { url, stop } = await startManagement(management, {
      isReady: () => this.#isReady && !this.#isStopping,
      metrics: () => this.#gateway.metrics.page(),
      checks: async () => this.#gateway.checks(),
    })
    this.#stopManagement = stop
    this.#log.info({ url, management: true }, 'listening')
  }
}
