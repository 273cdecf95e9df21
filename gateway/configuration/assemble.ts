// One configuration from one tree of located values: every section read by itself, then everything that
// one section says about another. All complaints come in one run. Pure but for the reader it is given.

import { dirname, resolve } from 'node:path'
import { readCarriers } from './carriers.ts'
import { readFields } from './complaints.ts'
import type { Configuration } from './configuration.ts'
import { type Complain, type LocatedMap, locate, type SourceFile } from './positions.ts'
import { readRoutes } from './routes.ts'
import { readScopes } from './scopes.ts'
import { type ReadBeside, readSecret } from './secret.ts'
import { configurationSchema } from './sections.ts'
import { writeDuration } from './units.ts'
import { placeholderUpstreams, readUpstreams } from './upstreams.ts'

export type Assembly = {
  readonly root: LocatedMap
  readonly main: SourceFile
  /** Absolute paths of all files. */
  readonly files: readonly string[]
  readonly readBeside: ReadBeside
  /** A file without `upstreams` takes the names of upstreams as given (lint of a route map alone). */
  readonly upstreamsAsGiven: boolean
}

/** These are read entry by entry. */
const sectionsApart = ['credentials', 'upstreams', 'scopes', 'routes', 'include']

const defaultAuthority = 'sqlite:var/tokens.db'

/** Reads a configuration. It is good only if nothing at all was complained of as an error. */
export function assemble(assembly: Assembly, complain: Complain): Configuration {
  const { root, main } = assembly
  const fields = readFields(configurationSchema, root, complain, sectionsApart)
  const catalog = readScopes(root, complain)
  const upstreams = readUpstreams(root, assembly.readBeside, complain)
  const carriers = readCarriers(root, complain)
  const declared = root.entries.has('upstreams') || !assembly.upstreamsAsGiven
  const context = {
    catalog,
    carriers,
    upstreams: declared ? upstreams.names : undefined,
  }
  const { routes, examples } = readRoutes(root, context, complain)
  const listeners = [fields.listen ?? []].flat()
  const management = fields.management === 'off' ? undefined : fields.management
  checkPorts(listeners, management, root, complain)
  checkLifetime(fields.tokens?.lifetime, root, complain)
  const written = fields.tokens?.authority
  const beside = written === undefined ? main : locate(root, ['tokens', 'authority']).place.file
  const { cache, lifetime } = fields.tokens ?? {}
  return {
    files: assembly.files,
    listen: listeners.map(({ host, port, trustedProxies }) => ({
      host,
      port,
      trustedProxies: trustedProxies && {
        from: trustedProxies.from,
        read: trustedProxies.read === 'forwarded' ? 'forwarded' : 'x-forwarded',
      },
    })),
    server: {
      workers: fields.server?.workers ?? 1,
      drain: {
        delayMs: fields.server?.drain.delay ?? 0,
        timeoutMs: fields.server?.drain.timeout ?? 0,
      },
      limits: {
        headBytes: fields.server?.limits.headBytes ?? 0,
        connectionsPerAddress: fields.server?.limits.connectionsPerAddress ?? 0,
      },
    },
    management,
    tokens: {
      authority: {
        kind: 'sqlite',
        file: resolve(dirname(beside.path), (written ?? defaultAuthority).slice('sqlite:'.length)),
      },
      redis: fields.tokens?.redis,
      cache: {
        entries: cache?.entries ?? 0,
        freshMs: cache?.fresh ?? 0,
        staleMs: cache?.stale ?? 0,
        absentMs: cache?.absent ?? 0,
      },
      lifetime: { defaultMs: lifetime?.default ?? 0, maxMs: lifetime?.max ?? 0 },
      grantKey: readGrantKey(root, assembly.readBeside, complain),
    },
    credentials: carriers,
    upstreams: declared
      ? upstreams.settings
      : placeholderUpstreams(routes.flatMap((one) => (one.upstream === '' ? [] : [one.upstream]))),
    scopes: catalog,
    routes,
    examples,
  }
}

/** HMAC-SHA-256 is as strong as 32 bytes (RFC 7518 3.2). */
const grantKeyCharactersMin = 32

function readGrantKey(
  root: LocatedMap,
  readBeside: ReadBeside,
  complain: Complain,
): Buffer | undefined {
  const tokens = root.entries.get('tokens')?.value
  const entry = tokens?.kind === 'map' ? tokens.entries.get('grantKey') : undefined
  if (entry === undefined) return undefined
  const key = readSecret('grantKey', entry, readBeside, complain)
  if (key === undefined) return undefined
  if (key.length < grantKeyCharactersMin) {
    complain(
      entry.value.place,
      `\`grantKey\`: expected at least ${grantKeyCharactersMin} characters, such as those of \`openssl rand -hex 32\``,
    )
  }
  return Buffer.from(key, 'utf8')
}

type Address = { readonly host: string; readonly port: number }

/** Two listeners cannot have one port; port 0 is a free one each time. */
function checkPorts(
  listeners: readonly Address[],
  management: Address | undefined,
  root: LocatedMap,
  complain: Complain,
): void {
  const taken = new Set<string>()
  const all = management === undefined ? listeners : [...listeners, management]
  for (const [index, { host, port }] of all.entries()) {
    const address = `${host} port ${port}`
    if (port !== 0 && taken.has(address)) {
      const path = index < listeners.length ? ['listen', index, 'port'] : ['management', 'port']
      complain(locate(root, path).place, `two listeners have ${address}; give one another port`)
    }
    taken.add(address)
  }
}

function checkLifetime(
  lifetime: { readonly default: number; readonly max: number } | undefined,
  root: LocatedMap,
  complain: Complain,
): void {
  if (lifetime === undefined || lifetime.default <= lifetime.max) return
  complain(
    locate(root, ['tokens', 'lifetime']).place,
    `\`lifetime\`: the default (${writeDuration(lifetime.default)}) is longer than max (${writeDuration(lifetime.max)}); raise max or lower the default`,
  )
}
