// The change feed of the SQLite authority, read on a connection of its own. It never writes.

import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { bind, sql } from './statements.ts'
import type { TokenChange } from './store.ts'
import type { Row } from './token-row.ts'

const busyMs = 50
const digestBytes = 32

/**
 * The change feed on a connection of its own: `PRAGMA data_version` moves for the commits of every other
 * connection, this process's writer among them, so that a poll without news costs microseconds.
 */
export class SqliteFeed {
  readonly #database: DatabaseSync
  readonly #version: StatementSync
  readonly #changes: StatementSync
  #readVersion: number | undefined
  #readUpTo = -1

  constructor(file: string) {
    this.#database = new DatabaseSync(file, { readOnly: true, timeout: busyMs })
    this.#version = this.#database.prepare('PRAGMA data_version')
    this.#changes = this.#database.prepare(sql.changesSince)
  }

  read(seq: number, limit: number): TokenChange[] {
    // The version is read first: a commit between the two reads is found by the next poll.
    const version = Number(this.#version.get()?.data_version)
    if (version === this.#readVersion && seq === this.#readUpTo) return []
    const changes = this.#changes.all(bind([seq, limit])).map(readChange)
    const isComplete = changes.length < limit
    this.#readVersion = isComplete ? version : undefined
    this.#readUpTo = changes.at(-1)?.seq ?? seq
    return changes
  }

  close(): void {
    this.#database.close()
  }
}

function readChange(row: Row): TokenChange {
  const bytes = Buffer.from(row.digests as Uint8Array)
  const digests: Buffer[] = []
  for (let i = 0; i < bytes.length; i += digestBytes)
    digests.push(bytes.subarray(i, i + digestBytes))
  return {
    seq: Number(row.seq),
    tokenId: String(row.token_id),
    digests,
    version: Number(row.version),
  }
}
