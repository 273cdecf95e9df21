// One worker process as the primary sees it, from its start to its end.

import cluster, { type Worker } from 'node:cluster'
import type { Configuration } from '../configuration/configuration.ts'
import { type News, type Order, type Report, writeConfiguration } from './messages.ts'

/** A worker that is too busy to say how it does keeps nobody waiting for longer. */
const reportMsMax = 1_000

/** What is still on its way to the primary when a worker has ended arrives within so long. */
const lastWordsMsMax = 100

/** How a process ended; both null: it could not be started at all. */
export type End = { readonly exitCode: number | null; readonly signal: string | null }

export type MemberEvents = {
  /** Every listener of it accepts. */
  accepts(member: Member, urls: readonly string[]): void
  /** The process is gone, and all that it said has been heard. Comes once. */
  ended(member: Member, end: End): void
}

export class Member {
  /** From 1; who replaces a worker has its number. */
  readonly number: number
  /** What it said last of itself. */
  lastReport: Report | undefined
  /** Why it could not start, where it said so. */
  failure: string | undefined
  hasEnded = false
  /** Resolves once it has ended. */
  readonly gone: Promise<void>
  #setGone: () => void
  #configuration: Configuration
  #events: MemberEvents
  #worker: Worker
  #acceptsSince: number | undefined
  #isDraining = false
  #isReady = false
  #hasDisconnected = false
  #asked = new Map<number, () => void>()
  #askedLast = 0

  /** Starts the process. */
  constructor(number: number, configuration: Configuration, events: MemberEvents) {
    this.number = number
    this.#configuration = configuration
    this.#events = events
    const { promise, resolve } = Promise.withResolvers<void>()
    this.gone = promise
    this.#setGone = resolve
    this.#worker = cluster.fork()
    this.#listen()
  }

  get pid(): number | undefined {
    return this.#worker.process.pid
  }

  get isAccepting(): boolean {
    return this.#acceptsSince !== undefined && !this.hasEnded
  }

  /** Milliseconds since it began to accept connections. */
  get acceptedMs(): number {
    return this.#acceptsSince === undefined ? 0 : performance.now() - this.#acceptsSince
  }

  /** Resolves when it has said how it does, has ended, or is too busy: `lastReport` is the newest then. */
  async ask(): Promise<void> {
    if (!this.isAccepting) return
    this.#askedLast += 1
    const id = this.#askedLast
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, reportMsMax)
    this.#asked.set(id, resolve)
    this.#send({ kind: 'report', id })
    await promise
    clearTimeout(timer)
    this.#asked.delete(id)
  }

  /** It finishes what it serves, and ends. */
  drain(): void {
    this.#isDraining = true
    if (this.#isReady) this.#send({ kind: 'drain' })
  }

  kill(): void {
    this.#worker.process.kill('SIGKILL')
  }

  #listen(): void {
    const worker = this.#worker
    worker.on('message', (news: News) => this.#heard(news))
    worker.on('exit', (exitCode, signal) => {
      const ended = (): void => this.#ended({ exitCode, signal })
      if (this.#hasDisconnected) ended()
      // What it said last comes before the end of the channel; of the channel of a worker that was killed,
      // Node does not always tell the end.
      else setTimeout(ended, lastWordsMsMax)
    })
    worker.on('disconnect', () => {
      this.#hasDisconnected = true
      if (worker.isDead())
        this.#ended({ exitCode: worker.process.exitCode, signal: worker.process.signalCode })
    })
    worker.on('error', () => {
      // No process, no exit. Of one that runs, its end will tell.
      if (this.pid === undefined) this.#ended({ exitCode: null, signal: null })
    })
  }

  #heard(news: News): void {
    if (news.kind === 'ready') {
      this.#isReady = true
      const configuration = writeConfiguration(this.#configuration)
      if (this.#isDraining) this.#send({ kind: 'drain' })
      else this.#send({ kind: 'start', number: this.number, configuration })
    } else if (news.kind === 'listening') {
      this.#acceptsSince = performance.now()
      this.#events.accepts(this, news.urls)
    } else if (news.kind === 'failed') {
      this.failure = news.message
    } else {
      this.lastReport = news.report
      this.#asked.get(news.id)?.()
    }
  }

  #ended(end: End): void {
    if (this.hasEnded) return
    this.hasEnded = true
    for (const answered of this.#asked.values()) answered()
    this.#events.ended(this, end)
    this.#setGone()
  }

  #send(order: Order): void {
    // One that cannot be told has ended, or will be killed.
    if (this.#worker.isConnected()) this.#worker.send(order, () => {})
  }
}
