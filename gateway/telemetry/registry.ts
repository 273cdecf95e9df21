// The page of metrics as Prometheus reads it: Node's own figures, the gateway's state, and the series that
// requests add to. Loaded once the gateway listens, since it takes longer than the rest of the telemetry.

import {
  type Counter,
  collectDefaultMetrics,
  Gauge,
  type MetricObjectWithValues,
  type MetricValueWithName,
  Registry,
} from '@prometheus-io/client'
import type { CounterSeries, HistogramSeries } from './series.ts'

/** What a page is made of, as data that can be sent to another process. */
export type Figures = readonly MetricObjectWithValues<MetricValueWithName<string>>[]

export type State = {
  readonly version: string
  /** Requests under way. */
  readonly openStreams: () => number
  /** Whether what the gateway depends on answers, by name. */
  readonly dependencies: ReadonlyMap<string, boolean>
}

/** How often it is looked at how busy the event loop was: ten times a second is a fifth of what an idle gateway costs. */
const utilizationMs = 1_000

export function makeRegistry(
  state: State,
  series: readonly (CounterSeries | HistogramSeries)[],
): Registry {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry, eventLoopUtilizationTimeout: utilizationMs })
  // Of a metric the registry uses its name and what it exports.
  for (const metric of series) registry.registerMetric(metric as unknown as Counter)
  new Gauge({
    name: 'scopegate_dependency_up',
    help: 'Whether what the gateway depends on answers: 1 or 0.',
    labelNames: ['name'],
    aggregator: 'min',
    registers,
    collect() {
      for (const [name, isUp] of state.dependencies) this.set({ name }, isUp ? 1 : 0)
    },
  })
  new Gauge({
    name: 'scopegate_open_streams',
    help: 'Requests under way.',
    registers,
    collect() {
      this.set(state.openStreams())
    },
  })
  new Gauge({
    name: 'scopegate_build_info',
    help: 'The version that runs, as a label.',
    labelNames: ['version'],
    aggregator: 'first',
    registers,
  }).set({ version: state.version }, 1)
  new Gauge({
    name: 'scopegate_config_last_reload_successful',
    help: 'Whether the configuration was good when it was last read: 1 or 0.',
    aggregator: 'min',
    registers,
  }).set(1)
  return registry
}
