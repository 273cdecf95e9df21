import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { backup, DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { GatewayError } from '../../gateway/errors.ts'
import { migrate, migrations, readMeta } from '../../gateway/tokens/migrations.ts'
import {
  commandBusyMs,
  openSqliteStore,
  prepareDatabase,
  requestBusyMs,
} from '../../gateway/tokens/sqlite.ts'
import type { TokenStore } from '../../gateway/tokens/store.ts'
import { mustRun } from '../servers/command.ts'
import { makeFolder, removeFolder } from '../servers/lifetime.ts'
import { makeToken } from './records.ts'
import { checkTokenStore } from './store-contract.ts'

const folder = makeFolder('sqlite')
t.teardown(() => removeFolder(folder))
let count = 0

const modulePath = fileURLToPath(new URL('../../gateway/tokens/sqlite.ts', import.meta.url))
const printId = `
const { openSqliteStore } = await import(${JSON.stringify(modulePath)})
const store = openSqliteStore(process.argv[1], { busyMs: 5000 })
process.stdout.write(store.authorityId)
await store.close()
`

function newFile(): string {
  count += 1
  return join(folder, `a${count}`, 'tokens.db')
}

function openStore(file: string, busyMs = commandBusyMs): TokenStore {
  const store = openSqliteStore(file, { busyMs })
  t.teardown(() => store.close())
  return store
}

function openPlainly(file: string): DatabaseSync {
  const database = new DatabaseSync(file)
  t.teardown(() => database.close())
  return database
}

checkTokenStore(t, async () => openSqliteStore(newFile(), { busyMs: commandBusyMs }))

t.test('a database that is replaced under its name is an outage, not an authority', async (t) => {
  const file = newFile()
  const store = openStore(file)
  const { digest, record } = makeToken()
  await store.create(record, [digest])
  await backup(openPlainly(file), `${file}.new`)
  t.ok(await store.find(digest))
  renameSync(`${file}.new`, file)
  const refused = { code: 'lookup_unavailable', cause: { message: 'was replaced' } }
  await t.rejects(store.changesSince(0, 10), refused, 'the next reading of the feed sees it')
  await t.rejects(store.find(digest), refused, 'and nothing is answered from the old file')
})

t.test('the file is its owner’s alone, and so is a folder that was missing', async (t) => {
  const file = newFile()
  const store = openStore(file)
  const { digest, record } = makeToken()
  await store.create(record, [digest])
  t.equal(statSync(dirname(file)).mode & 0o777, 0o700)
  for (const name of readdirSync(dirname(file))) {
    t.equal(statSync(join(dirname(file), name)).mode & 0o777, 0o600, name)
  }
})

t.test('no secret is in the file', async (t) => {
  const file = newFile()
  const store = openStore(file)
  const { secret, digest, record } = makeToken()
  await store.create(record, [digest])
  await store.close()
  t.notOk(readFileSync(file).includes(secret.slice(4, 36)))
})

t.test('the authority keeps its id and its cache key when it is opened again', async (t) => {
  const file = newFile()
  const first = openStore(file)
  const database = openPlainly(file)
  const key = readMeta(database, 'cache key')
  await first.close()
  t.equal(openStore(file).authorityId, first.authorityId)
  t.equal(readMeta(database, 'cache key'), key)
  t.equal(Buffer.from(key ?? '', 'base64').length, 32)
  t.not(openStore(newFile()).authorityId, first.authorityId)
})

t.test('the key of grants is made where it is missing, and kept', async (t) => {
  const file = newFile()
  const first = openStore(file)
  await first.close()
  t.ok(openStore(file).grantKey.equals(first.grantKey))
  // As a program without grants has left it.
  openPlainly(file).exec("DELETE FROM meta WHERE key = 'grant key'")
  const made = openStore(file)
  t.notOk(made.grantKey.equals(first.grantKey))
  t.ok(openStore(file).grantKey.equals(made.grantKey))
  openPlainly(file).exec("UPDATE meta SET value = 'x' WHERE key = 'grant key'")
  t.throws(() => openStore(file), { message: /no whole key for grants/ })
})

t.test('a commit is on the disk before it counts: WAL, synchronous FULL', async (t) => {
  const file = newFile()
  await openStore(file).close()
  const database = openPlainly(file)
  database.exec('PRAGMA synchronous = OFF')
  prepareDatabase(database, file)
  t.match(database.prepare('PRAGMA synchronous').get(), { synchronous: 2 })
  t.match(database.prepare('PRAGMA journal_mode').get(), { journal_mode: 'wal' })
})

t.test('processes that make the authority at the same time agree on one', async (t) => {
  const file = newFile()
  const ids = await Promise.all(
    [1, 2, 3].map(() => mustRun(process.execPath, ['-e', printId, file])),
  )
  t.match(ids[0], /^[0-9a-f-]{36}$/)
  t.equal(new Set(ids).size, 1)
})

t.test('a lock that another process holds', async (t) => {
  const file = newFile()
  const store = openStore(file, requestBusyMs)
  const { digest, record } = makeToken()
  await store.create(record, [digest])
  const other = openPlainly(file)
  other.exec('BEGIN IMMEDIATE')
  t.strictSame(await store.find(digest), record, 'does not delay a lookup')
  const began = performance.now()
  const refusal = store.revoke({ id: record.id }, { at: 1, by: 'a test' })
  await t.rejects(refusal, { code: 'lookup_unavailable', status: 503, retryAfter: 1 })
  const waited = performance.now() - began
  t.ok(waited >= 40 && waited < 1_000, `a change waits 50 ms, then is refused: ${waited}`)
  other.exec('ROLLBACK')
  t.strictSame(await store.find(digest), record, 'the refused change changed nothing')
})

t.test('a corrupt row is an outage, never a token and never an absence', async (t) => {
  const rows: [string, string][] = [
    ['scopes that are no JSON', "scopes = '[\"a'"],
    ['scopes that are no list', 'scopes = \'"all"\''],
    ['scopes that are not texts', "scopes = '[1]'"],
    ['limits that are no map', "resources = '[]'"],
    ['limits that are JSON’s null', "resources = 'null'"],
    ['limits whose patterns are no list', 'resources = \'{"factory":"acme"}\''],
    ['addresses that are no list', "allowed_ips = '{}'"],
    ['an unknown protocol', "last_used_for = 'ftp'"],
    ['a time that is no exact integer', 'expires_at = 9223372036854775807'],
  ]
  for (const [sentence, change] of rows) {
    const file = newFile()
    const store = openStore(file)
    const { digest, record } = makeToken()
    await store.create(record, [digest])
    openPlainly(file).exec(`UPDATE tokens SET ${change}`)
    await t.rejects(store.find(digest), { code: 'lookup_unavailable', retryAfter: 1 }, sentence)
  }
})

t.test('a file that was overwritten is an outage, never an absence', async (t) => {
  const file = newFile()
  const store = openStore(file)
  const { digest, record } = makeToken()
  await store.create(record, [digest])
  openPlainly(file).exec('PRAGMA wal_checkpoint(TRUNCATE)')
  writeFileSync(file, Buffer.alloc(statSync(file).size, 'garbage '))
  const outcome = await store.find(digest).catch((error: unknown) => error)
  t.ok(outcome instanceof GatewayError)
  t.match(outcome, { code: 'lookup_unavailable' })
})

t.test('migrations', async (t) => {
  const further = [...migrations, 'ALTER TABLE tokens ADD COLUMN extra TEXT']

  t.test('an older database is copied beside the file, then migrated', async (t) => {
    const file = newFile()
    const store = openStore(file)
    const { digest, record } = makeToken()
    await store.create(record, [digest])
    const database = openPlainly(file)
    migrate(database, file, further)
    t.match(database.prepare('SELECT extra FROM tokens').all(), [{ extra: null }])
    t.equal(readMeta(database, 'schema version'), '2')
    t.strictSame(await store.find(digest), record)

    const names = readdirSync(dirname(file)).filter((name) => name.endsWith('.backup'))
    t.equal(names.length, 1)
    t.ok(names[0]?.startsWith(`${basename(file)}.v1-`))
    const backup = join(dirname(file), names[0]!)
    t.equal(statSync(backup).mode & 0o777, 0o600)
    t.strictSame(await openStore(backup).find(digest), record)
  })

  t.test('a step that fails leaves the database as it was', async (t) => {
    const file = newFile()
    const store = openStore(file)
    const database = openPlainly(file)
    t.throws(() => migrate(database, file, [...further, 'DROP TABLE nothing']))
    t.equal(readMeta(database, 'schema version'), '1')
    t.throws(() => database.prepare('SELECT extra FROM tokens'))
    t.equal(await store.lastChange(), 0)
  })

  t.test('a new or current database is not copied', async (t) => {
    const file = newFile()
    await openStore(file).close()
    await openStore(file).close()
    t.notOk(readdirSync(dirname(file)).some((name) => name.endsWith('.backup')))
  })

  t.test('a newer database is refused with both versions, and not touched', async (t) => {
    const file = newFile()
    await openStore(file).close()
    const database = openPlainly(file)
    migrate(database, file, [...further, 'ALTER TABLE tokens ADD COLUMN more TEXT'])
    t.throws(() => openStore(file), /schema version 3, and this program knows versions up to 1/)
    t.equal(readMeta(database, 'schema version'), '3')
  })

  t.test('a database of another program is refused, and not touched', async (t) => {
    const file = newFile()
    await openStore(file).close()
    const other = join(dirname(file), 'other.db')
    const database = openPlainly(other)
    database.exec('CREATE TABLE meta (key TEXT, value TEXT)')
    t.throws(() => openStore(other), /database of another program/)
    t.match(database.prepare('PRAGMA journal_mode').get(), { journal_mode: 'delete' })
    t.match(database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all(), [
      { name: 'meta' },
    ])
  })

  t.test('a file that is no database is refused, and not touched', async (t) => {
    const file = newFile()
    await openStore(file).close()
    const other = join(dirname(file), 'notes.txt')
    writeFileSync(other, 'notes\n'.repeat(1_000))
    t.throws(() => openStore(other), /not a database/)
    t.equal(statSync(other).size, 6_000)
    t.notOk(existsSync(`${other}-wal`))
  })
})
