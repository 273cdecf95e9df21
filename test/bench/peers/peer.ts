// What the benchmark asks of a contender: to listen in front of the upstream, as processes of its own that
// can be counted, pinned to the core of the process under test.

import type { Bench } from '../scene.ts'

/** A contender that listens. */
export type Running = {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string
  /** The leaders of the process groups whose CPU time and memory count as its own. */
  readonly groups: readonly number[]
  stop(): Promise<void>
}

export type Peer = {
  readonly name: string
  /** What it does with each request, for the table. */
  readonly does: string
  /** Refuses what the token does not permit, and keeps the token from the upstream. */
  readonly decides: boolean
  start(scene: Bench): Promise<Running>
}
