// Sample paths of a route, with which `reviewRoutes` asks the matcher itself: fresh values, which no
// pattern holds, for what the pattern captures. A route that wins no sample wins no path at all, since
// a route that takes a fresh value takes every value. Pure.

import { formOf, type MatchTarget, repositoryPattern } from './matcher.ts'
import type { PatternSegment, Route } from './route.ts'

/** One path for every way that the route may match, with rests of up to `longest` segments. */
export function* samplePaths(route: Route, longest: number): Iterable<MatchTarget> {
  const host = sampleHost(route.host)
  for (const segments of expand(patternOf(route), 0, longest)) {
    for (const tail of tailsOf(route)) yield { host, segments: [...segments, ...tail] }
  }
}

/**
 * Paths that the route just does not take, but that an upstream may take for one of its own: a literal
 * spelled otherwise, or all of them, or the other form of the trailing slash where that is strict. Only those
 * that may be taken where `isOpen` tells which segments, counted from 0, some route takes whatever they say.
 */
export function nearMisses(route: Route, isOpen: (segment: number) => boolean): MatchTarget[] {
  const host = sampleHost(route.host)
  const misses: MatchTarget[] = []
  for (const segments of expand(patternOf(route), route.protocol === 'git' ? 1 : 0, 1)) {
    for (const tail of tailsOf(route)) {
      const path = [...segments, ...tail]
      const literals = path.flatMap((segment, i) => (isFresh(segment) || segment === '' ? [] : [i]))
      for (const varied of [...literals.map((i) => [i]), literals]) {
        if (varied.length > 0 && varied.every(isOpen)) {
          misses.push({ host, segments: vary(path, varied) })
        }
      }
      if (route.protocol === 'git' || formOf(route) === 'either') continue
      misses.push({ host, segments: path.at(-1) === '' ? path.slice(0, -1) : [...path, ''] })
    }
  }
  return misses
}

/** A control character: no target has one and no pattern can. */
const fresh = '\0'

function isFresh(segment: string): boolean {
  return segment.startsWith(fresh)
}

function sampleHost(host: string | undefined): string {
  if (host === undefined) return fresh
  return host.startsWith('*') ? `${fresh}${host.slice(1)}` : host
}

function patternOf(route: Route): readonly PatternSegment[] {
  return route.protocol === 'git' ? repositoryPattern(route.pattern) : route.pattern.segments
}

/** The pattern's segments with fresh values, once for each length of its rest. */
function expand(pattern: readonly PatternSegment[], least: number, most: number): string[][] {
  const fixed = pattern.filter((segment) => segment.kind !== 'rest')
  const segments = fixed.map((segment) => (segment.kind === 'literal' ? segment.value : fresh))
  if (fixed.length === pattern.length) return [segments]
  const expanded: string[][] = []
  for (let count = least; count <= most; count++) {
    expanded.push([...segments, ...Array.from({ length: count }, () => fresh)])
  }
  return expanded
}

function tailsOf(route: Route): readonly (readonly string[])[] {
  if (route.protocol === 'git') return serviceTails
  const form = formOf(route)
  return form === 'either' ? [[], ['']] : form === 'slash' ? [['']] : [[]]
}

/** One path for each of git's services, without and with a trailing slash. */
const serviceTails: readonly (readonly string[])[] = [
  ['info', 'refs'],
  ['git-upload-pack'],
  ['git-receive-pack'],
  ['git-upload-archive'],
  ['HEAD'],
  ['objects', 'info', 'packs'],
  ['objects', 'info', 'alternates'],
  ['objects', 'info', 'http-alternates'],
  ['objects', '00', '0'.repeat(38)],
  ['objects', 'pack', 'pack-0.pack'],
].flatMap((tail) => [tail, [...tail, '']])

function vary(path: readonly string[], at: readonly number[]): string[] {
  return path.map((segment, i) => (at.includes(i) ? `${fresh}${segment}` : segment))
}
