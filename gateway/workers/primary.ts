// The primary process of several: it serves no requests. It owns the management listener, starts the
// workers, replaces those that die, adds up what they count, and passes on the order to end.
//
// Connections are accepted by the workers themselves, not handed out by the primary, which would cost half as
// much processor time again for each. Of one socket for all, as beside Linux (SCHED_NONE), the one that wakes
// first would take most: 127 of 128 connections, and 90 of 128, were seen. So each has a socket of its own, and
// the kernel spreads connections by chance. The price is that those which a worker has yet to accept wait for it
// alone: where it dies they are reset.

import cluster from 'node:cluster'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Configuration } from '../configuration/configuration.ts'
import { drainMsMax } from '../drain.ts'
import { type Check, startManagement } from '../listener/management.ts'
import type { Log } from '../telemetry/log.ts'
import { startPruning } from '../tokens/pruning.ts'
import { openSqliteStore, requestBusyMs } from '../tokens/sqlite.ts'
import type { TokenStore } from '../tokens/store.ts'
import { combineChecks } from './combine-checks.ts'
import { type End, Member } from './member.ts'
import { type Ports, pickPorts } from './ports.ts'
import { PrimaryMetrics } from './primary-metrics.ts'
import { RestartDelay } from './restart-delay.ts'
import { Totals } from './totals.ts'

/** What a worker may take to end once its drain is over, before it is killed. */
const endGraceMs = 5_000

export class Primary {
  #configuration: Configuration
  #log: Log
  #store: TokenStore
  #stopPruning: (() => void) | undefined
  #stopManagement: (() => Promise<void>) | undefined
  /** `failed`: it could not start. */
  #phase: 'starting' | 'running' | 'draining' | 'failed' = 'starting'
  /** By number; between the death of a worker and its replacement there is none. */
  #members = new Map<number, Member>()
  #delays: readonly RestartDelay[]
  #restarts = new Set<NodeJS.Timeout>()
  #ports: Ports | undefined
  #totals = new Totals()
  #metrics = new PrimaryMetrics(() => this.#accepting)
  #managed: Promise<void> | undefined
  #begun = Promise.withResolvers<void>()
  #closed: Promise<void> | undefined

  /** Opens the authority, and migrates it before the workers do; throws where it cannot be used. */
  constructor(configuration: Configuration, workers: number, log: Log) {
    this.#configuration = configuration
    this.#log = log
    this.#delays = Array.from({ length: workers }, () => new RestartDelay())
    this.#store = openSqliteStore(configuration.tokens.authority.file, { busyMs: requestBusyMs })
  }

  /**
   * Resolves when every worker accepts, or when it was stopped before; rejects, with nothing left open,
   * when one cannot start.
   */
  async start(): Promise<void> {
    try {
      this.#managed = this.#manage()
      await this.#managed
      this.#ports = await pickPorts(this.#configuration.listen)
      if (this.#phase === 'draining') {
        this.#ports.close()
        return
      }
      this.#configuration = { ...this.#configuration, listen: this.#ports.listen }
      this.#forkAll()
      await this.#begun.promise
    } catch (error) {
      this.#phase = 'failed'
      await this.#killAll()
      await this.#close()
      throw error
    }
  }

