// Metrics for Prometheus, in base units. Labels are routes, methods, statuses and codes: closed sets. They
// never hold paths, tokens or addresses.

import type { Registry } from '@prometheus-io/client'
import type { Exchange } from '../listener/exchange.ts'
import type { LookupResult, LookupTier } from '../tokens/observer.ts'
import type { Figures, State } from './registry.ts'
import { outcomeOf } from './request-log.ts'
import {
  type Count,
  CounterSeries,
  type Distribution,
  HistogramSeries,
  type Labels,
} from './series.ts'

/** Seconds; the buckets that OpenTelemetry advises for http.server.request.duration. */
const requestSeconds = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
const lookupSeconds = [0.000_01, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5]
const noRoute = 'none'

export class Metrics {
  readonly #state: State
  readonly #dependencies = new Map<string, boolean>()
  #registry: Promise<Registry> | undefined
  #duration = new HistogramSeries(
    'http_server_request_duration_seconds',
    'Time from the head of a request to the end of its reply.',
    requestSeconds,
  )
  #firstByte = new HistogramSeries(
    'http_server_time_to_first_byte_seconds',
    'Time from the head of a request to the head of its reply.',
    requestSeconds,
  )
  #decisions = new CounterSeries('scopegate_decisions_total', 'Requests by what became of them.')
  #lookups = new CounterSeries(
    'scopegate_token_lookups_total',
    'Token lookups by the tier that was asked and what it said.',
  )
  #lookupDuration = new HistogramSeries(
    'scopegate_token_lookup_duration_seconds',
    'Time that a tier took for a token lookup.',
    lookupSeconds,
  )
  /** The series of what was seen once, by all that their labels are made of. */
  readonly #requestSeries = new Map<string, RequestSeries>()
  readonly #decisionSeries = new Map<string, Count>()
  /** Those of the last request, which the next one often shares. */
  #last: LastSeries | undefined
  readonly #lookupSeries = new Map<LookupTier, Map<LookupResult, Count>>()
  readonly #tierSeries = new Map<LookupTier, Distribution>()
  #lastLookup: LookupSeries | undefined

  /** `openStreams` counts the requests under way when the page is asked for. */
  constructor(version: string, openStreams: () => number) {
    this.#state = { version, openStreams, dependencies: this.#dependencies }
  }

  /** Begins to collect Node's own figures. */
  load(): Promise<Registry> {
    this.#registry ??= import('./registry.ts').then(({ makeRegistry }) =>
      makeRegistry(this.#state, [
        this.#duration,
        this.#firstByte,
        this.#decisions,
        this.#lookups,
        this.#lookupDuration,
      ]),
    )
    return this.#registry
  }

  /** A request has ended. */
  request(exchange: Exchange, durationMs: number): void {
    const { startedAt, firstByteAt } = exchange
    const { series, decision } = this.#seriesOfLike(exchange)
    series.duration.observe(durationMs / 1000)
    if (firstByteAt !== undefined) {
      series.firstByte ??= this.#firstByte.add(series.labels)
      series.firstByte.observe((firstByteAt - startedAt) / 1000)
    }
    decision.value++
  }

  /** A tier answered a lookup, or did not. */
  lookup(tier: LookupTier, result: LookupResult, durationMs: number): void {
    const last = this.#lastLookup
    const isLike = last !== undefined && last.tier === tier && last.result === result
    const { count, duration } = isLike ? last : this.#lookupSeriesOf(tier, result)
    count.value++
    duration.observe(durationMs / 1000)
  }

  #lookupSeriesOf(tier: LookupTier, result: LookupResult): LookupSeries {
    let results = this.#lookupSeries.get(tier)
    if (results === undefined) {
      results = new Map()
      this.#lookupSeries.set(tier, results)
    }
    let count = results.get(result)
    if (count === undefined) {
      count = this.#lookups.add({ tier, result })
      results.set(result, count)
    }
    let duration = this.#tierSeries.get(tier)
    if (duration === undefined) {
      duration = this.#lookupDuration.add({ tier })
      this.#tierSeries.set(tier, duration)
    }
    this.#lastLookup = { tier, result, count, duration }
    return this.#lastLookup
  }

  dependency(name: string, up: boolean): void {
    this.#dependencies.set(name, up)
  }

  /** The page, and its Content-Type. */
  async page(): Promise<{ readonly type: string; readonly text: string }> {
    const registry = await this.load()
    return { type: registry.contentType, text: await registry.metrics() }
  }

  /** For the process that adds up those of several (workers/totals.ts). */
  async figures(): Promise<Figures> {
    return await (await this.load()).getMetricsAsJSON()
  }

  #seriesOfLike(exchange: Exchange): LastSeries {
    const { route, method, status, reason } = exchange
    const last = this.#last
    const isLike =
      last !== undefined &&
      last.route === route &&
      last.method === method &&
      last.status === status &&
      last.reason === reason
    if (isLike) return last
    const series = this.#seriesOf(exchange)
    const decision = this.#decisionOf(exchange)
    this.#last = { route, method, status, reason, series, decision }
    return this.#last
  }

  #seriesOf({ route = noRoute, method, status }: Exchange): RequestSeries {
    const key = `${route} ${method} ${status}`
    const known = this.#requestSeries.get(key)
    if (known !== undefined) return known
    const labels = { route, method, status: String(status) }
    const series = { labels, duration: this.#duration.add(labels), firstByte: undefined }
    this.#requestSeries.set(key, series)
    return series
  }

  #decisionOf(exchange: Exchange): Count {
    const { route = noRoute, reason } = exchange
    const key = `${route} ${reason}`
    const known = this.#decisionSeries.get(key)
    if (known !== undefined) return known
    const count = this.#decisions.add({ route, outcome: outcomeOf(exchange), reason })
    this.#decisionSeries.set(key, count)
    return count
  }
}

type LastSeries = Pick<Exchange, 'route' | 'method' | 'status' | 'reason'> & {
  readonly series: RequestSeries
  readonly decision: Count
}

type LookupSeries = {
  readonly tier: LookupTier
  readonly result: LookupResult
  readonly count: Count
  readonly duration: Distribution
}

type RequestSeries = {
  readonly labels: Labels
  readonly duration: Distribution
  firstByte: Distribution | undefined
}
