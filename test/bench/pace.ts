// The clock of the load at a fixed rate, a thread of its own: says when the next request is due, finer than
// the whole milliseconds of timers, and sleeps until then.

import { parentPort, workerData } from 'node:worker_threads'

/** `startsAt` as `clock` tells the time. */
export type Pace = {
  readonly startsAt: number
  readonly everyMs: number
  readonly count: number
}

/** Milliseconds, the same in all threads. */
export function clock(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

if (parentPort !== null) {
  const { startsAt, everyMs, count } = workerData as Pace
  const never = new Int32Array(new SharedArrayBuffer(4))
  for (let i = 0; i < count; i++) {
    const waitMs = startsAt + i * everyMs - clock()
    if (waitMs > 0) Atomics.wait(never, 0, 0, waitMs)
    parentPort.postMessage(i)
  }
}
