// What is wrong or doubtful in a set of routes: tied routes, routes that no request can reach, and
// routes past which a request may slip into a weaker one. Pure. It asks the matcher itself, so it
// cannot be of another opinion than the matcher.

import type { ScopeCatalog } from '../decision/scope.ts'
import { formOf, type Matcher, type MatchTarget, matcherOf, repositoryPattern } from './matcher.ts'
import type { Route } from './route.ts'
import { nearMisses, samplePaths } from './sample-paths.ts'
import { isWeaker } from './weaker.ts'

export type RouteRemark = {
  readonly severity: 'error' | 'warning'
  readonly route: Route
  /** What is wrong, and what would be right. */
  readonly message: string
}

/** Every remark at once. The catalog tells which scopes cover which; without it, each covers itself. */
export function reviewRoutes(
  routes: readonly Route[],
  catalog?: ScopeCatalog,
): readonly RouteRemark[] {
  const { tied, untied } = findTies(routes)
  const matcher = matcherOf(untied)
  const remarks = [...tied, ...findCostly(matcher, untied)]
  if (remarks.length > tied.length) return remarks
  const longest = longestByHost(untied)
  const open = openByHost(untied)
  for (const route of untied) {
    const takers = findTakers(matcher, route, longest.get(route.host) ?? 0)
    const misses = nearMisses(route, open.get(route.host) ?? (() => true))
    if (takers !== undefined) remarks.push(unreachable(route, takers))
    else remarks.push(...findWeakerAround(matcher, route, misses, catalog))
  }
  return remarks
}

function findTies(routes: readonly Route[]): {
  tied: readonly RouteRemark[]
  untied: readonly Route[]
} {
  const first = new Map<string, Route>()
  const tied: RouteRemark[] = []
  for (const route of routes) {
    const shape = shapeOf(route)
    const other = first.get(shape)
    if (other === undefined) {
      first.set(shape, route)
      continue
    }
    const message = `has the same host and path as ${nameWithPlace(other)}: no request tells them apart; change or remove one`
    tied.push({ severity: 'error', route, message })
  }
  return { tied, untied: tied.length === 0 ? routes : [...first.values()] }
}

/** Equal for two routes that would take the same paths: the names of captures make no difference. */
function shapeOf(route: Route): string {
  const git = route.protocol === 'git'
  const pattern = git ? repositoryPattern(route.pattern) : route.pattern.segments
  const segments = pattern.map((part) => (part.kind === 'literal' ? [part.value] : part.kind))
  return JSON.stringify([route.host ?? null, git ? 'git' : formOf(route), segments])
}

/** 8,192 steps take 2 to 3 ms; ordinary routes take as many as a path has segments, and a few more. */
const searchStepsMax = 8192

function findCostly(matcher: Matcher, routes: readonly Route[]): RouteRemark[] {
  const remarks: RouteRemark[] = []
  for (const [host, steps] of matcher.searchSteps()) {
    const route = routes.find((candidate) => candidate.host === host)
    if (steps <= searchStepsMax || route === undefined) continue
    const message = `stands among routes of one host that mix {name} and literals so much that one path may take ${steps} steps to match, of ${searchStepsMax} allowed: use fewer patterns that differ only in where {name} stands`
    remarks.push({ severity: 'error', route, message })
  }
  return remarks
}

function longestByHost(routes: readonly Route[]): Map<string | undefined, number> {
  const longest = new Map<string | undefined, number>()
  for (const { host, pattern } of routes) {
    longest.set(host, Math.max(longest.get(host) ?? 0, pattern.segments.length))
  }
  return longest
}

/** Which segments of a path, counted from 0, some route of the host takes whatever they say. */
function openByHost(
  routes: readonly Route[],
): Map<string | undefined, (segment: number) => boolean> {
  const open = new Map<string | undefined, (segment: number) => boolean>()
  for (const [host, ofHost] of Map.groupBy(routes, (route) => route.host)) {
    // A repository's path goes on with git's services.
    if (ofHost.some(({ protocol }) => protocol === 'git')) continue
    const ones = new Set<number>()
    let rest = Number.POSITIVE_INFINITY
    for (const { pattern } of ofHost) {
      for (const [i, { kind }] of pattern.segments.entries()) {
        if (kind === 'one') ones.add(i)
        if (kind === 'rest') rest = Math.min(rest, i)
      }
    }
    open.set(host, (segment) => segment >= rest || ones.has(segment))
  }
  return open
}

/** The routes that take every sample of this one; undefined where it takes one itself. */
function findTakers(matcher: Matcher, route: Route, longest: number): Set<Route> | undefined {
  const takers = new Set<Route>()
  // One segment more than any pattern has: beyond that only rests match, and nothing new happens.
  for (const sample of samplePaths(route, longest + 1)) {
    const taker = ask(matcher, sample)
    if (taker === route) return undefined
    if (taker !== undefined) takers.add(taker)
  }
  return takers
}

function unreachable(route: Route, takers: ReadonlySet<Route>): RouteRemark {
  const names = [...takers].map(nameWithPlace).join(', ')
  const message =
    takers.size === 0
      ? 'is unreachable: no request for a git repository fits its path; name a repository in it'
      : `is unreachable: every path of it is taken by more specific routes: ${names}; remove it or them`
  return { severity: 'error', route, message }
}

function findWeakerAround(
  matcher: Matcher,
  route: Route,
  misses: readonly MatchTarget[],
  catalog: ScopeCatalog | undefined,
): RouteRemark[] {
  const around = new Set<Route>()
  for (const sample of misses) {
    const general = ask(matcher, sample)
    if (general === undefined || general === route) continue
    if (general.service !== undefined || general.upstream !== route.upstream) continue
    if (general.fallthrough === 'accepted') continue
    if (isWeaker(general, route, catalog)) around.add(general)
  }
  return [...around].map((general) => ({
    severity: 'warning',
    route,
    message: `lies inside the weaker, more general route ${nameWithPlace(general)} on the same upstream ${route.upstream}: a path that the upstream reads in its own way (other case, .json) is let through there; demand as much there, or say "fallthrough: accepted" there if the upstream reads paths to the letter`,
  }))
}

function ask(matcher: Matcher, sample: MatchTarget): Route | undefined {
  const result = matcher.match(sample, 'GET')
  return result === undefined || 'refused' in result ? undefined : result.route
}

function nameWithPlace({ name, place }: Route): string {
  return `${name} (${place})`
}
