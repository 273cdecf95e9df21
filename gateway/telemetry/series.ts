// Counters and histograms whose series are found once and then cost an addition: what every request tells must
// not look its labels up, check and join them each time. The registry asks for them as for its own kinds.

import type { MetricObjectWithValues, MetricValueWithName } from '@prometheus-io/client'

export type Labels = Readonly<Record<string, string>>

type Exported = MetricObjectWithValues<MetricValueWithName<string>>

export type Count = { value: number }

export class CounterSeries {
  readonly name: string
  readonly #help: string
  readonly #series: { readonly labels: Labels; readonly count: Count }[] = []

  constructor(name: string, help: string) {
    this.name = name
    this.#help = help
  }

  /** A new series; the labels must be those of no other. */
  add(labels: Labels): Count {
    const count = { value: 0 }
    this.#series.push({ labels, count })
    return count
  }

  async get(): Promise<Exported> {
    const values = this.#series.map(({ labels, count }) => {
      return { labels, value: count.value, metricName: this.name }
    })
    return exported(this.name, this.#help, 'counter', values)
  }
}

/** Observations by upper bound, as a histogram of Prometheus adds them up. */
export class Distribution {
  readonly #bounds: readonly number[]
  /** One more than there are bounds: what is above all of them. */
  readonly counts: number[]
  sum = 0

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.counts = Array.from({ length: bounds.length + 1 }, () => 0)
  }

  observe(value: number): void {
    let place = 0
    while (value > (this.#bounds[place] as number)) place++
    this.counts[place]! += 1
    this.sum += value
  }
}

export class HistogramSeries {
  readonly name: string
  readonly #help: string
  readonly #bounds: readonly number[]
  readonly #series: { readonly labels: Labels; readonly distribution: Distribution }[] = []

  constructor(name: string, help: string, bounds: readonly number[]) {
    this.name = name
    this.#help = help
    this.#bounds = bounds
  }

  /** A new series; the labels must be those of no other. */
  add(labels: Labels): Distribution {
    const distribution = new Distribution(this.#bounds)
    this.#series.push({ labels, distribution })
    return distribution
  }

  async get(): Promise<Exported> {
    const values: Exported['values'] = []
    for (const { labels, distribution } of this.#series) {
      let count = 0
      for (const [place, amount] of distribution.counts.entries()) {
        count += amount
        const le = String(this.#bounds[place] ?? '+Inf')
        values.push({ labels: { le, ...labels }, value: count, metricName: `${this.name}_bucket` })
      }
      values.push({ labels, value: distribution.sum, metricName: `${this.name}_sum` })
      values.push({ labels, value: count, metricName: `${this.name}_count` })
    }
    return exported(this.name, this.#help, 'histogram', values)
  }
}

function exported(
  name: string,
  help: string,
  type: 'counter' | 'histogram',
  values: Exported['values'],
): Exported {
  return { name, help, type, values, aggregator: 'sum' } as unknown as Exported
}
