// Tokens that are limited to refs and repositories, and pushes: which refs they move, and how; and what the
// git server gets to know of who pushes.

import t, { type Test } from 'tap'
import { type Repository, refusals, startWorkplace } from './push-workplace.ts'

const workplace = await startWorkplace('nginx')
t.teardown(() => workplace.stop())
const { ids } = workplace.history
const main = 'refs/heads/main'
const forced = 'token lacks scope source:delete (forced update)'

/** A token with these scopes that is limited to these refs. */
function limitedTo(refs: readonly string[], ...scopes: readonly string[]): Promise<string> {
  return workplace.tokenWith(scopes, ...refs.flatMap((ref) => ['--resource', `ref=${ref}`]))
}

/** The line in which git shows the refusal of a push of one ref. */
async function refusal(t: Test, repository: Repository, token: string, refspec: string) {
  const args = ['--force', refspec]
  const refused = await repository.unchanged(t, () => repository.push(token, args))
  t.equal(refused.code, 1)
  const lines = refusals(refused)
  t.equal(lines.length, 1, refused.stderr)
  return lines[0]
}

t.test('a token limited to a ref fast-forwards it, and no other', async (t) => {
  const repository = await workplace.repository()
  const token = await limitedTo([main], 'source:read-update')
  t.match(
    await refusal(t, repository, token, 'on-side:side'),
    /^! \[remote rejected\] on-side -> side \(.*refs\/heads\/main/,
  )
  t.equal(
    await refusal(t, repository, token, 'amended:main'),
    `! [remote rejected] amended -> main (${forced})`,
  )
  const done = await repository.push(token, ['one:main'])
  t.equal(done.code, 0, done.stderr)
})

t.test('a token that may force one ref alone forces no other', async (t) => {
  const repository = await workplace.repository()
  const token = await limitedTo([main], 'source:read-update', 'source:delete')
  t.match(await refusal(t, repository, token, 'amended:side'), /side \(.*refs\/heads\/main/)
  t.match(await refusal(t, repository, token, ':side'), /side \(.*refs\/heads\/main/)
  const done = await repository.push(token, ['--force', 'amended:main'])
  t.equal(done.code, 0, done.stderr)
})

t.test('a token for a pattern that has a symbolic ref and its target moves both', async (t) => {
  const repository = await workplace.repository()
  await repository.server('symbolic-ref', 'refs/heads/alias', main)
  const token = await limitedTo(['refs/heads/*'], 'source:read-update')
  t.equal(
    await refusal(t, repository, token, 'amended:alias'),
    `! [remote rejected] amended -> alias (${forced})`,
  )
  const done = await repository.push(token, ['one:alias'])
  t.equal(done.code, 0, done.stderr)
  t.equal(await repository.server('rev-parse', main), ids.one)
})

t.test('a symbolic ref is in the way of no token that pushes to others', async (t) => {
  const repository = await workplace.repository()
  await repository.server('symbolic-ref', 'refs/heads/alias', main)
  const token = await limitedTo(['refs/heads/side'], 'source:read-update')
  const done = await repository.push(token, ['on-side:side'])
  t.equal(done.code, 0, done.stderr)
})

t.test('a token limited to another repository is told so before it sends anything', async (t) => {
  const repository = await workplace.repository()
  const scopes = ['source:read-update', 'source:delete']
  const token = await workplace.tokenWith(scopes, '--resource', 'repository=acme/other')
  const refused = await repository.unchanged(t, () => repository.push(token, ['one:main']))
  t.equal(refused.code, 128)
  t.match(refused.stderr, /The requested URL returned error: 403/)
})

t.test('the git server is told whose push it is, and never the token', async (t) => {
  const repository = await workplace.repository()
  const token = await workplace.tokenWith(['source:read-update'])
  const done = await repository.push(token, ['on-ahead:main'])
  t.equal(done.code, 0, done.stderr)
  const requests = await workplace.upstream.requests()
  const own = requests.filter(({ uri }) => uri.startsWith(`/${repository.name}.git/`))
  t.ok(
    own.some(({ uri }) => uri.endsWith('/git-upload-pack')),
    'it was asked for the proof',
  )
  t.ok(own.every(({ authorization }) => authorization === ''))
  const pushes = own.filter(({ uri }) => uri.endsWith('/git-receive-pack'))
  t.same(
    pushes.map(({ subject }) => subject),
    ['ada'],
  )
  t.notOk(workplace.gateway.messages().includes(token), 'nor does the log')
})
