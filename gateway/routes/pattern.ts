// Path patterns of routes: `/ota/devices/{device}/`, `/{factory}/{repository...}`. Literals are compared
// with decoded segments, so an escape in a pattern is decoded here. Pure. A pattern that could never
// match a target that the listener lets through is refused.

import type { Pattern, PatternSegment } from './route.ts'

/** Reads a pattern, or says what is wrong with it and what would be right. */
export function parsePattern(source: string): Pattern | { readonly error: string } {
  if (!source.startsWith('/')) return { error: 'a path begins with /' }
  const mark = /[?#]/.exec(source)
  if (mark !== null) return { error: `a path has no ${mark[0]}: write the path alone` }
  const written = source.slice(1).split('/')
  const trailingSlash = written.at(-1) === ''
  if (trailingSlash) written.pop()
  const segments: PatternSegment[] = []
  const names = new Set<string>()
  for (const [index, text] of written.entries()) {
    const segment = parseSegment(text)
    if ('error' in segment) return segment
    segments.push(segment)
    if (segment.kind === 'literal') continue
    if (segment.kind === 'rest' && index < written.length - 1) {
      return { error: `${text} takes the rest of the path, so it stands last` }
    }
    if (names.has(segment.name)) return { error: `the name ${segment.name} stands twice` }
    names.add(segment.name)
  }
  return { source, segments, trailingSlash }
}

const capturePattern = /^\{([A-Za-z_][A-Za-z0-9_-]*)(\.\.\.)?\}$/

function parseSegment(text: string): PatternSegment | { readonly error: string } {
  if (text === '') return { error: 'a path has no // in it' }
  if (!/[{}]/.test(text)) return parseLiteral(text)
  const capture = capturePattern.exec(text)
  if (capture !== null) return { kind: capture[2] ? 'rest' : 'one', name: capture[1]! }
  return {
    error: `${text} is no capture: write {name} or {name...} as a whole segment, the name of letters, digits, _ and -, not beginning with a digit or - (a brace itself is %7B or %7D)`,
  }
}

function parseLiteral(text: string): PatternSegment | { readonly error: string } {
  const value = decode(text)
  if (value === undefined) return { error: `${text} has a malformed escape: a % itself is %25` }
  if (value === '.' || value === '..') return { error: `a path has no ${value} segments` }
  if (/[\p{Cc}\\]/u.test(value)) {
    return { error: `${text} has a control character or a backslash, which no request may have` }
  }
  return { kind: 'literal', value }
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
