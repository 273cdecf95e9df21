// Ids of requests: unique among all processes, made in a few nanoseconds. They are no secret.

import { randomBytes } from 'node:crypto'

const processPart = randomBytes(9).toString('base64url').replaceAll('_', '.')
let count = 0

/** 12 characters of the process, then how many it has made before. */
export function makeRequestId(): string {
  count += 1
  return `${processPart}-${count.toString(36)}`
}
