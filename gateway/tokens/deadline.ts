// How long a lookup waits for the authority, and what it says when that was in vain: 503, never 401.

import { GatewayError } from '../errors.ts'

/** An answer of the authority that is older than this when it arrives is dropped. */
export const lookupDeadlineMs = 2_000

/** Rejects when the authority has not answered by the deadline. Its late answer is dropped. */
export async function inTime<T>(answer: Promise<T>): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(late()), lookupDeadlineMs)
  try {
    return await Promise.race([answer, promise])
  } finally {
    clearTimeout(timer)
  }
}

/** The refusal for an answer that came too late. */
export function late(): GatewayError {
  return unavailable('the token store does not answer in time; try again in a second')
}

/** The refusal for a lookup that nobody can answer. */
export function unavailable(detail: string): GatewayError {
  return new GatewayError('lookup_unavailable', detail, { retryAfter: 1 })
}
