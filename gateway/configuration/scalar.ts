// One scalar of a configuration file: its variables replaced, its type kept. Pure.

import type { LocatedScalar, Place } from './positions.ts'
import { type Environment, replaceVariables } from './variables.ts'

export type ReadScalar = {
  readonly scalar: LocatedScalar
  /** What is wrong with its variables; the value is then of no use. */
  readonly problems: readonly string[]
}

/**
 * `written` as YAML decoded it, its variables still in it. `isPlain`, without quotes: what a variable puts
 * there has the type that it would have had in the file.
 */
export function readString(
  written: string,
  isPlain: boolean,
  place: Place,
  environment: Environment,
): ReadScalar {
  const { text, replaced, problems } = replaceVariables(written, environment)
  if (!replaced) return { scalar: { kind: 'scalar', place, value: text }, problems }
  return {
    scalar: { kind: 'scalar', place, value: isPlain ? typed(text) : text, template: written },
    problems,
  }
}

/**
 * The type of a plain scalar (YAML 1.2.2, section 10.3.2, but `.inf` and `.nan`, which stay strings): null,
 * boolean, number or string. Never structure.
 */
export function typed(text: string): string | number | boolean | null {
  const trimmed = text.trim()
  // Most are words.
  if (trimmed !== '' && !/^[-+.~0-9tTfFnN]/.test(trimmed)) return text
  if (/^(~|null|Null|NULL|)$/.test(trimmed)) return null
  if (/^(true|True|TRUE)$/.test(trimmed)) return true
  if (/^(false|False|FALSE)$/.test(trimmed)) return false
  if (/^[-+]?[0-9]+$/.test(trimmed)) return Number.parseInt(trimmed, 10)
  if (/^(0o[0-7]+|0x[0-9a-fA-F]+)$/.test(trimmed)) return Number(trimmed)
  if (/^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$/.test(trimmed)) return Number(trimmed)
  return text
}
