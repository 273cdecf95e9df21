// The embedded authority: tokens in one SQLite file (node:sqlite), shared by the gateway's processes and
// the command line. Every change and its entry in the change feed are one transaction. It never sees a
// secret.

import { randomBytes } from 'node:crypto'
import { closeSync, mkdirSync, openSync, statSync, watch } from 'node:fs'
import { basename, dirname } from 'node:path'
import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { GatewayError } from '../errors.ts'
import { keepMeta, migrate, readMeta } from './migrations.ts'
import { SqliteFeed } from './sqlite-feed.ts'
import { bind, type StatementName, sql } from './statements.ts'
import {
  type Revocation,
  type Revoker,
  retentionMs,
  type TokenChange,
  type TokenChoice,
  type TokenFilter,
  type TokenStore,
  type TokenUse,
} from './store.ts'
import type { TokenRecord } from './token.ts'
import { type Row, readRow, writeRow } from './token-row.ts'
import { UseThread } from './use-thread.ts'

/** Waiting for a lock blocks the whole process, so the request side waits for a short time only. */
export const requestBusyMs = 50
export const commandBusyMs = 5_000

const retryAfterSeconds = 1
const walBytesMax = 4 * 1024 * 1024

/**
 * Opens the authority, makes the file (0600) and its folder (0700) where they are missing, and migrates
 * it. Throws an Error that says what is wrong with the file.
 */
export function openSqliteStore(file: string, options: { readonly busyMs: number }): TokenStore {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  closeSync(openSync(file, 'a', 0o600))
  const database = new DatabaseSync(file, { timeout: commandBusyMs })
  try {
    prepareDatabase(database, file)
    const store = new SqliteStore(database, file, options.busyMs)
    database.exec(`PRAGMA busy_timeout = ${options.busyMs}`)
    return store
  } catch (error) {
    database.close()
    throw error
  }
}

/** Migrates a database and sets how it writes. One that is refused is not touched. */
export function prepareDatabase(database: DatabaseSync, file: string): void {
  // A revocation must outlive a power cut: `synchronous = NORMAL` would not promise that in WAL mode.
  database.exec('PRAGMA synchronous = FULL')
  database.exec('PRAGMA foreign_keys = ON')
  migrate(database, file)
  const mode = database.prepare('PRAGMA journal_mode = WAL').get()
  if (mode?.journal_mode !== 'wal') {
    throw new Error(`${file} is on a file system without shared memory; put it on a local disk`)
  }
  database.exec(`PRAGMA journal_size_limit = ${walBytesMax}`)
}

class SqliteStore implements TokenStore {
  readonly authorityId: string
  readonly cacheKey: Buffer
  readonly grantKey: Buffer
  readonly #file: string
  readonly #database: DatabaseSync
  readonly #statements: Readonly<Record<StatementName, StatementSync>>
  readonly #identity: string | undefined
  readonly #uses: UseThread
  #isReplaced = false
  #feed: SqliteFeed | undefined

  constructor(database: DatabaseSync, file: string, busyMs: number) {
    this.#file = file
    this.#uses = new UseThread({ file, busyMs })
    this.#database = database
    this.#identity = identityOf(file)
    this.authorityId = String(readMeta(database, 'authority id'))
    this.cacheKey = readCacheKey(database, file)
    this.grantKey = keepGrantKey(database, file)
    const prepared = Object.entries(sql).map(([name, text]) => [name, database.prepare(text)])
    this.#statements = Object.fromEntries(prepared)
  }

