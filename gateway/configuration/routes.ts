// The routes of a configuration together: their names, and which of them stand in one another's way. Pure.

import type { ScopeCatalog } from '../decision/scope.ts'
import { reviewRoutes } from '../routes/review.ts'
import type { Route } from '../routes/route.ts'
import { explainIssues } from './complaints.ts'
import type { RouteExample } from './configuration.ts'
import { type Complain, type LocatedMap, locate, plain } from './positions.ts'
import { routeMap } from './route-map.ts'
import { type ReadRoute, type RouteContext, readRoute } from './route-settings.ts'
import { joinTokenRoutes } from './token-routes.ts'

/** Every route that could be read, and the examples of all of them, in the order of the files. */
export function readRoutes(
  root: LocatedMap,
  context: RouteContext,
  complain: Complain,
): { routes: readonly Route[]; examples: readonly RouteExample[] } {
  const read: ReadRoute[] = []
  for (const item of listed(root, complain)) {
    if (item.kind === 'map') {
      const route = readRoute(item, context, complain)
      if (route !== undefined) read.push(route)
    } else if (item.kind !== 'fault') {
      complain(item.place, 'expected a route: a map with keys such as path, upstream, allow')
    }
  }
  const nodes = nodesOf(read)
  const routes = joinTokenRoutes(nameRoutes(read, complain), nodes, complain)
  review(routes, nodes, context.catalog, complain)
  return { routes, examples: read.flatMap((one) => one.examples) }
}

function listed(root: LocatedMap, complain: Complain) {
  const section = root.entries.get('routes')?.value
  if (section?.kind === 'list') return section.items
  if (section !== undefined && section.kind !== 'fault') {
    const result = routeMap.routes.safeParse(plain(section))
    if (!result.success) explainIssues(result.error.issues, ['routes'], root, complain)
  }
  return []
}

/** What is written of each route, by its `place`. */
function nodesOf(read: readonly ReadRoute[]): ReadonlyMap<string, LocatedMap> {
  return new Map(read.map(({ route, node }) => [route.place, node]))
}

/** Names are unique: one that was made up gives way, two that were given are complained of. */
function nameRoutes(read: readonly ReadRoute[], complain: Complain): readonly Route[] {
  const taken = new Map<string, Route>()
  return read.map(({ route, node }) => {
    const twin = taken.get(route.name)
    if (twin !== undefined && node.entries.has('name')) {
      complain(
        locate(node, ['name']).place,
        `the name \`${route.name}\` is taken by the route at ${twin.place}; choose another`,
      )
    }
    let named = route
    while (taken.has(named.name)) named = { ...named, name: `${named.name} (${route.protocol})` }
    taken.set(named.name, named)
    return named
  })
}

/** Ties, routes that nothing reaches, and doubts, each at the route's own place. */
function review(
  routes: readonly Route[],
  nodes: ReadonlyMap<string, LocatedMap>,
  catalog: ScopeCatalog,
  complain: Complain,
): void {
  for (const { severity, route, message } of reviewRoutes(routes, catalog)) {
    const place = nodes.get(route.place)?.place
    if (place !== undefined) complain(place, `the route ${route.name} ${message}`, severity)
  }
}
