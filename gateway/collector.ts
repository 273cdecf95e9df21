// Keeps a long transfer's memory flat: read buffers of 64 KiB wait for V8 to notice them, which on a busy
// stream it does late (95 MiB settled against 30 MiB, and a third more CPU, over 2 GiB each way). A minor
// collection every few MiB forwarded frees them while they are young.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const bytesBetweenCollections = 8 * 2 ** 20

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as (options: { type: 'minor' }) => void
let passed = 0

/** Called with the size of each chunk that passes, in either direction. */
export function countForwarded(bytes: number): void {
  passed += bytes
  if (passed < bytesBetweenCollections) return
  passed = 0
  collect({ type: 'minor' })
}
