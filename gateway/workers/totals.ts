// The metrics of all workers as one page. Counters and histograms never go backwards when a worker ends:
// what it had said last is kept. What it counted after that was on no page, and is lost if it was killed.

import { AggregatorRegistry, type Registry } from '@prometheus-io/client'
import type { Figures } from '../telemetry/registry.ts'

export class Totals {
  /** Sums over the workers that ended. */
  #ended: Figures = []

  /** A worker has ended; these were its last figures. */
  keep(last: Figures): void {
    const counted = last.filter(({ type }) => ['counter', 'histogram'].includes(String(type)))
    this.#ended = add([this.#ended, counted]).getMetricsAsArray() as unknown as Figures
  }

  /** The page: the primary's own figures, and the workers' by each metric's aggregator. */
  page(own: Figures, workers: readonly Figures[]): Promise<string> {
    const shown = workers.map((figures) => figures.map(withoutQuantiles))
    return add([own, ...shown, this.#ended]).metrics()
  }
}

function add(figures: readonly Figures[]): Registry {
  return AggregatorRegistry.aggregate(figures.map((one) => [...one]))
}

/** Quantiles of several processes make none of all of them; a summary's sum and count do. */
function withoutQuantiles(metric: Figures[number]): Figures[number] {
  return { ...metric, values: metric.values.filter(({ labels }) => labels?.quantile === undefined) }
}
