// A trie of path segments: the most specific route for a path, literal before `{name}` before
// `{name...}`, segment by segment from the left with going back. Pure. No regular expressions.
//
// Going back is bounded: a node stands at one depth and is reached by one way, so one search enters it
// once at most, whatever the path. `countSteps` tells how many nodes the worst path enters; the review
// of the routes refuses a set that needs too many.

import type { Pattern, PatternSegment, Route } from './route.ts'

export type TrieNode = {
  literals: Literals | undefined
  one: TrieNode | undefined
  /** Routes whose pattern ends here, and those whose `{name...}` begins here. */
  here: Leaves | undefined
  rest: Leaves | undefined
  /** How many segments a path may have beyond this node to end at a route. */
  least: number
  most: number
}

/** A route with `trailingSlash: strict` takes one form of the path only, and is more specific. */
type Leaves = {
  slash: Route | undefined
  bare: Route | undefined
  either: Route | undefined
}

/** Beyond so many, searching in turn takes longer than a Map. */
const fewMax = 8

/**
 * The nodes behind literal segments. The segments of a request are new texts, and to be looked up in a Map each
 * would first be made one of the texts that V8 has only once: a few are compared in turn.
 */
class Literals {
  readonly #all = new Map<string, TrieNode>()
  #few: [value: string, node: TrieNode][] | undefined = []

  get(segment: string): TrieNode | undefined {
    if (this.#few === undefined) return this.#all.get(segment)
    for (const [value, node] of this.#few) if (value === segment) return node
    return undefined
  }

  add(value: string, node: TrieNode): void {
    this.#all.set(value, node)
    this.#few = this.#all.size > fewMax ? undefined : [...this.#all]
  }

  values(): Iterable<TrieNode> {
    return this.#all.values()
  }
}

const noLeaves: Readonly<Leaves> = { slash: undefined, bare: undefined, either: undefined }

export function createTrie(): TrieNode {
  return {
    literals: undefined,
    one: undefined,
    here: undefined,
    rest: undefined,
    least: Number.POSITIVE_INFINITY,
    most: 0,
  }
}

/** Adds a route. Of two with the same shape the first stays: `reviewRoutes` reports the second. */
export function addRoute(
  root: TrieNode,
  route: Route,
  segments: readonly PatternSegment[],
  form: keyof Leaves,
): void {
  const tail = segments.at(-1)?.kind === 'rest'
  const depth = tail ? segments.length - 1 : segments.length
  let node = root
  for (let i = 0; ; i++) {
    node.least = Math.min(node.least, depth - i)
    node.most = tail ? Number.POSITIVE_INFINITY : Math.max(node.most, depth - i)
    if (i === depth) break
    node = childFor(node, segments[i]!)
  }
  const place = tail ? 'rest' : 'here'
  node[place] ??= { ...noLeaves }
  node[place][form] ??= route
}

/** The most specific route for the first `count` segments; `slash`: the path has a trailing slash. */
export function findRoute(
  node: TrieNode,
  segments: readonly string[],
  count: number,
  slash: boolean,
  at = 0,
): Route | undefined {
  if (at === count) return pick(node.here, slash) ?? pick(node.rest, slash)
  const segment = segments[at]!
  const left = count - at - 1
  const literal = node.literals?.get(segment)
  if (literal !== undefined && literal.least <= left && left <= literal.most) {
    const found = findRoute(literal, segments, count, slash, at + 1)
    if (found !== undefined) return found
  }
  const one = segment === '' ? undefined : node.one
  if (one !== undefined && one.least <= left && left <= one.most) {
    const found = findRoute(one, segments, count, slash, at + 1)
    if (found !== undefined) return found
  }
  return pick(node.rest, slash)
}

/** How many nodes a search enters at most: at each node one literal and the `{name}` branch. */
export function countSteps(node: TrieNode): number {
  let literals = 0
  for (const literal of node.literals?.values() ?? []) {
    literals = Math.max(literals, countSteps(literal))
  }
  return 1 + literals + (node.one === undefined ? 0 : countSteps(node.one))
}

/** The values of a pattern's names in a path that it matches. */
export function readCaptures(
  { segments: pattern }: Pattern,
  segments: readonly string[],
  count: number,
): ReadonlyMap<string, string> {
  const captures = new Map<string, string>()
  for (const [i, part] of pattern.entries()) {
    if (part.kind === 'one') captures.set(part.name, segments[i] ?? '')
    else if (part.kind === 'rest') captures.set(part.name, segments.slice(i, count).join('/'))
  }
  return captures
}

function pick(leaves: Leaves | undefined, slash: boolean): Route | undefined {
  return leaves && ((slash ? leaves.slash : leaves.bare) ?? leaves.either)
}

function childFor(node: TrieNode, segment: PatternSegment): TrieNode {
  if (segment.kind !== 'literal') {
    node.one ??= createTrie()
    return node.one
  }
  node.literals ??= new Literals()
  let child = node.literals.get(segment.value)
  if (child === undefined) {
    child = createTrie()
    node.literals.add(segment.value, child)
  }
  return child
}
