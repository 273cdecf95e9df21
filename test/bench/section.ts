// A section of the benchmark: a question, and the measurements that answer it.

import type { Report } from './report.ts'
import type { Bench } from './scene.ts'

/** How much is measured. */
export type Effort = {
  /** Each contender in turn, so many times. */
  readonly rounds: number
  /** Of each measurement under load. */
  readonly seconds: number
  /** Of load before each measurement of requests. */
  readonly leadInSeconds: number
  /** Of load before the first measurement, for what compiles itself and fills its caches. */
  readonly warmUpSeconds: number
  /** Starts of which the median is taken. */
  readonly starts: number
  /** A few contenders and figures only. */
  readonly quick: boolean
}

export type Section = {
  readonly name: string
  readonly title: string
  measure(scene: Bench, effort: Effort): Promise<Report>
}
