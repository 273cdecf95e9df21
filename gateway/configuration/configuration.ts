// One configuration, read and checked whole: plain data from which gateway.ts builds a snapshot.

import type { ScopeCatalog } from '../decision/scope.ts'
import type { Carrier, Route } from '../routes/route.ts'

export type Configuration = {
  /** Every file that was read, absolute paths; secret files apart. */
  readonly files: readonly string[]
  readonly listen: readonly ListenSettings[]
  readonly server: ServerSettings
  /** undefined: `management: off`. */
  readonly management: { readonly host: string; readonly port: number } | undefined
  readonly tokens: TokenSettings
  readonly credentials: readonly Carrier[]
  readonly upstreams: ReadonlyMap<string, UpstreamSettings>
  readonly scopes: ScopeCatalog
  readonly routes: readonly Route[]
  /** Examples of the routes, in the order of the files. */
  readonly examples: readonly RouteExample[]
}

export type ListenSettings = {
  readonly host: string
  readonly port: number
  /** Each of several processes has a socket of its own there. */
  readonly reusePort?: boolean
  /** Peers whose forwarding fields are believed, and which kind of field they write. */
  readonly trustedProxies:
    | { readonly from: readonly string[]; readonly read: 'x-forwarded' | 'forwarded' }
    | undefined
}

export type ServerSettings = {
  /** Processes that serve requests; `auto`: one a processor. */
  readonly workers: number | 'auto'
  readonly drain: { readonly delayMs: number; readonly timeoutMs: number }
  readonly limits: { readonly headBytes: number; readonly connectionsPerAddress: number }
}

export type TokenSettings = {
  /** SQLite: absolute path of the database file. */
  readonly authority: { readonly kind: 'sqlite'; readonly file: string }
  /** The cache that gateways share; undefined: none. */
  readonly redis: RedisSettings | undefined
  readonly cache: {
    readonly entries: number
    readonly freshMs: number
    readonly staleMs: number
    readonly absentMs: number
  }
  readonly lifetime: { readonly defaultMs: number; readonly maxMs: number }
  /** Signs grants in place of the authority's own key. */
  readonly grantKey: Buffer | undefined
}

export type RedisSettings = {
  readonly host: string
  readonly port: number
  readonly database: number
  readonly username: string | undefined
  readonly password: string | undefined
  readonly tls: boolean
}

export type UpstreamSettings = {
  readonly name: string
  /** `http://host:port`, without a path. */
  readonly origin: string
  /** Path that stands before every forwarded path, without a trailing slash; `` for none. */
  readonly basePath: string
  /** Which Host the upstream sees: its own, or the request's. */
  readonly host: 'upstream' | 'client'
  /** Fields set on every forwarded request of an authenticated route, names as written. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** Names of the identity fields that the upstream trusts, as written. */
  readonly identity: {
    readonly subject: string | undefined
    readonly token: string | undefined
    readonly scopes: string | undefined
  }
  readonly credentials: 'strip' | 'forward'
  readonly timeouts: {
    readonly connectMs: number
    /** undefined: 60 s on REST routes, 15 min on git and registry routes. */
    readonly headersMs: number | undefined
    readonly idleMs: number
  }
  /** PEM texts; undefined for a plain http upstream without settings. */
  readonly tls:
    | {
        readonly ca: string | undefined
        readonly cert: string | undefined
        readonly key: string | undefined
        readonly serverName: string | undefined
      }
    | undefined
}

/** `METHOD TARGET (with SCOPE[, SCOPE]… | without token) -> STATUS` of a route. */
export type RouteExample = {
  readonly method: string
  /** Absolute where the route has one host name; else as written. */
  readonly target: string
  /** undefined: without a token. */
  readonly scopes: readonly string[] | undefined
  readonly status: number
  /** `file:line:column`. */
  readonly place: string
  readonly source: string
}

/** One thing that is wrong, or doubtful, in a configuration. Lines and columns count from 1. */
export type Complaint = {
  readonly file: string
  readonly line: number
  readonly column: number
  readonly severity: 'error' | 'warning'
  /** What is wrong, and what would be right. */
  readonly message: string
}
