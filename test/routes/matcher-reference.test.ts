// The matcher compared with a naive one that asks every route and takes the most specific, and its cost.

import fc from 'fast-check'
import t from 'tap'
import { matcherOf } from '../../gateway/routes/matcher.ts'
import { reviewRoutes } from '../../gateway/routes/review.ts'
import type { PatternSegment, Route } from '../../gateway/routes/route.ts'
import { seed } from '../search.ts'
import { buildGitRoute, buildRoute, buildTarget } from './build-route.ts'

const services = ['HEAD', 'info/refs', 'git-upload-pack', 'objects/info/packs']

t.test('the matcher agrees with one that compares every route', (t) => {
  let matched = 0
  fc.assert(
    fc.property(routesArbitrary(), targetArbitrary(), (routes, { host, path }) => {
      const target = buildTarget(path, host)
      const result = matcherOf(routes).match(target, 'GET')
      const found = result === undefined || 'refused' in result ? undefined : result.route
      if (found !== undefined) matched++
      return found === naiveMatch(routes, host, path)
    }),
    { seed, numRuns: 5000 },
  )
  t.ok(matched > 500, `and not on nothing: ${matched}`)
  t.end()
})

t.test('a route that is called unreachable takes no path', (t) => {
  let unreachable = 0
  fc.assert(
    fc.property(routesArbitrary(), targetArbitrary(), (drawn, { host, path }) => {
      const remarks = reviewRoutes(drawn).filter(({ message }) => /unreachable/.test(message))
      unreachable += remarks.length
      const result = matcherOf(drawn).match(buildTarget(path, host), 'GET')
      const found = result === undefined || 'refused' in result ? undefined : result.route
      return remarks.every(({ route }) => route !== found)
    }),
    { seed, numRuns: 1000 },
  )
  t.ok(unreachable > 50, `and there were some: ${unreachable}`)
  t.end()
})

t.test('the costliest path that the review allows takes less than 5 ms', (t) => {
  const depth = 11
  const routes = Array.from({ length: 2 ** depth }, (_, bits) => {
    const segments = Array.from({ length: depth }, (_, i) => ((bits >> i) & 1 ? 'a' : `{x${i}}`))
    return buildRoute({ path: `/${segments.join('/')}/end${bits}` })
  })
  t.strictSame(reviewRoutes(routes), [])
  t.ok(costOf(routes, `${'/a'.repeat(depth)}/other`) < 5)
  t.end()
})

t.test('routes that would make a path costlier are an error', (t) => {
  const depth = 12
  const routes = Array.from({ length: 2 ** depth }, (_, bits) => {
    const segments = Array.from({ length: depth }, (_, i) => ((bits >> i) & 1 ? 'a' : `{x${i}}`))
    return buildRoute({ path: `/${segments.join('/')}/end` })
  })
  t.match(reviewRoutes(routes), [{ severity: 'error', message: /may take 12288 steps/ }])
  t.end()
})

t.test('a long path takes less than 5 ms', (t) => {
  const routes = [
    buildGitRoute({ path: '/{factory}/{repository...}' }),
    buildRoute({ path: '/{a}/{b}/{rest...}' }),
    buildRoute({ path: '/a/{b}/a/{c}/a' }),
  ]
  for (const method of ['GET', 'PUT']) {
    t.ok(costOf(routes, `${'/a'.repeat(4000)}/config`, method) < 5, method)
  }
  t.end()
})

/** The best of ten runs, in milliseconds: what the machine does beside counts less. */
function costOf(routes: readonly Route[], path: string, method = 'GET'): number {
  const matcher = matcherOf(routes)
  const target = buildTarget(path)
  let least = Number.POSITIVE_INFINITY
  for (let run = 0; run < 10; run++) {
    const began = performance.now()
    matcher.match(target, method)
    least = Math.min(least, performance.now() - began)
  }
  return least
}

