// The one most specific route for a host and a path, and what its pattern captures. Hosts first: exact,
// then the longest `*.suffix`, then routes without a host; a host with routes of its own is served by
// these alone. Git routes stand apart: they claim only requests for git's services. Pure. The order of
// the routes never matters.

import type { RequestTarget } from '../listener/target.ts'
import { bareRepository, gitSuffix, readGitService } from './git-service.ts'
import { findRepositoryWrite, findServicePast } from './repository-write.ts'
import type { GitService, Match, Pattern, PatternSegment, Route } from './route.ts'
import { addRoute, countSteps, createTrie, findRoute, readCaptures, type TrieNode } from './trie.ts'

/** What routes are told apart by. */
export type MatchTarget = Pick<RequestTarget, 'host' | 'segments'>

export type Matcher = {
  /** undefined: no route (404). */
  match(target: MatchTarget, method: string): Match | MatchRefusal | undefined
  /** How many steps the costliest path takes, by the host as the routes have it. */
  searchSteps(): ReadonlyMap<string | undefined, number>
}

/** A write below a git repository that no route may take: 405 `method_not_allowed`. */
export type MatchRefusal = {
  readonly refused: {
    /** The git route whose repositories are protected. */
    readonly route: Route
    readonly allow: 'GET, HEAD, POST' | 'GET, HEAD'
    readonly detail: string
  }
}

const matchers = new WeakMap<readonly Route[], Matcher>()

/** The one matcher of these routes, which do not change. They should have passed `reviewRoutes`. */
export function matcherOf(routes: readonly Route[]): Matcher {
  const known = matchers.get(routes) ?? buildMatcher(routes)
  matchers.set(routes, known)
  return known
}

function buildMatcher(routes: readonly Route[]): Matcher {
  const tables = buildTables(routes)
  const hasSuffixes = routes.some(({ host }) => host?.startsWith('*'))
  return {
    match(target, method) {
      const table = tableFor(tables, target.host, hasSuffixes)
      return table === undefined ? undefined : matchIn(table, target.segments, method)
    },
    searchSteps() {
      const steps = [...tables].map(
        ([host, { plain, git }]) => [host, countSteps(plain) + countSteps(git)] as const,
      )
      return new Map(steps)
    },
  }
}

/** The pattern that a git route's repositories have: a literal at the end without its `.git`. */
export function repositoryPattern({ segments }: Pattern): readonly PatternSegment[] {
  const last = segments.at(-1)
  if (last?.kind !== 'literal' || !last.value.endsWith(gitSuffix)) return segments
  return [
    ...segments.slice(0, -1),
    { kind: 'literal', value: last.value.slice(0, -gitSuffix.length) },
  ]
}

/** Which form of a path a plain route takes: with a trailing slash, without (bare), or either. */
export function formOf({ trailingSlash, pattern }: Route): 'slash' | 'bare' | 'either' {
  if (trailingSlash === 'ignore') return 'either'
  return pattern.trailingSlash ? 'slash' : 'bare'
}

type HostTable = { readonly plain: TrieNode; readonly git: TrieNode; readonly gitRoutes: Route[] }

type HostTables = ReadonlyMap<string | undefined, HostTable>

function buildTables(routes: readonly Route[]): HostTables {
  const tables = new Map<string | undefined, HostTable>()
  for (const route of routes) {
    const table = tables.get(route.host) ?? {
      plain: createTrie(),
      git: createTrie(),
      gitRoutes: [],
    }
    tables.set(route.host, table)
    if (route.protocol === 'git') {
      table.gitRoutes.push(route)
      addRoute(table.git, route, repositoryPattern(route.pattern), 'either')
    } else {
      addRoute(table.plain, route, route.pattern.segments, formOf(route))
    }
  }
  return tables
}

function tableFor(tables: HostTables, host: string, hasSuffixes: boolean): HostTable | undefined {
  const exact = tables.get(host)
  if (exact !== undefined) return exact
  if (!hasSuffixes) return tables.get(undefined)
  // From the left, so the longest suffix is met first; at least one character stands before its dot.
  for (let dot = host.indexOf('.', 1); dot !== -1; dot = host.indexOf('.', dot + 1)) {
    const wildcard = tables.get(`*${host.slice(dot)}`)
    if (wildcard !== undefined) return wildcard
  }
  return tables.get(undefined)
}

function matchIn(
  table: HostTable,
  segments: readonly string[],
  method: string,
): Match | MatchRefusal | undefined {
  const slash = segments.at(-1) === ''
  const count = slash ? segments.length - 1 : segments.length
  const plain = findRoute(table.plain, segments, count, slash)
  const written = findRepositoryWrite(table.gitRoutes, method, segments, count, plain)
  if (written !== undefined) return refuseWrite(written)
  const git = table.gitRoutes.length === 0 ? undefined : matchGit(table.git, segments)
  if (git !== undefined && (plain === undefined || !winsOverGit(plain, git.route))) return git
  if (plain === undefined) return undefined
  const passed = findServicePast(table.gitRoutes, method, segments, plain)
  if (passed !== undefined) return refuseService(passed)
  return new Found(plain, segments, count)
}

function matchGit(trie: TrieNode, segments: readonly string[]): Match | undefined {
  const git = readGitService(segments)
  if (git === undefined) return undefined
  const repository = bareRepository(segments.slice(0, segments.length - git.length))
  if (repository.length === 0) return undefined
  const route = findRoute(trie, repository, repository.length, false)
  if (route === undefined) return undefined
  return new Found(route, repository, repository.length, git)
}

/** Captures are read when they are asked for: most tokens have no limits that they are compared with. */
class Found implements Match {
  readonly route: Route
  readonly git: GitService | undefined
  readonly #segments: readonly string[]
  readonly #count: number
  #captures: ReadonlyMap<string, string> | undefined

  constructor(route: Route, segments: readonly string[], count: number, git?: GitService) {
    this.route = route
    this.#segments = segments
    this.#count = count
    this.git = git
  }

  get captures(): ReadonlyMap<string, string> {
    this.#captures ??= readCaptures(this.route.pattern, this.#segments, this.#count)
    return this.#captures
  }
}

const ranks = { literal: 0, one: 1, rest: 2 } as const

/** Both match the path: is the plain route more specific at the first segment where they differ? */
function winsOverGit(plain: Route, git: Route): boolean {
  const others = git.pattern.segments
  for (const [i, segment] of plain.pattern.segments.entries()) {
    // What follows a repository's pattern counts as a rest: the service's segments.
    const difference = ranks[segment.kind] - ranks[others[i]?.kind ?? 'rest']
    if (difference !== 0) return difference < 0
    if (segment.kind === 'rest') return false
  }
  return false
}

function refuseWrite(route: Route): MatchRefusal {
  const detail = 'a git repository is written by git push alone; fetch it or push to it with git'
  return { refused: { route, allow: 'GET, HEAD, POST', detail } }
}

function refuseService(route: Route): MatchRefusal {
  const detail =
    'the services of git are reached through a git route alone, and this one is taken by another'
  return { refused: { route, allow: 'GET, HEAD', detail } }
}
