// A worker's side: a gateway that serves, reports and drains as the primary orders, and ends by itself when
// the primary is gone.

import cluster, { type Worker } from 'node:cluster'
import { authorityFailure } from '../commands/authority.ts'
import { startFailure } from '../commands/serve-failure.ts'
import type { Configuration } from '../configuration/configuration.ts'
import { Gateway } from '../gateway.ts'
import { type Log, makeLog } from '../telemetry/log.ts'
import { type News, type Order, readConfiguration } from './messages.ts'

/** What an end that nobody ordered may take: requests are cut, the last use of tokens is written. */
const abandonedMsMax = 2_000

/** Begins to take orders. */
export function obeyPrimary(): void {
  const worker = cluster.worker as Worker
  const serving = new Serving(worker)
  worker.on('message', (order: Order) => serving.obey(order))
  worker.on('disconnect', () => serving.disconnected())
  send({ kind: 'ready' })
}

class Serving {
  #worker: Worker
  #gateway: Gateway | undefined
  #log: Log | undefined
  #started: Promise<void> = Promise.resolve()

  constructor(worker: Worker) {
    this.#worker = worker
  }

  obey(order: Order): void {
    if (order.kind === 'start') {
      this.#log = makeLog({ worker: order.number })
      this.#started = this.#start(readConfiguration(order.configuration), this.#log)
    } else if (order.kind === 'report') {
      void this.#report(order.id)
    } else {
      void this.#drain()
    }
  }

  /** Nobody can order an end any more, unless this one was ordered. */
  disconnected(): void {
    if (this.#worker.exitedAfterDisconnect) return
    // Else Node ends the process here and now.
    this.#worker.exitedAfterDisconnect = true
    process.exitCode = 1
    setTimeout(() => process.exit(), abandonedMsMax).unref()
    this.#log?.error('the primary process is gone: this worker ends')
    void this.#started.then(() => this.#gateway?.end())
  }

  /** Never rejects. */
  async #start(configuration: Configuration, log: Log): Promise<void> {
    try {
      this.#gateway = open(configuration, log)
      send({ kind: 'listening', urls: await this.#gateway.start() })
    } catch (error) {
      this.#gateway = undefined
      process.exitCode = 1
      send({ kind: 'failed', message: startFailure(error).message }, () => this.#leave())
    }
  }

  async #report(id: number): Promise<void> {
    if (this.#gateway === undefined) return
    const figures = await this.#gateway.metrics.figures()
    send({ kind: 'report', id, report: { checks: this.#gateway.checks(), figures } })
  }

  async #drain(): Promise<void> {
    // What is half open cannot be closed.
    await this.#started
    await this.#gateway?.stop()
    this.#leave()
  }

  /** The process ends when nothing is left to do, the last lines of the log too. */
  #leave(): void {
    if (this.#worker.isConnected()) this.#worker.disconnect()
  }
}

function open(configuration: Configuration, log: Log): Gateway {
  try {
    return new Gateway(configuration, log)
  } catch (error) {
    throw authorityFailure(configuration.tokens.authority.file, error)
  }
}

/** A primary that is gone is told nothing: the end of the channel says so. */
function send(news: News, sent: () => void = () => {}): void {
  if (process.connected) process.send?.(news, undefined, undefined, sent)
}