  async find(digest: Buffer): Promise<TokenRecord | undefined> {
    return answer(() => readOne(this.#row('find', digest)))
  }

  async get(id: string): Promise<TokenRecord | undefined> {
    return answer(() => readOne(this.#row('get', id)))
  }

  async create(record: TokenRecord, digests: readonly Buffer[]): Promise<boolean> {
    return answer(() => {
      try {
        this.#transact(() => {
          this.#run('insert', ...writeRow(record))
          for (const digest of digests) this.#run('insertSecret', digest, record.id)
          this.#appendChange(record)
        })
        return true
      } catch (error) {
        if (isTaken(error)) return false
        throw error
      }
    })
  }

  async list(filter: TokenFilter): Promise<readonly TokenRecord[]> {
    return answer(() => {
      const { subject = null, state = null, now, after = null, limit } = filter
      return this.#rows('list', subject, state, now, now - retentionMs, after, limit).map(readRow)
    })
  }

  async revoke(choice: TokenChoice, by: Revoker): Promise<Revocation> {
    return answer(() =>
      this.#transact(() => {
        const chosen = this.#choose(choice).map(readRow)
        const revoked = chosen
          .flatMap(({ id }) => this.#rows('revoke', id, by.at, by.by))
          .map(readRow)
        for (const record of revoked) this.#appendChange(record)
        return { revoked, already: chosen.filter(({ revokedAt }) => revokedAt !== null) }
      }),
    )
  }

  async recordUse(uses: readonly TokenUse[]): Promise<void> {
    try {
      this.#refuseReplaced()
      await this.#uses.write(uses)
    } catch (cause) {
      throw outage(cause)
    }
  }

  async prune(now: number): Promise<void> {
    answer(() =>
      this.#transact(() => {
        this.#run('pruneTokens', now - retentionMs)
        this.#run('pruneChanges', now - retentionMs)
      }),
    )
  }

  async lastChange(): Promise<number> {
    return answer(() => Number(this.#row('lastChange')?.seq))
  }

  async positionBefore(time: number): Promise<number> {
    return answer(() => Number(this.#row('positionBefore', time)?.seq))
  }

  async changesSince(seq: number, limit: number): Promise<readonly TokenChange[]> {
    return answer(() => {
      try {
        this.#isReplaced = identityOf(this.#file) !== this.#identity
        this.#refuseReplaced()
        this.#feed ??= new SqliteFeed(this.#file)
        return this.#feed.read(seq, limit)
      } catch (error) {
        this.#feed?.close()
        this.#feed = undefined
        throw error
      }
    })
  }

  /** Every commit writes to the file beside the database (WAL) first; where no event comes, the poll is left. */
  watch(hint: () => void): () => void {
    const log = `${basename(this.#file)}-wal`
    try {
      const watcher = watch(dirname(this.#file), { persistent: false }, (_event, name) => {
        if (name === log) hint()
      })
      watcher.on('error', () => watcher.close())
      return () => watcher.close()
    } catch {
      return () => {}
    }
  }

  async close(): Promise<void> {
    await this.#uses.close()
    this.#feed?.close()
    this.#feed = undefined
    if (this.#database.isOpen) this.#database.close()
  }

  /** Another file has taken the name: what is open here is no longer what the command line changes. */
  #refuseReplaced(): void {
    if (this.#isReplaced) throw new Error(`${this.#file} was replaced: restart the gateway`)
  }

  #choose(choice: TokenChoice): Row[] {
    if ('id' in choice) return this.#rows('get', choice.id)
    if ('subject' in choice) return this.#rows('ofSubject', choice.subject)
    return this.#rows('find', choice.digest)
  }

  /** Its time is that of the commit: an imported token is older than its change. */
  #appendChange(record: TokenRecord): void {
    const digests = this.#rows('digests', record.id).map((row) => row.digest as Uint8Array)
    this.#run('insertChange', record.id, Buffer.concat(digests), record.version, Date.now())
  }

  /** A deferred transaction that reads and then writes fails whenever another process wrote: IMMEDIATE. */
  #transact<T>(work: () => T): T {
    this.#database.exec('BEGIN IMMEDIATE')
    try {
      const result = work()
      this.#database.exec('COMMIT')
      return result
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
      throw error
    }
  }

  #row(name: StatementName, ...values: SQLInputValue[]): Row | undefined {
    this.#refuseReplaced()
    return this.#statements[name].get(bind(values))
  }

  #rows(name: StatementName, ...values: SQLInputValue[]): Row[] {
    this.#refuseReplaced()
    return this.#statements[name].all(bind(values))
  }

  #run(name: StatementName, ...values: SQLInputValue[]): void {
    this.#refuseReplaced()
    this.#statements[name].run(bind(values))
  }
}

const keyBytes = 32

function readCacheKey(database: DatabaseSync, file: string): Buffer {
  const key = Buffer.from(readMeta(database, 'cache key') ?? '', 'base64')
  if (key.length === keyBytes) return key
  throw new Error(`${file} has lost the key of its caches; restore its table meta from a backup`)
}

/** Databases of programs without grants lack it. */
function keepGrantKey(database: DatabaseSync, file: string): Buffer {
  const made = () => randomBytes(keyBytes).toString('base64')
  const key = Buffer.from(keepMeta(database, 'grant key', made), 'base64')
  if (key.length === keyBytes) return key
  throw new Error(`${file} holds no whole key for grants; delete its row 'grant key' of meta`)
}

function identityOf(file: string): string | undefined {
  const status = statSync(file, { bigint: true, throwIfNoEntry: false })
  return status && `${status.dev}:${status.ino}`
}

function readOne(row: Row | undefined): TokenRecord | undefined {
  return row === undefined ? undefined : readRow(row)
}

const primaryKeyTaken = 1555
const uniqueTaken = 2067

function isTaken(error: unknown): boolean {
  const code = error instanceof Error && 'errcode' in error ? error.errcode : undefined
  return code === primaryKeyTaken || code === uniqueTaken
}

/** Whatever goes wrong in a store is an outage, never an answer: the client may try again. */
function answer<T>(work: () => T): T {
  try {
    return work()
  } catch (cause) {
    throw outage(cause)
  }
}

function outage(cause: unknown): GatewayError {
  return new GatewayError(
    'lookup_unavailable',
    'the token store does not answer at the moment; try again in a second',
    { cause, retryAfter: retryAfterSeconds },
  )
}
