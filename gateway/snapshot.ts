// One immutable built configuration: all that a request needs from its first byte to its last.

import type { Configuration } from './configuration/configuration.ts'
import { type HeadPlan, planHead } from './forward/headers.ts'
import { Upstream } from './forward/upstreams.ts'
import type { OpenRequests } from './open-requests.ts'
import { type Matcher, matcherOf } from './routes/matcher.ts'
import type { LastUse } from './tokens/last-use.ts'
import type { TokenLookup } from './tokens/lookup.ts'
import type { TokenThrottle } from './tokens/throttle.ts'

/** What outlives every configuration. */
export type Services = {
  readonly lookup: TokenLookup
  readonly throttle: TokenThrottle
  readonly open: OpenRequests
  readonly lastUse: LastUse
  /** Signs grants, and tells those of this gateway. */
  readonly grantKey: Buffer
}

export type Snapshot = Services & {
  readonly configuration: Configuration
  readonly matcher: Matcher
  readonly upstreams: ReadonlyMap<string, SnapshotUpstream>
}

export type SnapshotUpstream = { readonly upstream: Upstream; readonly plan: HeadPlan }

/** Builds matcher and upstreams; opens no connection yet. */
export function buildSnapshot(configuration: Configuration, services: Services): Snapshot {
  const all = [...configuration.upstreams.values()]
  const upstreams = new Map<string, SnapshotUpstream>()
  // Registries and their token services take Basic and grants whatever the list at the top says.
  const carriers = [configuration, ...configuration.routes].flatMap(
    ({ credentials }) => credentials,
  )
  for (const settings of all) {
    upstreams.set(settings.name, {
      upstream: new Upstream(settings),
      plan: planHead(settings, all, carriers),
    })
  }
  return { ...services, configuration, matcher: matcherOf(configuration.routes), upstreams }
}
