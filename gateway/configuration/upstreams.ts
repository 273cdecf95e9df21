// The upstreams of a configuration by name, and stand-ins where a route map is judged without them. Pure
// but for the reader it is given.

import { show } from './complaints.ts'
import type { UpstreamSettings } from './configuration.ts'
import type { Complain, LocatedMap } from './positions.ts'
import type { ReadBeside } from './secret.ts'
import { readMap } from './sections.ts'
import { upstreamName } from './settings.ts'
import { readUpstream } from './upstream-settings.ts'

/** The upstreams of a configuration by name; `names` are those with a faulty declaration too. */
export function readUpstreams(
  root: LocatedMap,
  readBeside: ReadBeside,
  complain: Complain,
): { names: readonly string[]; settings: ReadonlyMap<string, UpstreamSettings> } {
  const section = readMap(root, 'upstreams', complain)
  const read = new Map<string, UpstreamSettings>()
  for (const [name, { key, value }] of section?.entries ?? []) {
    if (!upstreamName.safeParse(name).success) {
      complain(key, `\`${name}\`: expected a name of letters, digits, \`.\`, \`_\` and \`-\``)
    }
    if (value.kind === 'map') {
      const one = readUpstream(name, value, readBeside, complain)
      if (one !== undefined) read.set(name, one)
    } else if (value.kind !== 'fault') {
      complain(key, `the upstream \`${name}\`: expected a map with a \`url\`, found ${show(value)}`)
    }
  }
  return { names: [...(section?.entries.keys() ?? [])], settings: read }
}

/** Upstreams for names that are taken as given: they are never connected to. */
export function placeholderUpstreams(
  names: Iterable<string>,
): ReadonlyMap<string, UpstreamSettings> {
  const made = new Map<string, UpstreamSettings>()
  for (const name of names) {
    made.set(name, {
      name,
      origin: 'http://upstream.invalid',
      basePath: '',
      host: 'upstream',
      headers: [],
      identity: { subject: undefined, token: undefined, scopes: undefined },
      credentials: 'strip',
      timeouts: { connectMs: 1, headersMs: undefined, idleMs: 1 },
      tls: undefined,
    })
  }
  return made
}
