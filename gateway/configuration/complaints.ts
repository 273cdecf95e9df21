// What a schema finds wrong, said at its place: what is wrong, and what would be right. Values that came
// from a variable are never shown. Pure.

import * as z from 'zod'
import { type Complain, type Located, type LocatedMap, locate, plain } from './positions.ts'
import { knownKeys } from './schema.ts'

/** Names further away than this from what was written are not suggested. */
const suggestionDistanceMax = 3
const shownCharactersMax = 60

type Issue = z.core.$ZodIssue

/**
 * Reads the fields of a map one by one, so that a mistake in one does not hide the others from the
 * checks that follow. A field that is faulty is absent from the result. Those that the caller reads by
 * itself stand in `apart`.
 */
export function readFields<Shape extends z.ZodRawShape>(
  schema: z.ZodObject<Shape>,
  node: LocatedMap,
  complain: Complain,
  apart: readonly string[] = [],
): { [Name in keyof Shape]?: z.output<Shape[Name]> } {
  const shape: Readonly<Record<string, unknown>> = schema.shape
  const { defaults, missing } = readNothing(schema)
  const fields = { ...defaults }
  for (const [name, issues] of missing) {
    if (!node.entries.has(name) && !apart.includes(name)) {
      explainIssues(issues, [name], node, complain)
    }
  }
  for (const [name, { key, value }] of node.entries) {
    if (!Object.hasOwn(shape, name)) {
      complain(key, unknownKey(name, knownKeys(schema.shape), Object.keys(shape)))
      continue
    }
    if (apart.includes(name)) continue
    const result = (shape[name] as z.ZodType).safeParse(plain(value))
    fields[name] = result.data
    if (!result.success) explainIssues(result.error.issues, [name], node, complain)
  }
  return fields as { [Name in keyof Shape]?: z.output<Shape[Name]> }
}

/** What a map without any field is read as, and the issues of the fields that it needs. */
type Nothing = {
  readonly defaults: Readonly<Record<string, unknown>>
  readonly missing: readonly (readonly [name: string, issues: readonly Issue[]])[]
}

/** By the schema: a route leaves out most of its fields, and there may be thousands. */
const nothings = new WeakMap<z.ZodObject, Nothing>()

function readNothing(schema: z.ZodObject): Nothing {
  const known = nothings.get(schema)
  if (known !== undefined) return known
  const results = Object.entries(schema.shape).map(
    ([name, field]) => [name, z.safeParse(field, undefined)] as const,
  )
  const nothing: Nothing = {
    defaults: Object.fromEntries(results.map(([name, { data }]) => [name, data])),
    missing: results.flatMap(([name, { error }]) => (error ? [[name, error.issues]] : [])),
  }
  nothings.set(schema, nothing)
  return nothing
}

/** Complains of every issue of a schema at its place below `root`; `path` leads to what was parsed. */
export function explainIssues(
  issues: readonly Issue[],
  path: readonly PropertyKey[],
  root: Located,
  complain: Complain,
): void {
  for (const issue of issues) {
    const at = [...path, ...issue.path]
    const spot = locate(root, at)
    if (spot.value?.kind === 'fault') continue
    const branch = issue.code === 'invalid_union' ? closestBranch(issue.errors) : undefined
    if (branch !== undefined) {
      explainIssues(branch, at, root, complain)
    } else if (issue.code === 'unrecognized_keys') {
      // The schemas say their known keys as the message of this issue (schema.ts, `fields`).
      for (const key of issue.keys) {
        complain(locate(root, [...at, key]).key, unknownKey(key, issue.message.split(', ')))
      }
    } else if (issue.code === 'invalid_key') {
      complain(spot.key, `\`${String(at.at(-1))}\`: ${issue.issues[0]?.message ?? issue.message}`)
    } else if (!issue.message.startsWith('expected ')) {
      complain(spot.place, issue.message)
    } else {
      const name = at.findLast((step) => typeof step === 'string') ?? 'value'
      complain(
        spot.place,
        spot.value === undefined
          ? `\`${name}\` is missing: ${issue.message}`
          : `\`${name}\`: ${issue.message}, found ${show(spot.value)}`,
      )
    }
  }
}

/** `unknown key …` with the nearest of all, or with those that this version serves. */
export function unknownKey(
  name: string,
  known: readonly string[],
  all: readonly string[] = known,
): string {
  const near = nearest(name, all)
  return near === undefined
    ? `unknown key \`${name}\`; known here: ${known.join(', ')}`
    : `unknown key \`${name}\`; did you mean \`${near}\`?`
}

/** The candidate that a misspelling most likely meant; undefined where none is near. */
export function nearest(name: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestDistance = Math.min(suggestionDistanceMax, Math.ceil(name.length / 2)) + 1
  for (const candidate of candidates) {
    const away = distance(name.toLowerCase(), candidate.toLowerCase())
    if (away < bestDistance) [best, bestDistance] = [candidate, away]
  }
  return best
}

/** A value as a complaint may show it. */
export function show(node: Located): string {
  if (node.kind === 'map') return 'a map'
  if (node.kind === 'list') return node.items.length === 0 ? 'an empty list' : 'a list'
  if (node.kind === 'fault') return 'nothing'
  if (node.template !== undefined) return `what ${node.template} holds`
  if (node.value === null || node.value === '') return 'nothing'
  const text = JSON.stringify(node.value)
  return text.length > shownCharactersMax ? `${text.slice(0, shownCharactersMax)}…"` : text
}

/** The one branch of a union whose kind of value (string, map, list) is the one that was written. */
function closestBranch(branches: readonly (readonly Issue[])[]): readonly Issue[] | undefined {
  return branches.find((issues) =>
    issues.every((issue) => issue.path.length > 0 || !isMismatch(issue)),
  )
}

function isMismatch(issue: Issue): boolean {
  return issue.code === 'invalid_type' || issue.code === 'invalid_value'
}

/** Levenshtein distance; the names are short. */
function distance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i += 1) {
    const current = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const change = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      current.push(Math.min(change, previous[j]! + 1, current[j - 1]! + 1))
    }
    previous = current
  }
  return previous[b.length]!
}
