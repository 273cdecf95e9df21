// What the options of `token create` mean: scopes, expiry, resource limits, address ranges. Pure. It
// never guesses: what is not in its form ends the command with a sentence that says what would be right.

import { parseDuration } from '../configuration/units.ts'
import { isAddressRange } from '../decision/address-limits.ts'
import { allScope, isPathScope, nearestScope, type ScopeCatalog } from '../decision/scope.ts'
import { GatewayError } from '../errors.ts'
import { pathForScopes, readTarget } from '../listener/target.ts'
import { CommandFailure } from './failure.ts'

const textCharactersMax = 255
/** The last millisecond that RFC 3339 can write. */
const timeMax = Date.UTC(9999, 11, 31, 23, 59, 59, 999)

/**
 * The scopes that `--scope` names, each once: declared ones, `all`, and path scopes. Commas separate;
 * a value in brackets is one path scope, the pair `["METHOD", "/path"]`, whose path may hold a comma.
 */
export function parseScopes(values: readonly string[], catalog: ScopeCatalog): string[] {
  const scopes = values.flatMap((value) =>
    value.startsWith('[') ? [parsePair(value)] : value.split(',').map((part) => part.trim()),
  )
  return [...new Set(scopes.map((scope) => checkScope(scope, catalog)))]
}

/** The time at which a token ends, or null for never. `lifetimeMs` counts where nothing is said. */
export function parseExpiry(
  value: string | undefined,
  lifetimeMs: number,
  now: number,
): number | null {
  if (value === 'never') return null
  const time = value === undefined ? now + lifetimeMs : parseEnd(value, now)
  if (time === undefined) {
    refuse(
      `--expires ${quote(value)} is none of: a duration as in 90d, a time as in ` +
        '2027-01-31 or 2027-01-31T12:00:00Z, or never',
    )
  }
  if (time <= now) {
    refuse(`--expires ${quote(value)} is past; name a later time, or revoke a token to end it now`)
  }
  if (time > timeMax) refuse(`--expires ${quote(value)} is after the year 9999; say never`)
  return time
}

/** The limits that `--resource KEY=PATTERN,…` names; null: none. A key that is repeated gets more patterns. */
export function parseResources(values: readonly string[]): Record<string, string[]> | null {
  const limits = new Map<string, string[]>()
  for (const value of values) {
    const match = /^([A-Za-z][A-Za-z0-9_-]*)=(.+)$/.exec(value)
    const patterns = (match?.[2] ?? '').split(',').map((pattern) => pattern.trim())
    if (match === null || patterns.includes('') || !patterns.every(isPrintable)) {
      refuse(`--resource ${quote(value)} is not KEY=PATTERN,…; right is factory=acme,globex`)
    }
    limits.set(match[1]!, [...(limits.get(match[1]!) ?? []), ...patterns])
  }
  return limits.size === 0 ? null : Object.fromEntries(limits)
}

/** The addresses and ranges that `--allow-ip` names; null: anywhere. */
export function parseAddressRanges(values: readonly string[]): string[] | null {
  const ranges = values.flatMap((value) => value.split(',').map((part) => part.trim()))
  for (const range of ranges) {
    if (isAddressRange(range)) continue
    refuse(`--allow-ip ${quote(range)} is no address or range; right is 192.0.2.1 or 10.0.0.0/8`)
  }
  return ranges.length === 0 ? null : ranges
}

/** A subject or a name: text that a header field and a terminal can show. */
export function parseText(option: string, value: string): string {
  if (value.trim() !== '' && value.length <= textCharactersMax && isPrintable(value)) return value
  return refuse(
    `${option} ${quote(value)} is empty, longer than ${textCharactersMax} characters or has ` +
      'control characters; give it a short text',
  )
}

function checkScope(scope: string, catalog: ScopeCatalog): string {
  if (scope === allScope || catalog.declarations.has(scope)) return scope
  if (scope === '') refuse('--scope is empty; name a scope, as in --scope source:read')
  if (/[\s/]/.test(scope)) return checkPathScope(scope)
  return refuse(
    `--scope ${quote(scope)} is not declared in the configuration; ` +
      `the nearest one is ${nearestScope(catalog, scope)}`,
  )
}

/** The path must be one that a request can have: any other would never permit anything. */
function checkPathScope(scope: string): string {
  const [method = '', path = ''] = scope.split(' ', 2)
  if (!isPathScope(scope) || !/^[A-Z][A-Z-]*$/.test(method)) {
    refuse(`--scope ${quote(scope)} is not METHOD /path; right is "GET /projects/"`)
  }
  if (path.includes('?')) {
    refuse(`--scope ${quote(scope)} has a query, which path scopes do not look at; leave it out`)
  }
  try {
    readTarget(path, ['localhost'], 'http')
  } catch (error) {
    if (error instanceof GatewayError) refuse(`--scope ${quote(scope)}: ${error.message}`)
    throw error
  }
  return `${method} ${pathForScopes(path)}`
}

function parsePair(value: string): string {
  const pair = parseJson(value)
  if (Array.isArray(pair) && pair.length === 2) {
    const [method, path]: unknown[] = pair
    if (typeof method === 'string' && typeof path === 'string') return `${method} ${path}`
  }
  return refuse(`--scope ${quote(value)} is not the pair ["METHOD", "/path"]`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** A duration from now, or a date (its first moment, UTC) or a time with its zone (RFC 3339). */
function parseEnd(value: string, now: number): number | undefined {
  const duration = parseDuration(value)
  if (duration !== undefined) return now + duration
  const match =
    /^(\d{4}-\d{2}-\d{2})(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:\d{2}))?$/i.exec(
      value,
    )
  if (match === null) return undefined
  // Date.parse reads 30 February as 2 March.
  const day = new Date(`${match[1]}T00:00:00Z`)
  if (Number.isNaN(day.getTime()) || !day.toISOString().startsWith(match[1]!)) return undefined
  const time = Date.parse(value)
  return Number.isNaN(time) ? undefined : time
}

function isPrintable(text: string): boolean {
  return !/\p{Cc}/u.test(text)
}

function quote(value: string | undefined): string {
  return JSON.stringify(value ?? '')
}

function refuse(message: string): never {
  throw new CommandFailure(2, message)
}
