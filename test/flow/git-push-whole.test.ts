// A push of several refs is one thing: one that is refused refuses all, and git shows a reason for each.

import t, { type Test } from 'tap'
import { everyScope, type Repository, refusals, startWorkplace } from './push-workplace.ts'

const workplace = await startWorkplace('nginx')
t.teardown(() => workplace.stop())

const fast = await workplace.tokenWith(['source:read-update'])
const forcing = await workplace.tokenWith(['source:delete'])
const everything = await workplace.tokenWith(everyScope)
const forced = '(token lacks scope source:delete (forced update))'

async function refuses(
  t: Test,
  repository: Repository,
  token: string,
  args: readonly string[],
  shown: readonly string[],
): Promise<void> {
  const refused = await repository.unchanged(t, () => repository.push(token, args))
  t.equal(refused.code, 1)
  const lines = shown.map((line) => `! [remote rejected] ${line}`)
  t.same(refusals(refused).sort(), lines.sort(), refused.stderr)
}

/** Leaves the clone with these refs alone, beside its remote-tracking ones, each at what is named. */
async function keepOnly(repository: Repository, refs: Readonly<Record<string, string>>) {
  const { clone, git } = repository
  const updates: string[] = []
  for (const [ref, at] of Object.entries(refs)) {
    updates.push(`update ${ref} ${await git('rev-parse', at)}`)
  }
  const all = (await git('for-each-ref', '--format=%(refname)')).split('\n')
  const deletes = all
    .filter((ref) => !(ref in refs) && !ref.startsWith('refs/remotes/'))
    .map((ref) => `delete ${ref}`)
  const input = `${[...updates, ...deletes].join('\n')}\n`
  const done = await workplace.client.run(clone, ['update-ref', '--stdin'], { input })
  if (done.code !== 0) throw new Error(done.stderr)
}

t.test('of all branches one is forced: it has its reason, the others wait for it', async (t) => {
  const repository = await workplace.repository()
  await keepOnly(repository, {
    'refs/heads/main': 'one',
    'refs/heads/side': 'on-side',
    'refs/heads/ahead': 'amended',
    'refs/heads/foreign': 'foreign',
  })
  await refuses(
    t,
    repository,
    fast,
    ['--all', '--force'],
    [
      `ahead -> ahead ${forced}`,
      'main -> main (not attempted because refs/heads/ahead was refused)',
      'side -> side (not attempted because refs/heads/ahead was refused)',
    ],
  )
  const done = await repository.push(forcing, ['--all', '--force'])
  t.equal(done.code, 0, done.stderr)
  const list = ['for-each-ref', '--format=%(objectname)', 'refs/heads/[afms]*'] as const
  t.equal(await repository.server(...list), await repository.git(...list))
})

t.test('several branches fast-forward at once, each proved by itself', async (t) => {
  const repository = await workplace.repository()
  const args = ['on-ahead:main', 'on-side:side', 'merge-foreign:foreign', 'octopus:old']
  const done = await repository.push(fast, args)
  t.equal(done.code, 0, done.stderr)
  t.equal(
    await repository.server('rev-parse', 'main', 'side', 'foreign', 'old'),
    await repository.git('rev-parse', 'on-ahead', 'on-side', 'merge-foreign', 'octopus'),
  )
})

t.test('two are forced: each has its own reason', async (t) => {
  const repository = await workplace.repository()
  await refuses(
    t,
    repository,
    fast,
    ['+amended:main', '+unrelated:side', 'on-ahead:ahead'],
    [
      `amended -> main ${forced}`,
      `unrelated -> side ${forced}`,
      'on-ahead -> ahead (not attempted because refs/heads/main was refused)',
    ],
  )
})

t.test('one is forced to what another makes of its branch', async (t) => {
  const repository = await workplace.repository()
  await refuses(
    t,
    repository,
    fast,
    ['one:main', '+one:side'],
    ['one -> main (not attempted because refs/heads/side was refused)', `one -> side ${forced}`],
  )
})

