// What a request wants and what a route demands, in words that every protocol shares. Types only.

/** What a route demands of a token before it permits an action. */
export type Requirement =
  /** Any one, or every one, of the named scopes (never empty). One scope is `any` of one. */
  | { readonly kind: 'any' | 'all'; readonly scopes: readonly string[] }
  /** Any active token that has at least one scope. */
  | { readonly kind: 'authenticated' }
  /** The token's own `METHOD /path` scopes decide. */
  | { readonly kind: 'path-scope' }
  /** No token is looked up. */
  | { readonly kind: 'public' }
  /** As public, but an active token is used and a bad one refused. */
  | { readonly kind: 'optional' }

/**
 * One thing that a request wants to do. A mount, or a push of several refs, is several accesses. Read by name,
 * never spread, where the protocol is not known: REST reads `resources` when they are asked for.
 */
export type Access = {
  /** REST: the method. Git: fetch, update, create, delete, force. Registry: pull, push, delete, catalog, base. */
  readonly action: string
  /** The route's demand for this action; undefined where the route does not list the action: denied. */
  readonly requirement: Requirement | undefined
  /** Method and path (as received, escaped) that path scopes are compared with. */
  readonly method: string
  readonly path: string
  /** Resource values by key (`factory`, `repository`, …); null: this access needs none (`GET /v2/`). */
  readonly resources: ReadonlyMap<string, string> | null
  /** Full ref name of a git create, update, delete or force; only these are bound by `resources.ref`. */
  readonly ref?: string
}

/** What a token may do: the part of its record that decisions read. */
export type Rights = {
  readonly scopes: readonly string[]
  /** Allowed values (globs: `*` within a segment, `**` across) by resource key; null: not limited. */
  readonly resources: Readonly<Record<string, readonly string[]>> | null
  /** CIDR ranges or single addresses that the token may be used from; null: anywhere. */
  readonly allowedIps: readonly string[] | null
}

export type DenialReason = 'insufficient_scope' | 'resource_not_allowed' | 'address_not_allowed'

/** The outcome of a decision: pure data, made from data. */
export type Decision = { readonly outcome: 'permit' } | Denial

export type Denial = {
  readonly outcome: 'deny'
  readonly reason: DenialReason
  /** The access that failed. */
  readonly access: Access
  /** Scope names (all alternatives of `any`) or the path scope that would have been needed. */
  readonly required: readonly string[]
  /** Where every one of `required` is demanded: those that the token lacks. */
  readonly missing?: readonly string[]
  /** The token's scopes as stored. */
  readonly granted: readonly string[]
  /** For `resource_not_allowed`: the key, and the request's value (undefined: the request names none). */
  readonly resource?: {
    readonly key: string
    readonly value: string | undefined
    /** The token's own limits; undefined where the route's are broken, not the token's. */
    readonly allowed?: readonly string[]
  }
  /** For `address_not_allowed`: where the request comes from. */
  readonly address?: string
}
