// Durations and sizes as the configuration writes them: a whole number and a unit, `0` alone is both.
// Pure. A bare number is never read as seconds or bytes: which of them was meant is a guess.

/** What a duration looks like; a JSON Schema pattern too. */
export const durationPattern = '^(0|[0-9]+(ms|s|m|h|d))$'
/** What a size looks like; a JSON Schema pattern too. */
export const sizePattern = '^(0|[0-9]+(B|KiB|MiB|GiB))$'

/** The form of a duration in words, for complaints. */
export const durationForm = 'a duration: a whole number and ms, s, m, h or d, as in 30s'
/** The form of a size in words, for complaints. */
export const sizeForm = 'a size: a whole number and B, KiB, MiB or GiB, as in 16KiB'

const millisecondsByUnit: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

const bytesByUnit: Readonly<Record<string, number>> = {
  B: 1,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
}

/** Milliseconds of `30s`, `15m`, `0`; undefined for any other form and beyond exact integers. */
export function parseDuration(value: string | number): number | undefined {
  return parseQuantity(value, millisecondsByUnit)
}

/** Bytes of `16KiB`, `0`; undefined for any other form and beyond exact integers. */
export function parseSize(value: string | number): number | undefined {
  return parseQuantity(value, bytesByUnit)
}

/** The duration in its largest whole unit: 90000 is `90s`. */
export function writeDuration(milliseconds: number): string {
  return writeQuantity(milliseconds, millisecondsByUnit)
}

/** The size in its largest whole unit: 16384 is `16KiB`. */
export function writeSize(bytes: number): string {
  return writeQuantity(bytes, bytesByUnit)
}

function parseQuantity(value: string | number, units: typeof bytesByUnit): number | undefined {
  if (value === 0 || value === '0') return 0
  const parts = /^(\d{1,15})([A-Za-z]{1,3})$/.exec(String(value))
  const factor = parts && Object.hasOwn(units, parts[2]!) ? units[parts[2]!]! : undefined
  if (!parts || factor === undefined) return undefined
  const total = Number(parts[1]) * factor
  return Number.isSafeInteger(total) ? total : undefined
}

function writeQuantity(total: number, units: typeof bytesByUnit): string {
  let written = '0'
  for (const [unit, factor] of Object.entries(units)) {
    if (total >= factor && total % factor === 0) written = `${total / factor}${unit}`
  }
  return written
}
