// What the primary counts by itself: its workers.

import { Counter, Gauge, Registry } from '@prometheus-io/client'
import type { Figures } from '../telemetry/registry.ts'

export class PrimaryMetrics {
  #registry = new Registry()
  #died = new Counter({
    name: 'scopegate_workers_died_total',
    help: 'Workers that ended though nobody had told them to.',
    registers: [this.#registry],
  })

  /** `accepting` counts the workers that accept connections when the page is asked for. */
  constructor(accepting: () => number) {
    new Gauge({
      name: 'scopegate_workers',
      help: 'Workers that accept connections.',
      registers: [this.#registry],
      collect() {
        this.set(accepting())
      },
    })
    // The gateway's, which no replaced worker makes younger; the workers' own is left out.
    new Gauge({
      name: 'process_start_time_seconds',
      help: 'Start time of the process since unix epoch in seconds.',
      aggregator: 'first',
      registers: [this.#registry],
    }).set(Math.round(performance.timeOrigin / 1000))
  }

  died(): void {
    this.#died.inc()
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  figures(): Promise<Figures> {
    return this.#registry.getMetricsAsJSON()
  }
}
