import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { Readable } from 'node:stream'
import { CommanderError } from 'commander'
import t from 'tap'
import { CommandFailure } from '../../gateway/commands/failure.ts'
import { tokenCommand } from '../../gateway/commands/token.ts'
import { migrate, migrations } from '../../gateway/tokens/migrations.ts'
import { commandBusyMs, openSqliteStore } from '../../gateway/tokens/sqlite.ts'
import { digestSecret, isWellFormed, makeSecret } from '../../gateway/tokens/token.ts'
import { makeFolder, removeFolder } from '../servers/lifetime.ts'

const folder = makeFolder('token-command')
t.teardown(() => removeFolder(folder))
let count = 0

const configuration = `
version: 1
tokens: { authority: sqlite:var/tokens.db, lifetime: { default: 30d } }
upstreams: { api: { url: 'http://127.0.0.1:9001' } }
scopes:
  source:read: Clone, fetch and pull
  source:read-update: { description: Push, implies: [source:read] }
routes:
  - { path: '/x/{rest...}', upstream: api, allow: { GET: source:read } }
`

type Json = Record<string, unknown>

/** One configuration with its own authority, and the `token` command on it. */
function openDesk(text = configuration) {
  count += 1
  const home = join(folder, String(count))
  mkdirSync(home)
  const config = join(home, 'gateway.yaml')
  writeFileSync(config, text)
  const authority = join(home, 'var', 'tokens.db')
  const openStore = () => openSqliteStore(authority, { busyMs: commandBusyMs })
  const run = async (args: readonly string[], input = '') => {
    const said = { code: 0, stdout: '', stderr: '' }
    const io = {
      stdin: Readable.from([input]),
      stdout: (text: string) => {
        said.stdout += text
      },
      stderr: (text: string) => {
        said.stderr += text
      },
      environment: { SCOPEGATE_CONFIG: config },
    }
    try {
      await tokenCommand(io).parseAsync(args, { from: 'user' })
    } catch (error) {
      if (error instanceof CommandFailure) {
        said.stderr += error.message
        said.code = error.exitCode
      } else if (error instanceof CommanderError) said.code = error.exitCode === 0 ? 0 : 2
      else throw error
    }
    return said
  }
  const create = async (...args: string[]): Promise<Json> => {
    const { stdout } = await run(['create', '--scope', 'source:read', '--json', ...args])
    return JSON.parse(stdout) as Json
  }
  return { home, config, authority, openStore, run, create }
}

