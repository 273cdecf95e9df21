// Symbolic refs on the git server, which a push moves with their targets; and what the log says of a push.

import t from 'tap'
import { everyScope, type Repository, refusals, startWorkplace } from './push-workplace.ts'

const workplace = await startWorkplace('nginx-streaming')
t.teardown(() => workplace.stop())

const { ids } = workplace.history
const fast = await workplace.tokenWith(['source:read-update'])
const all = await workplace.tokenWith(everyScope)
const lacksForce = 'token lacks scope source:delete'

t.test('a symbolic ref on the server', async (t) => {
  const repository = await workplace.repository()
  await repository.server('symbolic-ref', 'refs/heads/alias', 'refs/heads/main')
  const limitedTo = (...refs: readonly string[]) =>
    workplace.tokenWith(everyScope, '--resource', `ref=${refs.join()}`)
  const alias = await limitedTo('refs/heads/alias')
  const main = await limitedTo('refs/heads/main')
  for (const [sentence, token, args] of [
    ['fast-forward', alias, ['one:alias']],
    ['force', alias, ['+amended:alias']],
    ['delete', alias, [':alias']],
    ['fast-forward, limited to its target', main, ['one:alias']],
  ] as const) {
    await t.test(`is not pushed to by a token that may not move both: ${sentence}`, async (t) => {
      const refused = await repository.unchanged(t, () => repository.push(token, args))
      t.equal(refused.code, 1)
      t.match(
        refusals(refused)[0],
        /^! \[remote rejected\] (\S+ -> )?alias \(.*refs\/heads\/(main|alias)/,
      )
      t.equal(refusals(refused).length, 1)
    })
  }
  for (const [sentence, token] of [
    ['limited to both', await limitedTo('refs/heads/alias', 'refs/heads/main')],
    ['without limits', all],
  ] as const) {
    await t.test(`is pushed to by a token ${sentence}, and moves its target`, async (t) => {
      await repository.server('update-ref', 'refs/heads/main', `${ids.main}`)
      const done = await repository.push(token, ['one:alias'])
      t.equal(done.code, 0, done.stderr)
      t.equal(await repository.server('rev-parse', 'main'), ids.one)
      t.equal(await repository.server('symbolic-ref', 'refs/heads/alias'), 'refs/heads/main')
    })
  }
  await t.test('does not keep who may move its target from that', async (t) => {
    await repository.server('update-ref', 'refs/heads/main', `${ids.main}`)
    const done = await repository.push(main, ['one:main'])
    t.equal(done.code, 0, done.stderr)
  })
  await t.test('is told apart by the commits of its target', async (t) => {
    await repository.server('update-ref', 'refs/heads/main', `${ids.main}`)
    const refused = await repository.unchanged(t, () => repository.push(fast, ['+amended:alias']))
    const reason = `${lacksForce} (forced update)`
    t.same(refusals(refused), [`! [remote rejected] amended -> alias (${reason})`])
    const done = await repository.push(fast, ['one:alias'])
    t.equal(done.code, 0, done.stderr)
  })
})

/** The line of the last push to the repository. */
function lineOf(repository: Repository) {
  const path = `/${repository.name}.git/git-receive-pack`
  return workplace.gateway.logged(
    'a push',
    (line) => line.msg === 'request' && line.path === path && line.method === 'POST',
  )
}

for (const [sentence, args] of [
  ['before its pack was read', [':old']],
  ['when its pack was read', ['+amended:main']],
] as const) {
  t.test(`the log tells of a push that was refused ${sentence}, for audit`, async (t) => {
    const repository = await workplace.repository()
    const refused = await repository.push(fast, args)
    t.equal(refused.code, 1)
    t.match(await lineOf(repository), {
      route: 'source',
      outcome: 'deny',
      reason: 'insufficient_scope',
      status: 200,
      audit: true,
      action: 'deny',
      subject: 'ada',
    })
  })
}

t.test('the log tells of a push that was permitted, which is no matter of audit', async (t) => {
  const repository = await workplace.repository()
  t.equal((await repository.push(fast, ['one:main'])).code, 0)
  const line = await lineOf(repository)
  t.match(line, { route: 'source', outcome: 'permit', status: 200 })
  t.notOk(line.audit)
})