  /** Drains every worker: not ready at once, then as each gateway does. */
  async stop(): Promise<void> {
    this.#phase = 'draining'
    this.#log.info('draining')
    // No worker listens anew: another gateway may as soon as those that do have ended it.
    this.#ports?.close()
    for (const timer of this.#restarts) clearTimeout(timer)
    await this.#managed?.catch(() => {})
    for (const member of this.#members.values()) member.drain()
    const longestMs = drainMsMax(this.#configuration.server.drain) + endGraceMs
    const late = setTimeout(() => void this.#killAll(), longestMs)
    await this.#empty()
    clearTimeout(late)
    this.#begun.resolve()
    await this.#close()
    this.#log.info('stopped')
  }

  get #accepting(): number {
    return [...this.#members.values()].filter(({ isAccepting }) => isAccepting).length
  }

  async #manage(): Promise<void> {
    const { management } = this.#configuration
    if (management === undefined) return
    const { url, stop } = await startManagement(management, {
      isReady: () => this.#phase === 'running' && this.#accepting > 0,
      metrics: () => this.#page(),
      checks: () => this.#checks(),
    })
    this.#stopManagement = stop
    this.#log.info({ url, management: true }, 'listening')
  }

  #forkAll(): void {
    const entry = new URL(`./worker${extname(import.meta.filename)}`, import.meta.url)
    cluster.schedulingPolicy = cluster.SCHED_NONE
    cluster.setupPrimary({ exec: fileURLToPath(entry), args: [], serialization: 'advanced' })
    // However this process ends, short of SIGKILL, it leaves no worker behind that is busy.
    process.on('exit', () => void this.#killAll())
    for (const index of this.#delays.keys()) this.#fork(index + 1)
  }

  #fork(number: number): void {
    const member = new Member(number, this.#configuration, {
      accepts: (member, urls) => this.#accepts(member, urls),
      ended: (member, end) => this.#ended(member, end),
    })
    this.#members.set(number, member)
  }

  #accepts(member: Member, urls: readonly string[]): void {
    this.#log.info({ worker: member.number, pid: member.pid }, 'a worker accepts connections')
    this.#ports?.release()
    if (this.#phase !== 'starting' || this.#accepting < this.#delays.length) return
    this.#phase = 'running'
    for (const url of urls) this.#log.info({ url }, 'listening')
    this.#stopPruning = startPruning(this.#store, this.#log)
    this.#begun.resolve()
  }

  #ended(member: Member, end: End): void {
    this.#members.delete(member.number)
    if (member.lastReport !== undefined) this.#totals.keep(member.lastReport.figures)
    const how = { worker: member.number, pid: member.pid, ...end, cause: member.failure }
    if (this.#phase === 'starting') {
      const reason = `a worker ended before it accepted connections (${writeEnd(end)})`
      this.#begun.reject(new Error(member.failure ?? reason))
    } else if (this.#phase === 'running') {
      this.#replace(member, how)
    } else if (this.#phase === 'draining' && end.exitCode !== 0) {
      this.#log.error(how, 'a worker died while it drained')
    }
  }

  #replace(member: Member, how: object): void {
    this.#metrics.died()
    const restartMs = this.#delays[member.number - 1]!.after(member.acceptedMs)
    this.#log.error({ ...how, restartMs }, 'a worker died and is replaced')
    const timer = setTimeout(() => {
      this.#restarts.delete(timer)
      this.#fork(member.number)
    }, restartMs)
    this.#restarts.add(timer)
  }

  async #page(): Promise<{ readonly type: string; readonly text: string }> {
    const members = await this.#ask()
    const own = await this.#metrics.figures()
    // Not those who ended meanwhile: the totals have kept what they said.
    const living = members.filter(({ hasEnded }) => !hasEnded)
    const figures = living.flatMap(({ lastReport }) => (lastReport ? [lastReport.figures] : []))
    return { type: this.#metrics.contentType, text: await this.#totals.page(own, figures) }
  }

  async #checks(): Promise<readonly Check[]> {
    const members = await this.#ask()
    const said = members.flatMap(({ lastReport }) => (lastReport ? [lastReport.checks] : []))
    const count = this.#delays.length
    const value = this.#accepting === count ? 'ok' : `${this.#accepting} of ${count}`
    return [
      ...combineChecks([[{ name: 'configuration', value: 'ok' }], ...said]),
      { name: 'workers', value },
    ]
  }

  async #ask(): Promise<readonly Member[]> {
    const members = [...this.#members.values()]
    await Promise.all(members.map((member) => member.ask()))
    return members
  }

  async #killAll(): Promise<void> {
    for (const member of this.#members.values()) member.kill()
    await this.#empty()
  }

  /** Resolves when every worker has ended. */
  async #empty(): Promise<void> {
    await Promise.all([...this.#members.values()].map(({ gone }) => gone))
  }

  #close(): Promise<void> {
    this.#closed ??= this.#closeAll()
    return this.#closed
  }

  async #closeAll(): Promise<void> {
    this.#ports?.close()
    this.#stopPruning?.()
    await this.#stopManagement?.()
    await this.#store.close()
  }
}

function writeEnd({ exitCode, signal }: End): string {
  return signal === null ? `exit code ${exitCode}` : `signal ${signal}`
}