t.test('create prints the token alone on stdout, and the authority knows it', async (t) => {
  const { run, openStore } = openDesk()
  const { code, stdout, stderr } = await run(['create', '--scope', 'source:read'])
  t.equal(code, 0)
  t.match(stdout, /^sgt_\S+\n$/)
  t.ok(isWellFormed(stdout.trim()))
  t.match(stderr, /no --subject given, so the token is admin's/)
  t.notOk(stderr.includes(stdout.trim()))
  const store = openStore()
  const record = await store.find(digestSecret(stdout.trim()))
  await store.close()
  t.match(record, { subject: 'admin', name: null, scopes: ['source:read'], parentId: null })
  t.equal(record!.expiresAt! - record!.createdAt, 30 * 86_400_000, 'the configured lifetime')
  t.equal(record?.hint, `sgt_…${stdout.trim().slice(-4)}`)
})

t.test('create --json prints the record and the token', async (t) => {
  const { run } = openDesk()
  const { stdout, stderr } = await run([
    ...['create', '--subject', 'alice', '--name', 'laptop', '--expires', 'never', '--json'],
    ...['--scope', 'source:read,source:read-update', '--scope', 'get /x'.toUpperCase()],
    ...['--scope', 'source:read', '--scope', '["PUT", "/a,b/x%2fy%7e"]'],
    ...['--resource', 'factory=acme,globex', '--resource', 'repository=acme/*'],
    ...['--resource', 'factory=initech', '--allow-ip', '10.0.0.0/8,::1', '--allow-ip', '192.0.2.1'],
  ])
  const record = JSON.parse(stdout) as Json
  t.match(record, {
    token: /^sgt_/,
    name: 'laptop',
    subject: 'alice',
    scopes: ['source:read', 'source:read-update', 'GET /X', 'PUT /a,b/x%2Fy~'],
    resources: { factory: ['acme', 'globex', 'initech'], repository: ['acme/*'] },
    allowedIps: ['10.0.0.0/8', '::1', '192.0.2.1'],
    expiresAt: null,
    revokedAt: null,
  })
  t.equal(Object.keys(record).length, 17)
  t.match(stderr, /created .* never expires/)
  t.notMatch(stderr, /no --subject/)
})

t.test('create refuses, says why, and creates nothing', async (t) => {
  const { run, home } = openDesk()
  const rows: [sentence: string, args: string[], message: RegExp][] = [
    ['no scope', [], /required option '--scope/],
    ['an empty scope', ['--scope', ''], /--scope is empty/],
    ['an empty scope in a list', ['--scope', 'source:read,'], /--scope is empty/],
    [
      'an undeclared scope',
      ['--scope', 'source:raed'],
      /"source:raed" is not declared.*nearest one is source:read$/,
    ],
    ['a lower-case method', ['--scope', 'get /x'], /"get \/x" is not METHOD \/path; right is/],
    ['a path scope without a slash', ['--scope', 'GET x'], /"GET x" is not METHOD/],
    ['a path scope with a query', ['--scope', 'GET /x?y'], /has a query/],
    ['a path that no request can have', ['--scope', 'GET /x/../y'], /"\.\." segment/],
    ['a path with a needless escape', ['--scope', 'GET /%61'], /needless escape/],
    ['a pair of one', ['--scope', '["GET"]'], /is not the pair/],
    ['a pair that is none', ['--scope', '[GET, /x]'], /is not the pair/],
    ['a time of no form', ['--scope', 'all', '--expires', 'soon'], /is none of: a duration/],
    ['a time without a zone', ['--scope', 'all', '--expires', '2099-01-01T00:00:00'], /none of/],
    ['a day that does not exist', ['--scope', 'all', '--expires', '2099-02-30'], /none of/],
    ['an hour that does not exist', ['--scope', 'all', '--expires', '2099-02-01T25:00Z'], /none/],
    ['a past day', ['--scope', 'all', '--expires', '2020-01-01'], /is past/],
    ['no time at all', ['--scope', 'all', '--expires', '0'], /is past/],
    ['a time beyond the calendar', ['--scope', 'all', '--expires', '9999999d'], /year 9999/],
    ['a limit without patterns', ['--scope', 'all', '--resource', 'factory='], /KEY=PATTERN/],
    ['a limit without a key', ['--scope', 'all', '--resource', '=acme'], /KEY=PATTERN/],
    ['an empty pattern', ['--scope', 'all', '--resource', 'factory=acme,'], /KEY=PATTERN/],
    ['no address', ['--scope', 'all', '--allow-ip', 'localhost'], /no address or range/],
    ['a range too narrow', ['--scope', 'all', '--allow-ip', '10.0.0.0/33'], /no address/],
    ['an empty subject', ['--scope', 'all', '--subject', ''], /--subject "" is empty/],
    ['a subject of two lines', ['--scope', 'all', '--subject', 'a\nb'], /control characters/],
    ['a long name', ['--scope', 'all', '--name', 'x'.repeat(256)], /longer than 255/],
    ['an unknown option', ['--scope', 'all', '--scopes', 'x'], /unknown option '--scopes'/],
    ['an argument', ['--scope', 'all', 'x'], /too many arguments/],
  ]
  for (const [sentence, args, message] of rows) {
    const { code, stdout, stderr } = await run(['create', ...args])
    t.strictSame({ code, stdout }, { code: 2, stdout: '' }, sentence)
    t.match(stderr, message, sentence)
  }
  t.strictSame(readdirSync(home), ['gateway.yaml'])
})

t.test('expiry', async (t) => {
  const { create } = openDesk()
  const rows: [string, string, number][] = [
    ['a day is its first moment in UTC', '2099-01-31', Date.UTC(2099, 0, 31)],
    ['a time with Z', '2099-01-31T12:30:00Z', Date.UTC(2099, 0, 31, 12, 30)],
    ['a time with an offset', '2099-01-31T12:30+02:00', Date.UTC(2099, 0, 31, 10, 30)],
    ['a time beyond the configured maximum', '9000-01-01', Date.UTC(9000, 0, 1)],
  ]
  for (const [sentence, value, expected] of rows) {
    const { expiresAt } = await create('--expires', value)
    t.equal(Date.parse(String(expiresAt)), expected, sentence)
  }
  const { createdAt, expiresAt } = await create('--expires', '90d')
  const lifetime = Date.parse(String(expiresAt)) - Date.parse(String(createdAt))
  t.equal(lifetime, 90 * 86_400_000, 'a duration counts from now')
})

t.test('list shows a table, or an array of records, and never a secret', async (t) => {
  const { run, create } = openDesk()
  t.strictSame(await run(['list']), { code: 0, stdout: '', stderr: 'no such tokens\n' })
  t.strictSame(await run(['list', '--json']), { code: 0, stdout: '[]\n', stderr: '' })
  const alice = await create('--subject', 'alice', '--name', 'laptop')
  const bob = await create('--subject', 'bob')
  await run(['revoke', String(bob.id)])

  const { stdout } = await run(['list'])
  const lines = stdout.split('\n')
  t.match(lines[0], /^ID +NAME +SUBJECT +SCOPES +STATE +EXPIRES +LAST USED +HINT$/)
  const about = lines.find((line) => line.includes('alice')) ?? ''
  t.match(
    about,
    new RegExp(`^${alice.id} +laptop +alice +source:read +active +20\\S+Z +never +sgt_…....$`),
  )
  t.match(stdout, /bob +source:read +revoked/)

  const all = JSON.parse((await run(['list', '--json'])).stdout) as Json[]
  const { token, ...record } = alice
  t.strictSame(
    all.find(({ id }) => id === alice.id),
    record,
  )
  t.notOk(JSON.stringify(all).includes(String(token)))
  const idsOf = async (...args: string[]) =>
    (JSON.parse((await run(['list', '--json', ...args])).stdout) as Json[]).map(({ id }) => id)
  t.strictSame(await idsOf('--subject', 'bob'), [bob.id])
  t.strictSame(await idsOf('--state', 'active'), [alice.id])
  t.strictSame(await idsOf('--state', 'revoked'), [bob.id])
  t.strictSame(await idsOf('--state', 'expired'), [])
  t.equal((await run(['list', '--state', 'gone'])).code, 2)
})

t.test('what others wrote reaches a terminal without its control characters', async (t) => {
  const { run, create, authority } = openDesk()
  const { id } = await create('--name', 'laptop')
  const database = new DatabaseSync(authority)
  database.exec("UPDATE tokens SET name = char(27) || '[2J'")
  database.close()
  for (const args of [['list'], ['show', String(id)], ['revoke', String(id)]]) {
    const { stdout } = await run(args)
    t.match(stdout, /\\u001b\[2J/)
    t.notMatch(stdout, /\p{Cc}(?<!\n)/u)
  }
})

t.test('show prints one record; an unknown id fails', async (t) => {
  const { run, create } = openDesk()
  const { token, ...record } = await create('--resource', 'factory=acme')
  t.strictSame(JSON.parse((await run(['show', '--json', String(record.id)])).stdout), record)
  const { stdout } = await run(['show', String(record.id)])
  t.match(stdout, /^state: active\nid: [0-9a-f-]{36}\nname: -\nsubject: admin\n/)
  t.match(stdout, 'resources: {"factory":["acme"]}')
  t.notOk(stdout.includes(String(token)))
  t.match(await run(['show', 'nobody']), {
    code: 1,
    stdout: '',
    stderr: 'that is not the id of a token',
  })
  const unknown = '01a200c3-55be-746a-9cdf-2f1924bb8504'
  t.match(await run(['show', unknown]), { code: 1, stderr: `no token has the id "${unknown}"` })
  const pasted = await run(['revoke', String(token)])
  t.match(pasted, { code: 1, stderr: 'token revoke --stdin' }, 'a secret in the place of an id')
  t.notOk(pasted.stderr.includes(String(token)), 'is not repeated')
  t.equal((await run(['show'])).code, 2)
})

t.test('revoke by id says what was revoked, and what was already', async (t) => {
  const { run, create } = openDesk()
  const { id } = await create('--subject', 'alice', '--name', 'laptop')
  t.match(await run(['revoke', String(id)]), {
    code: 0,
    stdout: `revoked ${id} (laptop, alice)\n`,
    stderr: '',
  })
  const again = await run(['revoke', String(id)])
  t.equal(again.code, 0)
  t.match(again.stdout, new RegExp(`^${id} \\(laptop, alice\\) was revoked already, on 20`))
  const { stdout } = await run(['show', '--json', String(id)])
  t.match(JSON.parse(stdout), { revokedBy: 'command line', revokedAt: /^20/ })
})

t.test('revoke of several ids revokes the known ones and fails for an unknown one', async (t) => {
  const { run, create } = openDesk()
  const [first, second] = [await create(), await create()]
  const { code, stdout, stderr } = await run([
    'revoke',
    `${first.id}`,
    'nobody',
    `${second.id}`,
    '--json',
  ])
  t.equal(code, 1)
  t.match(JSON.parse(stdout), [{ id: first.id }, { id: second.id }])
  t.match(stderr, 'that is not the id of a token')
})

t.test('revoke by subject revokes all of its tokens; a subject without any fails', async (t) => {
  const { run, create } = openDesk()
  await create('--subject', 'alice')
  await create('--subject', 'alice')
  await create('--subject', 'bob')
  const { code, stdout } = await run(['revoke', '--subject', 'alice'])
  t.equal(code, 0)
  t.equal(stdout.match(/^revoked /gm)?.length, 2)
  const active = JSON.parse((await run(['list', '--json', '--state', 'active'])).stdout)
  t.match(active, [{ subject: 'bob' }])
  t.equal((await run(['revoke', '--subject', 'alice'])).code, 0)
  t.match(await run(['revoke', '--subject', 'alcie']), { code: 1, stderr: '"alcie" has no tokens' })
})

t.test('revoke --stdin takes a pasted secret', async (t) => {
  const { run, create } = openDesk()
  const { id, token } = await create()
  const whole = String(token)
  const rows: [string, string, RegExp][] = [
    ['nothing', ' \n', /stdin is empty/],
    ['a part of it', whole.slice(0, -1), /no whole token/],
    ['two of them', `${whole} ${whole}`, /no whole token/],
    ['an unknown one', makeSecret(), /no such token/],
  ]
  for (const [sentence, input, message] of rows) {
    const { code, stdout, stderr } = await run(['revoke', '--stdin'], input)
    t.strictSame({ code, stdout }, { code: 1, stdout: '' }, sentence)
    t.match(stderr, message, sentence)
    t.notOk(stderr.includes(whole.slice(4, -1)), 'the message does not repeat it')
  }
  const { code, stdout } = await run(['revoke', '--stdin'], `\n  ${whole}\r\n`)
  t.match({ code, stdout }, { code: 0, stdout: `revoked ${id} (admin)\n` })
})

t.test('revoke takes exactly one way to choose', async (t) => {
  const { run } = openDesk()
  for (const args of [
    [],
    ['x', '--stdin'],
    ['x', '--subject', 'y'],
    ['--stdin', '--subject', 'y'],
  ]) {
    t.match(await run(['revoke', ...args]), { code: 2, stderr: /one of ID…/ }, args.join(' '))
  }
})

t.test('a bad configuration is complained of with its place, exit 78', async (t) => {
  const { run, config } = openDesk(`${configuration}\nnonsense: 1\n`)
  const { code, stdout, stderr } = await run(['list'])
  t.strictSame({ code, stdout }, { code: 78, stdout: '' })
  t.match(stderr, new RegExp(`^${config}:11:1: .*nonsense`, 'm'))
})

t.test('--config goes before the environment; a file that is missing is exit 78', async (t) => {
  const [one, other] = [openDesk(), openDesk()]
  await one.create()
  t.equal(JSON.parse((await other.run(['list', '--json'])).stdout).length, 0)
  t.equal(
    JSON.parse((await other.run(['list', '--json', '--config', one.config])).stdout).length,
    1,
  )
  const missing = await one.run(['list', '--config', join(one.home, 'none.yaml')])
  t.equal(missing.code, 78)
  t.match(missing.stderr, 'none.yaml')
})

t.test('a newer database is refused with both versions, exit 1', async (t) => {
  const { run, create, authority } = openDesk()
  await create()
  const database = new DatabaseSync(authority)
  migrate(database, authority, [...migrations, 'ALTER TABLE tokens ADD COLUMN extra TEXT'])
  database.close()
  const { code, stdout, stderr } = await run(['list'])
  t.strictSame({ code, stdout }, { code: 1, stdout: '' })
  t.match(stderr, /schema version 2, and this program knows versions up to 1/)
})

t.test('every subcommand has its help, which is data', async (t) => {
  const { run } = openDesk()
  for (const args of [['--help'], ['create', '--help'], ['list', '--help'], ['revoke', '--help']]) {
    const { code, stdout, stderr } = await run(args)
    t.match({ code, stdout, stderr }, { code: 0, stdout: /^Usage: token/, stderr: '' })
  }
})
