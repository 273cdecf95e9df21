// A route that has a scope for every action: each push with exactly the scopes that it needs, and again with
// others, when git says of each ref what became of it.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { refusals, startWorkplace } from './push-workplace.ts'

const workplace = await startWorkplace('nginx-streaming')
t.teardown(() => workplace.stop())
const { client } = workplace

const forced = 'token lacks scope own:force (forced update)'
const because = (ref: string): string => `not attempted because ${ref} was refused`

// gpg stands in for by a program that makes no signature: git writes the certificate all the same.
const signer = join(client.folder, 'signer')
const signature = '-----BEGIN PGP SIGNATURE-----\\n\\niQEzBAAB\\n-----END PGP SIGNATURE-----\\n'
writeFileSync(
  signer,
  `#!/bin/sh\ncat >/dev/null\necho '[GNUPG:] SIG_CREATED ' >&2\nprintf -- '${signature}'\n`,
  { mode: 0o755 },
)

type Row = {
  readonly sentence: string
  readonly args: readonly string[]
  /** Scopes that suffice. */
  readonly needs: readonly string[]
  /** The one of them that is missing, or other scopes altogether. */
  readonly without: string | readonly string[]
  /** What git shows then. */
  readonly shows: readonly string[]
  readonly settings?: readonly string[]
}

const rows: readonly Row[] = [
  {
    sentence: 'an atomic push creates and forces',
    args: ['--atomic', '+amended:main', 'one:new'],
    needs: ['own:force', 'own:create'],
    without: ['own:update', 'own:create', 'own:delete'],
    shows: [`amended -> main (${forced})`, `one -> new (${because('refs/heads/main')})`],
  },
  {
    sentence: 'a branch is deleted beside a forced one',
    args: ['+amended:main', ':old'],
    needs: ['own:force', 'own:delete'],
    without: ['own:update', 'own:delete'],
    shows: [`amended -> main (${forced})`, `old (${because('refs/heads/main')})`],
  },
  {
    sentence: 'force alone fast-forwards',
    args: ['one:main'],
    needs: ['own:force'],
    without: ['own:create', 'own:delete'],
    shows: ['one -> main (token lacks scope own:update)'],
  },
  {
    sentence: 'force alone moves a tag',
    args: ['+main:refs/tags/v1'],
    needs: ['own:force'],
    without: ['own:update', 'own:create', 'own:delete'],
    shows: ['main -> v1 (token lacks scope own:force (tag move))'],
  },
  {
    sentence: 'force alone does not create',
    args: ['one:new'],
    needs: ['own:create'],
    without: ['own:force', 'own:update'],
    shows: ['one -> new (token lacks scope own:create (create))'],
  },
  {
    sentence: 'force alone does not delete',
    args: [':old'],
    needs: ['own:delete'],
    without: ['own:force', 'own:update'],
    shows: ['old (token lacks scope own:delete (delete))'],
  },
  {
    sentence: 'notes are added',
    args: ['refs/notes/commits'],
    needs: ['own:update'],
    without: ['own:create'],
    shows: ['refs/notes/commits -> refs/notes/commits (token lacks scope own:update)'],
  },
  {
    sentence: 'notes are replaced by others',
    args: ['+unrelated:refs/notes/commits'],
    needs: ['own:force'],
    without: ['own:update'],
    shows: [`unrelated -> refs/notes/commits (${forced})`],
  },
  {
    sentence: 'a forced push with an option that the route takes',
    args: ['-o', 'ci.skip', '--force', 'amended:main'],
    needs: ['own:force'],
    without: ['own:update'],
    shows: [`amended -> main (${forced})`],
  },
  {
    sentence: 'a signed forced push with an option',
    args: ['--signed', '-o', 'ci.skip', '--force', 'amended:main', 'one:new'],
    needs: ['own:force', 'own:create'],
    without: ['own:update', 'own:create'],
    shows: [`amended -> main (${forced})`, `one -> new (${because('refs/heads/main')})`],
    settings: [`gpg.program=${signer}`],
  },
]

const sorted = (lines: readonly string[]): string[] => lines.toSorted()

for (const { sentence, args, needs, without, shows, settings = [] } of rows) {
  const others = typeof without === 'string' ? needs.filter((scope) => scope !== without) : without
  t.test(`${sentence}: with ${needs}, not with ${others}`, async (t) => {
    const repository = await workplace.repository({ group: 'own' })
    const { push, server } = repository
    const refused = await repository.unchanged(t, async () =>
      push(await workplace.tokenWith(others), args, { settings }),
    )
    t.equal(refused.code, 1)
    const expected = shows.map((line) => `! [remote rejected] ${line}`)
    t.same(sorted(refusals(refused)), sorted(expected), refused.stderr)
    const done = await push(await workplace.tokenWith(needs), args, { settings })
    t.equal(done.code, 0, done.stderr)
    t.equal(await server('fsck', '--strict', '--no-dangling'), '')
  })
}

t.test(
  'a push option that the route does not take refuses a forced push by its name',
  async (t) => {
    const repository = await workplace.repository({ group: 'own' })
    const args = ['-o', 'ci.skip', '-o', 'other', '--force', 'amended:main']
    const refused = await repository.unchanged(t, async () =>
      repository.push(await workplace.tokenWith(['own:force']), args),
    )
    const reason = 'push option "other" is not allowed here'
    t.same(refusals(refused), [`! [remote rejected] amended -> main (${reason})`])
  },
)
