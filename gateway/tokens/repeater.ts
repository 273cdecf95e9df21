// Writes changes to the shared cache: for each secret of a changed token the record as it is now, or a
// tombstone where the secret finds it no more. There is no queue: what is to be written is what is
// remembered of the feed (recent-changes.ts), and a position says how far that has been done.

import type { RecentChanges } from './recent-changes.ts'
import type { SharedRecord } from './shared-value.ts'
import type { TokenChange, TokenStore } from './store.ts'

/** Changes written at the same time. */
const changesPerRoundMax = 64

export type RepeaterOptions = {
  readonly store: TokenStore
  readonly changes: RecentChanges
  /** Up to where the feed was read. */
  readonly position: () => number
  /** Wall clock, milliseconds. */
  readonly now: () => number
}

/** One for each connection of a process to a shared cache; `write` rejects where it did not write. */
export class Repeater {
  readonly #options: RepeaterOptions
  readonly #write: (digest: Buffer, shared: SharedRecord) => Promise<void>
  #doneUpTo = Number.NEGATIVE_INFINITY
  #running: Promise<void> | undefined

  constructor(
    options: RepeaterOptions,
    write: (digest: Buffer, shared: SharedRecord) => Promise<void>,
  ) {
    this.#options = options
    this.#write = write
  }

  /** Writes every remembered change again. Rejects where one could not be written. */
  async writeAll(): Promise<void> {
    await this.#running?.catch(() => {})
    this.#doneUpTo = Number.NEGATIVE_INFINITY
    await this.writeNew()
  }

  /** Writes every remembered change that was not written yet. Rejects where one could not be. */
  async writeNew(): Promise<void> {
    while (this.#running !== undefined) await this.#running
    this.#running = this.#run().finally(() => {
      this.#running = undefined
    })
    await this.#running
  }

  async #run(): Promise<void> {
    for (;;) {
      const round = this.#options.changes.after(this.#doneUpTo, changesPerRoundMax)
      const last = round.at(-1)
      if (last === undefined) return
      const writes = round.flatMap((change) =>
        change.digests.map((digest) => this.#writeOne(change, digest)),
      )
      await Promise.all(writes)
      this.#doneUpTo = last.seq
    }
  }

  async #writeOne(change: TokenChange, digest: Buffer): Promise<void> {
    const { store, position, now } = this.#options
    const asked = { readAt: Math.round(now()), position: position() }
    const found = await store.find(digest)
    const record = found !== undefined && found.version >= change.version ? found : null
    await this.#write(digest, { record, version: record?.version ?? change.version, ...asked })
  }
}
