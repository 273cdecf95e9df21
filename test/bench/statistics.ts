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

/** The median over the rounds of one to the other: what was measured side by side is compared. */
export function ratio(of: readonly number[], to: readonly number[]): number {
  return median(of.map((value, round) => value / (to[round] ?? Number.NaN)))
}

/** The value that the part `at` (0 to 1) of an ascending list does not exceed. */
export function percentile(sorted: ArrayLike<number>, at: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * at) - 1)] ?? Number.NaN
}
