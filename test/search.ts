// How far the properties of readers are searched. CI plays the same few cases each time; `FC_SEED`
// plays others, `FC_TIMES` so many times as many of them (`FC_TIMES=100` takes some minutes).

import fc from 'fast-check'

const times = Number(process.env.FC_TIMES ?? 1)
export const seed = Number(process.env.FC_SEED ?? 1_170_215_533)
/** Of one property, counterexamples made smaller included; a slow machine plays fewer cases. */
const timeLimitMs = 8_000 * times

/** Plays a property with so many cases, or with the multiple that was asked for. */
export async function search<Values>(
  runs: number,
  property: fc.IAsyncProperty<Values> | fc.IProperty<Values>,
): Promise<void> {
  const bounds = { numRuns: runs * times, interruptAfterTimeLimit: timeLimitMs }
  await fc.assert(property, { ...bounds, seed })
}

/** Pieces of the bytes, cut at these places (parts of 1 of the length). */
export function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = places.map((place) => Math.floor(place * bytes.length)).sort((a, b) => a - b)
  const starts = [0, ...ends]
  return starts.map((start, i) => bytes.subarray(start, ends[i] ?? bytes.length))
}

/** Places to cut, few or many. */
export const places: fc.Arbitrary<readonly number[]> = fc.oneof(
  fc.array(unit(), { maxLength: 4 }),
  fc.array(unit(), { minLength: 20, maxLength: 200, size: 'max' }),
)

function unit(): fc.Arbitrary<number> {
  return fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
}

/** A change of some bytes. */
export type Mutation = {
  readonly at: number
  readonly do: 'flip' | 'set' | 'drop' | 'insert' | 'repeat' | 'swap'
  readonly value: number
  readonly length: number
}

/** A few changes, most of them small. */
export const mutations: fc.Arbitrary<readonly Mutation[]> = fc.array(
  fc.record({
    at: unit(),
    do: fc.constantFrom('flip', 'set', 'drop', 'insert', 'repeat', 'swap'),
    value: fc.oneof(fc.integer({ min: 0, max: 255 }), fc.constantFrom(0, 1, 0x7f, 0x80, 0xff)),
    length: fc.oneof(
      { weight: 4, arbitrary: fc.integer({ min: 1, max: 4 }) },
      { weight: 1, arbitrary: fc.integer({ min: 5, max: 64 }) },
    ),
  }),
  { minLength: 1, maxLength: 4 },
)

/** The bytes with the changes made. */
export function mutate(bytes: Buffer, changes: readonly Mutation[]): Buffer {
  let result = bytes
  for (const { at, do: what, value, length } of changes) {
    const start = Math.floor(at * result.length)
    const end = Math.min(start + length, result.length)
    const [before, here, after] = [
      result.subarray(0, start),
      Buffer.from(result.subarray(start, end)),
      result.subarray(end),
    ]
    const become: Record<Mutation['do'], () => Buffer> = {
      flip: () => here.map((byte, i) => (i === 0 ? byte ^ (1 << (value & 7)) : byte)) as Buffer,
      set: () => here.fill(value),
      drop: () => Buffer.alloc(0),
      insert: () => Buffer.concat([here, Buffer.alloc(length, value)]),
      repeat: () => Buffer.concat([here, here]),
      swap: () => here.reverse(),
    }
    result = Buffer.concat([before, become[what](), after])
  }
  return result
}
