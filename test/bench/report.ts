// What a section hands back, and how it is printed: tables of figures, and lines that hold one ratio or one
// time against its goal.

export type Table = {
  readonly head: readonly string[]
  readonly rows: readonly (readonly string[])[]
}

/** One figure that is compared; `goal` is the most it may be. */
export type Verdict = {
  readonly what: string
  readonly value: number
  readonly unit: 'x' | 'ms'
  readonly goal?: number
}

export type Report = {
  readonly tables: readonly Table[]
  readonly verdicts: readonly Verdict[]
  /** For the JSON file: objects of numbers and words, without lists. */
  readonly figures: object
  /** What was left out, and why. */
  readonly note?: string
}

const verdictColumns = 62

/** Columns of figures to the right, the others to the left. */
export function printTable({ head, rows }: Table): string {
  const all = [head, ...rows]
  const columns = head.map((_, column) => ({
    width: Math.max(...all.map((row) => row[column]?.length ?? 0)),
    isNumeric: rows.every((row) => /^(-?\d|$)/.test(row[column] ?? '')),
  }))
  return all
    .map((row) =>
      columns
        .map(({ width, isNumeric }, i) =>
          isNumeric ? (row[i] ?? '').padStart(width) : (row[i] ?? '').padEnd(width),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

export function printVerdict(verdict: Verdict): string {
  const { what, value, unit, goal } = verdict
  const suffix = unit === 'x' ? 'x' : ' ms'
  const text = `${what.padEnd(verdictColumns)} ${`${value.toFixed(2)}${suffix}`.padStart(10)}`
  if (goal === undefined) return text
  return `${text}   goal ${goal}${suffix}: ${isMet(verdict) ? 'met' : 'NOT MET'}`
}

/** Undefined where there is no goal. */
export function isMet({ value, goal }: Verdict): boolean | undefined {
  return goal === undefined ? undefined : value <= goal
}