function routesArbitrary(): fc.Arbitrary<Route[]> {
  const segment = fc.constantFrom('a', 'b', 'a.git', '{}', '{}', ...services)
  const route = fc.record({
    host: fc.constantFrom(undefined, undefined, 'x.test', '*.test', '*.x.test'),
    segments: fc.array(segment, { maxLength: 4 }),
    rest: fc.boolean(),
    slash: fc.boolean(),
    strict: fc.boolean(),
    git: fc.boolean(),
  })
  return fc.array(route, { minLength: 1, maxLength: 12 }).map((drawn) =>
    drawn.map(({ host, segments, rest, slash, strict, git }, index) => {
      const parts = segments.map((part, i) => (part === '{}' ? `{n${i}}` : part))
      if (rest) parts.push('{rest...}')
      const words = {
        path: `/${parts.join('/')}${slash && parts.length > 0 ? '/' : ''}`,
        name: `${index}`,
        ...(host === undefined ? {} : { host }),
        ...(strict ? { trailingSlash: 'strict' as const } : {}),
      }
      return git ? buildGitRoute(words) : buildRoute(words)
    }),
  )
}

function targetArbitrary(): fc.Arbitrary<{ host: string; path: string }> {
  const segment = fc.constantFrom('a', 'b', 'c', 'a.git', 'b.git', '.git')
  return fc
    .record({
      host: fc.constantFrom('y', 'test', 'x.test', 'y.test', 'z.x.test', 'z.z.x.test'),
      segments: fc.array(segment, { maxLength: 4 }),
      service: fc.option(fc.constantFrom(...services), { nil: undefined }),
      slash: fc.boolean(),
    })
    .map(({ host, segments, service, slash }) => {
      const parts = service === undefined ? segments : [...segments, service]
      return { host, path: `/${parts.join('/')}${slash && parts.length > 0 ? '/' : ''}` }
    })
}

/** All routes of the host that match, then the most specific of them; of two with one shape the first. */
function naiveMatch(routes: readonly Route[], host: string, path: string): Route | undefined {
  const hosts = [...new Set(routes.map((route) => route.host))]
  const suffixes = hosts
    .filter((own) => own?.startsWith('*') && host.endsWith(own.slice(1)))
    .sort((one, other) => other!.length - one!.length)
  const serving = hosts.includes(host) ? host : suffixes[0]
  const fitting = routes.filter((route) => route.host === serving && fits(route, path))
  return fitting.sort((one, other) => keyOf(one).localeCompare(keyOf(other)))[0]
}

function fits(route: Route, path: string): boolean {
  const parts = path.split('/').slice(1)
  const slash = parts.at(-1) === ''
  if (slash) parts.pop()
  const pattern = route.pattern.segments
  if (route.protocol !== 'git') {
    const strict = route.trailingSlash === 'strict' && route.pattern.trailingSlash !== slash
    return !strict && fitsSegments(pattern, parts)
  }
  const bare = parts.join('/')
  return services.some((service) => {
    if (bare !== service && !bare.endsWith(`/${service}`)) return false
    const repository = bare
      .slice(0, -service.length - 1)
      .replace(/\/?\.git$|$/, (found) => (found === '.git' || found === '/.git' ? '' : found))
    return repository !== '' && fitsSegments(withoutGit(pattern), repository.split('/'))
  })
}

function withoutGit(pattern: readonly PatternSegment[]): PatternSegment[] {
  return pattern.map((part, i) =>
    part.kind === 'literal' && i === pattern.length - 1
      ? { ...part, value: part.value.replace(/\.git$/, '') }
      : part,
  )
}

function fitsSegments(pattern: readonly PatternSegment[], parts: readonly string[]): boolean {
  const rest = pattern.at(-1)?.kind === 'rest'
  const fixed = rest ? pattern.slice(0, -1) : pattern
  if (rest ? parts.length < fixed.length : parts.length !== fixed.length) return false
  return fixed.every((part, i) => part.kind !== 'literal' || part.value === parts[i])
}

/**
 * Sorts the more specific first: literal, end, one, rest by segment, where a git pattern without a tail
 * counts as followed by a rest; then git, without a tail first; then strict.
 */
function keyOf(route: Route): string {
  const ranks = route.pattern.segments.map(({ kind }) => ({ literal: 0, one: 2, rest: 3 })[kind])
  const tail = ranks.at(-1) === 3
  if (route.protocol === 'git') return tail ? `${ranks.join('')}/1` : `${ranks.join('')}3/0`
  const form = route.trailingSlash === 'strict' ? 2 : 3
  return `${ranks.join('')}${tail ? '' : '1'}/${form}`
}
