// What an authority of tokens can do: one narrow interface, one contract suite for all who implement it
// (test/tokens/store-contract.ts). A store knows digests, never secrets.

import type { TokenRecord, TokenState } from './token.ts'

/**
 * The authority: where tokens live, and the truth about them. Every method rejects with a GatewayError
 * `lookup_unavailable` when the store cannot answer; an outage is never an absence.
 */
export type TokenStore = {
  /** Identifies this authority for good: caches that several authorities share are kept apart by it. */
  readonly authorityId: string
  /** 32 bytes under which shared caches seal what they hold. Nobody but this authority's gateways has it. */
  readonly cacheKey: Buffer
  /** 32 bytes that sign the grants of token services. Made once; no cache holds it. */
  readonly grantKey: Buffer
  /** The record that a secret belongs to, revoked and expired ones too; undefined: no such secret. */
  find(digest: Buffer): Promise<TokenRecord | undefined>
  get(id: string): Promise<TokenRecord | undefined>
  /** False, and nothing changed, where the id or a digest is taken already. */
  create(record: TokenRecord, digests: readonly Buffer[]): Promise<boolean>
  /** In the order of their ids, that is of creation. */
  list(filter: TokenFilter): Promise<readonly TokenRecord[]>
  /** Revokes the tokens chosen and all that descend from them. */
  revoke(choice: TokenChoice, by: Revoker): Promise<Revocation>
  /**
   * Writes when, from where and for what tokens were last used, all or nothing. It raises no `version` and
   * appends no change; an older use never replaces a newer one.
   */
  recordUse(uses: readonly TokenUse[]): Promise<void>
  /** Deletes tokens that ended longer than `retentionMs` ago. */
  prune(now: number): Promise<void>
  /** The position of the newest change; 0 where there is none. */
  lastChange(): Promise<number>
  /** The position before the changes that were made at or after a time (wall clock, milliseconds). */
  positionBefore(time: number): Promise<number>
  /** Changes after the position `seq`, oldest first, `limit` at most. */
  changesSince(seq: number, limit: number): Promise<readonly TokenChange[]>
  /**
   * Calls back when something may have been committed, until the returned function is called. A hint that
   * may be missing, early or wrong: nothing may depend on it.
   */
  watch(hint: () => void): () => void
  close(): Promise<void>
}

/** Revoked and expired tokens stay known and listed for so long. */
export const retentionMs = 90 * 24 * 60 * 60 * 1000

export type TokenFilter = {
  /** Tells expired from active, and what ended too long ago to be listed. */
  readonly now: number
  readonly subject?: string | undefined
  readonly state?: TokenState | undefined
  /** Only ids after this one. */
  readonly after?: string | undefined
  readonly limit: number
}

export type TokenChoice =
  | { readonly id: string }
  | { readonly subject: string }
  | { readonly digest: Buffer }

export type Revoker = { readonly at: number; readonly by: string }

/** Both empty: the choice names no token. */
export type Revocation = {
  readonly revoked: readonly TokenRecord[]
  /** Chosen tokens (descendants apart) that were revoked before. */
  readonly already: readonly TokenRecord[]
}

/** A request that a token permitted. */
export type TokenUse = {
  readonly tokenId: string
  /** Milliseconds since the epoch. */
  readonly at: number
  /** The client's. */
  readonly address: string
  readonly protocol: NonNullable<TokenRecord['lastUsedFor']>
}

/** One entry of the change feed: a token was created, or changed in anything but its last use. */
export type TokenChange = {
  readonly seq: number
  readonly tokenId: string
  /** Of every secret that found the token before the change or finds it after. */
  readonly digests: readonly Buffer[]
  readonly version: number
}
