// The pieces that the schemas of the configuration are made of. Each says, in the words of its complaint,
// what would be right: a message that begins with `expected` is completed with the key and the value.

import * as z from 'zod'
import {
  durationForm,
  durationPattern,
  parseDuration,
  parseSize,
  sizeForm,
  sizePattern,
  writeDuration,
  writeSize,
} from './units.ts'

/** A timer of Node holds 2^31 - 1 ms, almost 25 days; beyond them it would fire at once. */
export const timerMsMax = 24 * 86_400_000

/** A map with these keys and no other. The known keys are the message of an unknown one. */
export function fields<Shape extends z.ZodRawShape>(shape: Shape) {
  const known = knownKeys(shape).join(', ')
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys' ? known : `expected a map with keys of: ${known}`,
  })
}

/** The keys that this version serves. */
export function knownKeys(shape: z.ZodRawShape): readonly string[] {
  return Object.keys(shape).filter((key) => !('not' in (z.globalRegistry.get(shape[key]!) ?? {})))
}

/** A string that is not empty. `form` says which: `a path`. */
export function text(form = 'a string that is not empty') {
  const error = `expected ${form}`
  return z.string({ error }).min(1, { error, abort: true })
}

/** A string that has a form; the JSON Schema shows the pattern. */
export function pattern(expression: RegExp, form: string) {
  const error = `expected ${form}`
  return z.string({ error }).regex(expression, { error })
}

/** A whole number within bounds. */
export function whole(min: number, max: number) {
  const error = `expected a whole number from ${min} to ${max}`
  return z.int({ error }).min(min, { error }).max(max, { error })
}

/** true or false. */
export function flag() {
  return z.boolean({ error: 'expected true or false' })
}

/** One of a few words. */
export function choice<const Words extends readonly [string, ...string[]]>(words: Words) {
  return z.enum(words, { error: `expected ${oneOf(words)}` })
}

/** A list with at least one item. */
export function list<Item extends z.ZodType>(item: Item, form: string) {
  const error = `expected ${form}`
  return z.array(item, { error }).min(1, { error })
}

/** `a, b or c`. */
export function oneOf(words: readonly string[]): string {
  return words.length < 2
    ? words.join('')
    : `${words.slice(0, -1).join(', ')} or ${words[words.length - 1]}`
}

/** A duration within bounds, as milliseconds. */
export function duration(minMs = 0, maxMs: number = timerMsMax) {
  return quantity(durationForm, durationPattern, parseDuration, writeDuration, minMs, maxMs)
}

/** A size within bounds, as bytes. */
export function size(minBytes: number, maxBytes: number) {
  return quantity(sizeForm, sizePattern, parseSize, writeSize, minBytes, maxBytes)
}

/** A key that the configuration knows and this version does not serve: refused by name. */
export function notYet(key: string, instead: string) {
  return z
    .unknown()
    .optional()
    .superRefine((value, context) => {
      if (value !== undefined) context.addIssue({ code: 'custom', message: absent(key, instead) })
    })
    .meta({ description: `Not in this version: ${instead}.`, not: {} })
}

/** `… is not in this version; …`. */
export function absent(what: string, instead: string): string {
  return `\`${what}\` is not in this version; ${instead}`
}

function quantity(
  form: string,
  expression: string,
  parse: (value: string | number) => number | undefined,
  write: (value: number) => string,
  min: number,
  max: number,
) {
  const error = `expected ${form}`
  return z
    .union([z.string().meta({ pattern: expression }), z.literal(0)], { error })
    .transform((value, context) => {
      const parsed = parse(value)
      if (parsed !== undefined && parsed >= min && parsed <= max) return parsed
      const message =
        parsed === undefined ? error : `expected a value from ${write(min)} to ${write(max)}`
      context.addIssue({ code: 'custom', message })
      return z.NEVER
    })
}
