// The forms that a push takes, each with a fast-forward for a token that may do no more, and a forced update
// that it may not: signed, quiet, with push options, shallow, in sha256, of notes, in old protocols, and
// from clients that take no side band.

import { appendFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { makeHistory } from './push-history.ts'
import { packOf, post, writePush } from './push-wire.ts'
import { type Repository, refusals, startWorkplace } from './push-workplace.ts'

const workplace = await startWorkplace('apache')
t.teardown(() => workplace.stop())

const fast = await workplace.tokenWith(['source:read-update'])
const forcing = await workplace.tokenWith(['source:delete'])
const reason = 'token lacks scope source:delete (forced update)'

type Form = {
  readonly args?: readonly string[]
  readonly settings?: readonly string[]
  readonly tokens?: { readonly fast: string; readonly forcing: string }
  readonly reason?: string
}

/** Shows that a forced update is refused, and permitted to who may; and that a fast-forward is permitted. */
async function showsAll(t: Test, repository: Repository, form: Form = {}): Promise<void> {
  const { args = [], settings = [], tokens = { fast, forcing } } = form
  const push = (token: string, ...more: string[]) =>
    repository.push(token, [...args, ...more], { settings })
  const refused = await repository.unchanged(t, () => push(tokens.fast, '--force', 'amended:main'))
  t.equal(refused.code, 1)
  t.same(refusals(refused), [`! [remote rejected] amended -> main (${form.reason ?? reason})`])
  const moved = await push(tokens.fast, 'one:main')
  t.equal(moved.code, 0, moved.stderr)
  t.equal(await repository.server('rev-parse', 'main'), await repository.git('rev-parse', 'one'))
  const done = await push(tokens.forcing, '--force', 'amended:main')
  t.equal(done.code, 0, done.stderr)
  const head = await repository.git('rev-parse', 'amended')
  t.equal(await repository.server('rev-parse', 'main'), head)
}

// gpg stands in for by a program that makes no signature: git writes the certificate all the same.
const signer = join(workplace.client.folder, 'signer')
writeFileSync(
  signer,
  `#!/bin/sh
cat >/dev/null
echo '[GNUPG:] SIG_CREATED ' >&2
printf -- '-----BEGIN PGP SIGNATURE-----\\n\\niQEzBAABCAAdFiEE\\n-----END PGP SIGNATURE-----\\n'
`,
  { mode: 0o755 },
)

t.test('a signed push', async (t) => {
  const settings = [`gpg.program=${signer}`]
  await showsAll(t, await workplace.repository(), { args: ['--signed'], settings })
})

t.test('a quiet push', async (t) => {
  await showsAll(t, await workplace.repository(), { args: ['--quiet'] })
})

for (const version of [0, 1, 2]) {
  t.test(`protocol version ${version}`, async (t) => {
    const settings = [`protocol.version=${version}`]
    await showsAll(t, await workplace.repository(), { settings })
  })
}

t.test('push options, where the route lists them', async (t) => {
  await showsAll(t, await workplace.repository({ group: 'own' }), {
    args: ['--push-option=ci.skip'],
    tokens: {
      fast: await workplace.tokenWith(['own:update']),
      forcing: await workplace.tokenWith(['own:force']),
    },
    reason: 'token lacks scope own:force (forced update)',
  })
})

t.test('a sha256 repository', async (t) => {
  const history = await makeHistory(workplace.client, 'sha256')
  const repository = await workplace.repository({ history, objectFormat: 'sha256' })
  t.equal(history.ids.main?.length, 64)
  await showsAll(t, repository)
  // The server has both: there is nothing in the pack.
  await repository.server('update-ref', 'refs/heads/main', `${history.ids.main}`)
  const refused = await repository.unchanged(t, () =>
    repository.push(fast, ['--force', 'side:main']),
  )
  t.same(refusals(refused), [`! [remote rejected] side -> main (${reason})`])
  const done = await repository.push(fast, ['ahead:main'])
  t.equal(done.code, 0, done.stderr)
})

t.test('a shallow clone', async (t) => {
  const repository = await workplace.repository()
  const { client, upstream } = workplace
  const shallow = `${repository.clone}-shallow`
  const url = `file://${join(upstream.root, `${repository.name}.git`)}`
  await client.git('', 'clone', '-q', '--depth=1', '--branch=main', url, shallow)
  const git = (...args: string[]) => client.git(shallow, ...args)
  const push = (token: string, ...args: string[]) => {
    const setting = `remote.origin.pushurl=${repository.url(token)}`
    return client.run(shallow, ['-c', setting, 'push', '--force', 'origin', ...args])
  }
  await git('commit', '-q', '--allow-empty', '-m', 'on top')
  const top = await git('rev-parse', 'main')
  const moved = await push(fast, 'main')
  t.equal(moved.code, 0, moved.stderr)
  t.equal(await repository.server('rev-parse', 'main'), top)
  await git('commit', '-q', '--amend', '--allow-empty', '-m', 'instead')
  const refused = await repository.unchanged(t, () => push(fast, 'main'))
  t.same(refusals(refused), [`! [remote rejected] main -> main (${reason})`])
  // The first commit of such a clone seems to have no parent: its replacement has none.
  await git('checkout', '-q', 'main~1')
  await git('commit', '-q', '--amend', '-m', 'another first')
  const first = await repository.unchanged(t, () => push(fast, 'HEAD:main'))
  t.same(refusals(first), [`! [remote rejected] HEAD -> main (${reason})`])
  t.equal(await git('rev-parse', 'origin/main'), top)
  const done = await push(forcing, 'main')
  t.equal(done.code, 0, done.stderr)
})

t.test('notes', async (t) => {
  const repository = await workplace.repository()
  const notes = 'refs/notes/commits'
  const moved = await repository.push(fast, [notes])
  t.equal(moved.code, 0, moved.stderr)
  t.equal(await repository.server('rev-parse', notes), await repository.git('rev-parse', notes))
  const args = ['--force', `refs/kept/notes:${notes}`]
  const refused = await repository.unchanged(t, () => repository.push(fast, args))
  t.same(refusals(refused), [`! [remote rejected] refs/kept/notes -> ${notes} (${reason})`])
  const done = await repository.push(forcing, args)
  t.equal(done.code, 0, done.stderr)
})

t.test('--force with what is a fast-forward needs no more than a fast-forward', async (t) => {
  const repository = await workplace.repository()
  const done = await repository.push(fast, ['--force', 'merge:main', '+on-side:side'])
  t.equal(done.code, 0, done.stderr)
})

t.test('--force-with-lease is told apart as --force is', async (t) => {
  const repository = await workplace.repository()
  const lease = '--force-with-lease=main'
  const refused = await repository.unchanged(t, () =>
    repository.push(fast, [lease, 'amended:main']),
  )
  t.same(refusals(refused), [`! [remote rejected] amended -> main (${reason})`])
  const done = await repository.push(fast, [lease, 'one:main'])
  t.equal(done.code, 0, done.stderr)
})

t.test('a dry run changes nothing and is refused nothing', async (t) => {
  const repository = await workplace.repository()
  const args = ['--dry-run', '--force', 'amended:main']
  const done = await repository.unchanged(t, () => repository.push(fast, args))
  t.equal(done.code, 0, done.stderr)
})

t.test('a token without any scope to push is told so before it sends anything', async (t) => {
  const repository = await workplace.repository()
  const reading = await workplace.tokenWith(['source:read'])
  const refused = await repository.unchanged(t, () => repository.push(reading, ['one:main']))
  t.equal(refused.code, 128)
  t.match(refused.stderr, /^remote: scopegate: token lacks scope source:/m)
  t.match(refused.stderr, /The requested URL returned error: 403/)
})

for (const [sentence, capabilities] of [
  ['a report without side band', 'report-status'],
  ['a report of version 2 without side band', 'report-status-v2 object-format=sha1'],
] as const) {
  t.test(sentence, async (t) => {
    const repository = await workplace.repository()
    const { ids } = workplace.history
    const pack = await packOf(workplace.client, repository.clone, ['amended'], ['middle'])
    const body = writePush(
      [[`${ids.main}`, `${ids.amended}`, 'refs/heads/main']],
      pack,
      capabilities,
    )
    const reply = await repository.unchanged(t, () => post(repository, fast, body))
    t.equal(reply.status, 200)
    const line = `ng refs/heads/main ${reason}\n`
    t.equal(reply.text, `000eunpack ok\n00${(line.length + 4).toString(16)}${line}0000`)
  })
}

t.test('what the git server itself refuses is shown in its words', async (t) => {
  const repository = await workplace.repository()
  const folder = join(workplace.upstream.root, `${repository.name}.git`)
  appendFileSync(join(folder, 'config'), '[receive]\n\tdenyNonFastForwards = true\n')
  const denied = await repository.push(forcing, ['--force', 'amended:main'])
  t.equal(denied.code, 1)
  t.same(refusals(denied), ['! [remote rejected] amended -> main (non-fast-forward)'])
  const hook = join(folder, 'hooks', 'pre-receive')
  writeFileSync(hook, '#!/bin/sh\necho no commits on a Friday >&2\nexit 1\n', { mode: 0o755 })
  const declined = await repository.unchanged(t, () => repository.push(fast, ['one:main']))
  t.equal(declined.code, 1)
  t.match(declined.stderr, /^remote: no commits on a Friday *$/m)
  t.same(refusals(declined), ['! [remote rejected] one -> main (pre-receive hook declined)'])
})
