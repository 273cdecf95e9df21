// Token records for tests: an active token of alice's, with what the test says instead.

import { digestSecret, makeSecret, type TokenRecord, uuidv7 } from '../../gateway/tokens/token.ts'

/** The time at which the tests' tokens were made. */
export const madeAt = Date.UTC(2026, 0, 2, 3, 4, 5)

export function makeRecord(changes: Partial<TokenRecord> = {}): TokenRecord {
  return {
    id: uuidv7(madeAt),
    name: null,
    subject: 'alice',
    scopes: ['source:read'],
    resources: null,
    allowedIps: null,
    createdAt: madeAt,
    createdFrom: null,
    expiresAt: null,
    lastUsedAt: null,
    lastUsedFrom: null,
    lastUsedFor: null,
    parentId: null,
    revokedAt: null,
    revokedBy: null,
    hint: 'sgt_…abcd',
    version: 1,
    ...changes,
  }
}

/** A record with a secret of its own. */
export function makeToken(changes: Partial<TokenRecord> = {}) {
  const secret = makeSecret()
  return { secret, digest: digestSecret(secret), record: makeRecord(changes) }
}
