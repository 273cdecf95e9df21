// One route of a snapshot: who may do what below one host and path, and which upstream serves it.
// Plain data, built by configuration/, read by the matcher, the protocols and the pipeline.

import type { Requirement } from '../decision/access.ts'

/** `segment` literal, `{name}` one non-empty segment, `{name...}` the rest (zero or more), last only. */
export type PatternSegment =
  | { readonly kind: 'literal'; readonly value: string }
  | { readonly kind: 'one'; readonly name: string }
  | { readonly kind: 'rest'; readonly name: string }

export type Pattern = {
  /** As written in the configuration. */
  readonly source: string
  readonly segments: readonly PatternSegment[]
  /** The pattern was written with a trailing slash; counts only with `trailingSlash: strict`. */
  readonly trailingSlash: boolean
}

/** Where a token may come from. Names are in lower case. */
export type Carrier =
  | { readonly kind: 'header'; readonly name: string }
  /** `grant`: of Bearer only the registry's own grants. */
  | { readonly kind: 'authorization'; readonly scheme: 'bearer' | 'oauth2' | 'basic' | 'grant' }
  | { readonly kind: 'query'; readonly name: string }

export type Cors = {
  /** Allowed origins, literally, or `*`. */
  readonly origins: readonly string[]
  readonly headers: readonly string[]
  readonly maxAgeMs: number
}

export type Route = {
  /** For logs, metrics and explain; unique. */
  readonly name: string
  /** Lower case, exact or `*.suffix`; undefined: any host without routes of its own. */
  readonly host: string | undefined
  readonly pattern: Pattern
  readonly protocol: 'rest' | 'git' | 'registry'
  /** Name of an upstream of the configuration; empty where the gateway itself answers. */
  readonly upstream: string
  /** Who answers in the upstream's place. */
  readonly service: ServiceName | undefined
  /** Requirement by method (REST; `*` is every other method; HEAD follows GET unless listed) or by action. */
  readonly allow: ReadonlyMap<string, Requirement>
  /** Captures and `query.NAME` sources that become resources: resource key to source. Undefined: all captures by their names. */
  readonly resources: ReadonlyMap<string, ResourceSource> | undefined
  /** The carriers that are read here. */
  readonly credentials: readonly Carrier[]
  readonly trailingSlash: 'ignore' | 'strict'
  /** Accepted: no warning of more specific routes of the same upstream that demand more than this one. */
  readonly fallthrough: 'warn' | 'accepted'
  readonly pathParameters: 'refuse' | 'allow'
  readonly encodedSlash: 'refuse' | 'allow'
  readonly getBody: 'refuse' | 'allow'
  readonly methodOverride: 'refuse' | 'effective' | 'ignored'
  /** Set the upstream's own `headers` on public requests too. */
  readonly inject: boolean
  readonly cors: Cors | undefined
  /** Git: globs that bound the full ref names a push may touch. */
  readonly refs: readonly string[]
  /** Git: the push options that may be sent. */
  readonly pushOptions: readonly string[]
  /** Registry: how a client is asked for its token. */
  readonly challenge: 'basic' | 'bearer'
  /** Registry: the route of the service whose grants are good here; undefined: there is none. */
  readonly tokenRoute: Route | undefined
  /** Where clients reach the route: an origin, or all of the address of a service. Undefined: where they ask. */
  readonly publicUrl: string | undefined
  /** Where the route stands: `file:line:column`. */
  readonly place: string
}

/** The services that are built in. */
export type ServiceName = 'registry-token'

export type ResourceSource =
  | { readonly kind: 'capture'; readonly name: string }
  | { readonly kind: 'query'; readonly name: string }

/** What the matcher found. Read by name, never spread: what it holds may be read when it is asked for. */
export type Match = {
  readonly route: Route
  /** Decoded values of the pattern's names. `{name...}` holds segments joined by `/`. */
  readonly captures: ReadonlyMap<string, string>
  /** Git routes: the service's part of the path and the repository's whole name (git-service.ts). */
  readonly git?: GitService | undefined
}

/** A request for one of git's services, told from the path alone (gitprotocol-http). */
export type GitService = {
  readonly service:
    | 'info/refs'
    | 'git-upload-pack'
    | 'git-receive-pack'
    | 'git-upload-archive'
    | 'dumb'
  /** Number of trailing segments of the target that belong to the service. */
  readonly length: number
}
