// The few statistics that the benchmark makes of its rounds.

/** Of the rounds of one figure. */
export type Spread = { readonly median: number; readonly lowest: number; readonly highest: number }

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2
}

export function spread(values: readonly number[]): Spread {
  return { median: median(values), lowest: Math.min(...values), highest: Math.max(...values) }
}

/**
 * The geometric mean over the rounds of one to the other: what was measured side by side is compared. Of each nine
 * the lowest and the highest do not count. Where one has more rounds they do not either.
 */
export function ratio(of: readonly number[], to: readonly number[]): number {
  const sorted = logarithms(of, to).sort((a, b) => a - b)
  const cut = Math.floor(sorted.length / 9)
  return Math.exp(mean(sorted.slice(cut, sorted.length - cut)))
}

/** By how much of itself the ratio may be off, twice its standard error: once in twenty times it is off by more. */
export function doubt(of: readonly number[], to: readonly number[]): number {
  const logs = logarithms(of, to)
  const middle = mean(logs)
  const variance = logs.reduce((sum, log) => sum + (log - middle) ** 2, 0) / (logs.length - 1)
  return 2 * Math.sqrt(variance / logs.length)
}

function logarithms(of: readonly number[], to: readonly number[]): number[] {
  return of.slice(0, to.length).map((value, round) => Math.log(value / to[round]!))
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** The value that the part `at` (0 to 1) of an ascending list does not exceed. */
export function percentile(sorted: ArrayLike<number>, at: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * at) - 1)] ?? Number.NaN
}
