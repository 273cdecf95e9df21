// Metrics for Prometheus, in base units. Labels are routes, methods, statuses and codes: closed sets. They
// never hold paths, tokens or addresses.

import {
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  type MetricObjectWithValues,
  type MetricValueWithName,
  Registry,
} from '@prometheus-io/client'
import type { Exchange } from '../listener/exchange.ts'
import type { LookupResult, LookupTier } from '../tokens/observer.ts'
import { outcomeOf } from './log.ts'

/** Seconds; the buckets that OpenTelemetry advises for http.server.request.duration. */
const requestSeconds = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
const lookupSeconds = [0.000_01, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5]
const noRoute = 'none'

/** What a page is made of, as data that can be sent to another process. */
export type Figures = readonly MetricObjectWithValues<MetricValueWithName<string>>[]

export class Metrics {
  #registry = new Registry()
  #duration = this.#histogram(
    'http_server_request_duration_seconds',
    'Time from the head of a request to the end of its reply.',
  )
  #firstByte = this.#histogram(
    'http_server_time_to_first_byte_seconds',
    'Time from the head of a request to the head of its reply.',
  )
  #decisions = new Counter({
    name: 'scopegate_decisions_total',
    help: 'Requests by what became of them.',
    labelNames: ['route', 'outcome', 'reason'],
    registers: [this.#registry],
  })
  #lookups = new Counter({
    name: 'scopegate_token_lookups_total',
    help: 'Token lookups by the tier that was asked and what it said.',
    labelNames: ['tier', 'result'],
    registers: [this.#registry],
  })
  #lookupDuration = new Histogram({
    name: 'scopegate_token_lookup_duration_seconds',
    help: 'Time that a tier took for a token lookup.',
    labelNames: ['tier'],
    buckets: lookupSeconds,
    registers: [this.#registry],
  })
  #dependencies = new Gauge({
    name: 'scopegate_dependency_up',
    help: 'Whether what the gateway depends on answers: 1 or 0.',
    labelNames: ['name'],
    aggregator: 'min',
    registers: [this.#registry],
  })

  /** `openStreams` counts the requests under way when the page is asked for. */
  constructor(version: string, openStreams: () => number) {
    collectDefaultMetrics({ register: this.#registry })
    new Gauge({
      name: 'scopegate_open_streams',
      help: 'Requests under way.',
      registers: [this.#registry],
      collect() {
        this.set(openStreams())
      },
    })
    new Gauge({
      name: 'scopegate_build_info',
      help: 'The version that runs, as a label.',
      labelNames: ['version'],
      aggregator: 'first',
      registers: [this.#registry],
    }).set({ version }, 1)
    new Gauge({
      name: 'scopegate_config_last_reload_successful',
      help: 'Whether the configuration was good when it was last read: 1 or 0.',
      aggregator: 'min',
      registers: [this.#registry],
    }).set(1)
  }

  /** A request has ended. */
  request(exchange: Exchange): void {
    const route = exchange.route ?? noRoute
    const labels = { route, method: exchange.method, status: String(exchange.status) }
    this.#duration.observe(labels, (performance.now() - exchange.startedAt) / 1000)
    if (exchange.firstByteAt !== undefined) {
      this.#firstByte.observe(labels, (exchange.firstByteAt - exchange.startedAt) / 1000)
    }
    this.#decisions.inc({ route, outcome: outcomeOf(exchange), reason: exchange.reason })
  }

  /** A tier answered a lookup, or did not. */
  lookup(tier: LookupTier, result: LookupResult, durationMs: number): void {
    this.#lookups.inc({ tier, result })
    this.#lookupDuration.observe({ tier }, durationMs / 1000)
  }

  dependency(name: string, up: boolean): void {
    this.#dependencies.set({ name }, up ? 1 : 0)
  }

  /** The page, and its Content-Type. */
  async page(): Promise<{ readonly type: string; readonly text: string }> {
    return { type: this.#registry.contentType, text: await this.#registry.metrics() }
  }

  /** For the process that adds up those of several (workers/totals.ts). */
  figures(): Promise<Figures> {
    return this.#registry.getMetricsAsJSON()
  }

  #histogram(name: string, help: string): Histogram<'route' | 'method' | 'status'> {
    return new Histogram({
      name,
      help,
      labelNames: ['route', 'method', 'status'],
      buckets: requestSeconds,
      registers: [this.#registry],
    })
  }
}
