// What a lookup tells of itself while it works, for metrics and the log. It carries no token, digest or id.

export type LookupTier = 'memory' | 'redis' | 'authority'

/**
 * `hit`: a record; `absent`: there is no such token; `miss`: this tier does not know; `error`: it did not
 * answer; `invalid`: what it holds does not verify.
 */
export type LookupResult = 'hit' | 'absent' | 'miss' | 'error' | 'invalid'

export type LookupObserver = {
  /** A tier was asked. Memory's `durationMs` is always 0: measuring it would take longer. */
  lookup?(tier: LookupTier, result: LookupResult, durationMs: number): void
  /** A dependency is lost, with a word why, or back; told once for each change. */
  dependency?(name: 'redis' | 'authority', isUp: boolean, reason?: string): void
}
