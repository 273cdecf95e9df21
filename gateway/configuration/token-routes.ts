// Which token service makes the grants of which registry: the one on the registry's own host, else the only
// one of the configuration. Pure.

import type { Route } from '../routes/route.ts'
import { type Complain, type LocatedMap, locate } from './positions.ts'

/** The routes, those of registries with the token service that each has. */
export function joinTokenRoutes(
  routes: readonly Route[],
  nodes: ReadonlyMap<string, LocatedMap>,
  complain: Complain,
): readonly Route[] {
  const services = routes.filter(({ service }) => service === 'registry-token')
  const complainOf = (route: Route, key: string, message: string, severity?: 'warning'): void => {
    const node = nodes.get(route.place)
    if (node !== undefined) complain(locate(node, [key]).place, message, severity)
  }
  const joined = routes.map((route) => {
    if (route.protocol !== 'registry') return route
    const found = findService(route, services)
    if ('missing' in found) {
      if (route.challenge === 'bearer') {
        complainOf(route, 'challenge', `\`challenge: bearer\` ${found.missing}`)
      }
      return route
    }
    return { ...route, tokenRoute: found.service }
  })
  for (const service of services) {
    if (joined.some(({ tokenRoute }) => tokenRoute === service)) continue
    complainOf(
      service,
      'service',
      `the route ${service.name} serves no registry; add a registry route on its host, or remove it`,
      'warning',
    )
  }
  return joined
}

function findService(
  registry: Route,
  services: readonly Route[],
): { readonly service: Route } | { readonly missing: string } {
  const near = services.filter(({ host }) => host === registry.host)
  const candidates = near.length > 0 ? near : services
  const [service, other] = candidates
  if (service === undefined) {
    return {
      missing:
        'needs a token service; add a route such as { path: /token, service: registry-token, allow: public } on the same host',
    }
  }
  if (other !== undefined) {
    const names = candidates.map(({ name, place }) => `${name} (${place})`).join(', ')
    return {
      missing: `needs one token service, and there are several: ${names}; leave one, or one on the host of the registry`,
    }
  }
  // Hosts with routes of their own are served by these alone.
  if (service.host !== registry.host && service.publicUrl === undefined) {
    return {
      missing: `needs a token service that its clients reach, and ${service.name} (${service.place}) is on another host; give that route a \`publicUrl\`, or the same host`,
    }
  }
  return { service }
}