t.test('an atomic push is refused in the same words', async (t) => {
  const repository = await workplace.repository()
  await refuses(
    t,
    repository,
    fast,
    ['--atomic', 'on-side:side', '+amended:main'],
    [
      `amended -> main ${forced}`,
      'on-side -> side (not attempted because refs/heads/main was refused)',
    ],
  )
  const done = await repository.push(forcing, ['--atomic', 'on-side:side', '+amended:main'])
  t.equal(done.code, 0, done.stderr)
})

t.test('a rename creates and deletes, and needs the scopes of both', async (t) => {
  const repository = await workplace.repository()
  const args = [':old', 'main:renamed']
  const creating = await workplace.tokenWith(['source:read-update', 'source:create'])
  await refuses(t, repository, creating, args, [
    'old (token lacks scope source:delete (delete))',
    'main -> renamed (not attempted because refs/heads/old was refused)',
  ])
  await refuses(t, repository, forcing, args, [
    'old (not attempted because refs/heads/renamed was refused)',
    'main -> renamed (token lacks scope source:create (create))',
  ])
  const done = await repository.push(everything, args)
  t.equal(done.code, 0, done.stderr)
  t.match(await repository.server('for-each-ref'), /refs\/heads\/renamed/)
  t.notMatch(await repository.server('for-each-ref'), /refs\/heads\/old/)
})

/** Makes the clone one that has no refs beside those of the server. */
async function forgetOrigin({ git }: Repository): Promise<void> {
  const tracking = await git('for-each-ref', '--format=%(refname)', 'refs/remotes')
  for (const ref of tracking.split('\n')) await git('update-ref', '-d', ref)
  await git('config', '--unset', 'remote.origin.fetch')
}

t.test('a mirror creates, moves and deletes, and needs the scopes of all', async (t) => {
  const repository = await workplace.repository()
  await keepOnly(repository, {
    'refs/heads/main': 'amended',
    'refs/heads/ahead': 'on-ahead',
    'refs/heads/new': 'one',
    'refs/tags/v1': 'middle',
  })
  await forgetOrigin(repository)
  const updating = await workplace.tokenWith(['source:read-update', 'source:create'])
  const refused = await repository.unchanged(t, () => repository.push(updating, ['--mirror']))
  const shown = refusals(refused).map((line) => line.replace('! [remote rejected] ', ''))
  for (const ref of ['side', 'foreign', 'old', 'v2']) {
    t.ok(shown.includes(`${ref} (token lacks scope source:delete (delete))`), refused.stderr)
  }
  t.ok(shown.includes('v1 -> v1 (token lacks scope source:delete (tag move))'))
  t.match(
    shown.find((line) => line.startsWith('new -> new ')),
    /^new -> new \(not attempted because refs\/\S+ was refused\)$/,
  )
  const done = await repository.push(everything, ['--mirror'])
  t.equal(done.code, 0, done.stderr)
  t.equal(await repository.server('show-ref'), await repository.git('show-ref'))
})

t.test('a mirror that only creates and fast-forwards needs no more', async (t) => {
  const repository = await workplace.repository()
  await keepOnly(repository, {
    'refs/heads/main': 'one',
    'refs/heads/side': 'side',
    'refs/heads/ahead': 'on-ahead',
    'refs/heads/foreign': 'merge-foreign',
    'refs/heads/old': 'noise',
    'refs/heads/new': 'many',
    'refs/tags/v1': 'v1',
    'refs/tags/v2': 'v2',
    'refs/tags/heavy': 'heavy',
    'refs/notes/commits': 'refs/notes/commits',
  })
  await forgetOrigin(repository)
  const token = await workplace.tokenWith(['source:read-update', 'source:create'])
  const done = await repository.push(token, ['--mirror'])
  t.equal(done.code, 0, done.stderr)
  t.equal(await repository.server('show-ref'), await repository.git('show-ref'))
})

t.test('of many refs a single create is missing', async (t) => {
  const repository = await workplace.repository()
  await refuses(
    t,
    repository,
    fast,
    ['on-side:side', 'one:main', 'one:new'],
    [
      'one -> main (not attempted because refs/heads/new was refused)',
      'one -> new (token lacks scope source:create (create))',
      'on-side -> side (not attempted because refs/heads/new was refused)',
    ],
  )
})
