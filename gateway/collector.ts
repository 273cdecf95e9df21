// What the garbage collector has to be told of a gateway: nearly all that a request makes dies with it.
//
// A long transfer's memory stays flat: read buffers of 64 KiB wait for V8 to notice them, which on a busy
// stream it does late (95 MiB settled against 30 MiB, and a third more CPU, over 2 GiB each way). A minor
// collection every few MiB forwarded frees them while they are young.
//
// What a request makes is made young: V8 would learn from the few field lines that are kept to make those of
// all requests old at once, and with them outlives all that they name, megabytes a second.
//
// What is idle stays ready: after half a minute V8 would give back a third of the memory and forget compiled
// code, and the next load would begin with collecting, compiling and asking for the memory again (8,500 page
// faults in its first five seconds, and 100 without).
//
// What is read of a configuration stays, and the young generation does not grow for it: to 16 MiB, as it would,
// it takes a fifth of the start with 10,000 routes.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const bytesBetweenCollections = 8 * 2 ** 20

setFlagsFromString('--no-allocation-site-pretenuring')
setFlagsFromString('--memory-reducer-gc-count=0')
setFlagsFromString('--no-flush-bytecode')
setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as (options: { type: 'minor' }) => void
let passed = 0

/** Runs what makes much that stays. Afterwards the young generation doubles where it is too small, as V8 has it. */
export function makeToStay<T>(make: () => T): T {
  setFlagsFromString('--semi-space-growth-factor=1')
  try {
    return make()
  } finally {
    setFlagsFromString('--semi-space-growth-factor=2')
  }
}

/** Called with the size of each chunk that passes, in either direction. */
export function countForwarded(bytes: number): void {
  passed += bytes
  if (passed < bytesBetweenCollections) return
  passed = 0
  collect({ type: 'minor' })
}
