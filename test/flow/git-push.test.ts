// Pushes from outside: real git, through the gateway with the route map that the product brings, to a real
// git server behind each of three web servers. Every kind of change is shown twice: with the one scope
// that it needs, and with all others, when git says why, nothing changes and nothing is left behind.

import t, { type Test } from 'tap'
import { everyScope, refusals, startWorkplace, type Workplace, webs } from './push-workplace.ts'

type Row = {
  readonly sentence: string
  readonly args: readonly string[]
  /** The scope that it needs. */
  readonly scope: (typeof everyScope)[number]
  /** As git shows the refusal, from the ref on. */
  readonly refused: string
  /** What the server's refs are afterwards: a ref and the client's name of its commit, or none. */
  readonly becomes: readonly [string, string | undefined]
  readonly settings: readonly string[]
}

const update = {
  scope: 'source:read-update',
  missing: 'token lacks scope source:read-update',
} as const
const force = {
  scope: 'source:delete',
  missing: 'token lacks scope source:delete (forced update)',
} as const

/** A push of a branch to main. */
function move(
  sentence: string,
  branch: string,
  { scope, missing }: typeof update | typeof force,
  ...settings: readonly string[]
): Row {
  const refused = `${branch} -> main (${missing})`
  // As a client does that forces everything: what it was, the gateway tells.
  const args = ['--force', `${branch}:main`]
  return { sentence, args, scope, refused, becomes: ['refs/heads/main', branch], settings }
}

function change(
  sentence: string,
  args: readonly string[],
  scope: Row['scope'],
  refused: string,
  becomes: Row['becomes'],
): Row {
  return { sentence, args, scope, refused, becomes, settings: [] }
}

const rows: readonly Row[] = [
  move('fast-forward by one commit', 'one', update),
  move('fast-forward by the merge of a side branch', 'merge', update),
  move('fast-forward by the merge of a branch that the server has', 'merge-known', update),
  move('fast-forward to a commit that the server has: no pack to read', 'ahead', update),
  move('fast-forward by a commit on another branch of the server', 'on-ahead', update),
  move('fast-forward by a long push, chunked', 'noise', update, 'http.postBuffer=65536'),
  move('rewind', 'middle', force),
  move('replace the last commit by an amended one', 'amended', force),
  move('replace it by an unrelated history', 'unrelated', force),
  move('go sideways to a commit that the server has: no pack to read', 'side', force),
  move('go sideways to a commit on another branch of the server', 'on-side', force),
  move('force a long push, chunked', 'forced-noise', force, 'http.postBuffer=65536'),
  change(
    'create a branch',
    ['one:refs/heads/new'],
    'source:create',
    'one -> new (token lacks scope source:create (create))',
    ['refs/heads/new', 'one'],
  ),
  change(
    'create a light tag',
    ['light'],
    'source:create',
    'light -> light (token lacks scope source:create (create))',
    ['refs/tags/light', 'light'],
  ),
  change(
    'create an annotated tag',
    ['heavy'],
    'source:create',
    'heavy -> heavy (token lacks scope source:create (create))',
    ['refs/tags/heavy', 'heavy'],
  ),
  change(
    'move a tag, even forwards',
    ['--force', 'main:refs/tags/v1'],
    'source:delete',
    'main -> v1 (token lacks scope source:delete (tag move))',
    ['refs/tags/v1', 'main'],
  ),
  change(
    'delete a branch',
    [':old'],
    'source:delete',
    'old (token lacks scope source:delete (delete))',
    ['refs/heads/old', undefined],
  ),
  change(
    'delete a tag',
    [':refs/tags/v2'],
    'source:delete',
    'v2 (token lacks scope source:delete (delete))',
    ['refs/tags/v2', undefined],
  ),
]

for (const web of webs) {
  t.test(`behind ${web}`, async (t) => {
    const workplace = await startWorkplace(web)
    t.teardown(() => workplace.stop())
    for (const row of rows) {
      await t.test(`${row.scope} permits to ${row.sentence}; all others do not`, (t) =>
        showsBoth(t, workplace, row),
      )
    }
    await t.test('a token with every scope does all of it at once', async (t) => {
      const repository = await workplace.repository()
      const { server, git, push } = repository
      const args = ['one:main', '+on-side:ahead', 'one:new', ':old', '+main:refs/tags/v1', 'heavy']
      const done = await push(await workplace.tokenWith(everyScope), args)
      t.equal(done.code, 0, done.stderr)
      const at = (where: typeof server, ...names: string[]) => where('rev-parse', ...names)
      t.equal(
        await at(server, 'main', 'ahead', 'new', 'v1', 'heavy'),
        await at(git, 'one', 'on-side', 'one', 'main', 'heavy'),
      )
      t.notMatch(await server('for-each-ref'), /refs\/heads\/old/)
    })
  })
}

async function showsBoth(t: Test, workplace: Workplace, row: Row): Promise<void> {
  const repository = await workplace.repository()
  // Who may force may fast-forward too.
  const others = everyScope.filter((scope) => scope !== row.scope)
  const short = row.scope === 'source:read-update' ? ['source:read', 'source:create'] : others
  const refused = await repository.unchanged(t, async () =>
    repository.push(await workplace.tokenWith(short), row.args, row),
  )
  t.equal(refused.code, 1)
  t.same(refusals(refused), [`! [remote rejected] ${row.refused}`])
  t.match(refused.stderr, /^remote: scopegate: .*nothing changed in acme\/r/m)

  const token = await workplace.tokenWith([row.scope])
  const done = await repository.push(token, row.args, row)
  t.equal(done.code, 0, done.stderr)
  const [ref, from] = row.becomes
  const is = await repository.server('for-each-ref', '--format=%(objectname)', ref)
  t.equal(is, from === undefined ? '' : workplace.history.ids[from])
  t.equal(await repository.server('fsck', '--strict', '--no-dangling'), '')
}
