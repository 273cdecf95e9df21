// libgit2, through the gateway: a client with its own HTTP and its own packs, which knows neither the side
// band's words nor `remote rejected`. It shows a reason for each ref, and so does what is built on it.

import { join } from 'node:path'
import t from 'tap'
import { run } from '../servers/command.ts'
import { projectFolder } from '../servers/gateway.ts'
import { type Repository, startWorkplace } from './push-workplace.ts'

const workplace = await startWorkplace('nginx-streaming')
t.teardown(() => workplace.stop())

const script = join(projectFolder, 'test', 'fixtures', 'libgit2.py')
const fast = await workplace.tokenWith(['source:read-update'])
const forcing = await workplace.tokenWith(['source:read', 'source:delete'])
const creating = await workplace.tokenWith(['source:read', 'source:create'])

/** What libgit2 packs into one request, and what it sends in many. */
const sizes = [1_000, 2 * 1024 * 1024]

function libgit2(...args: readonly string[]) {
  return run('/usr/bin/python3', [script, ...args], {
    cwd: workplace.client.folder,
    env: { HOME: workplace.client.folder },
  })
}

/** A clone that libgit2 makes, with a branch `next` on top of main and `other` on top of main's parent. */
async function cloneOf(repository: Repository, size: number): Promise<string> {
  const folder = `${repository.clone}-libgit2`
  const cloned = await libgit2('clone', repository.url(fast), folder)
  if (cloned.code !== 0) throw new Error(cloned.stderr)
  for (const [branch, parent] of [
    ['next', 'refs/remotes/origin/main'],
    ['other', 'refs/remotes/origin/main~1'],
  ] as const) {
    const made = await libgit2('commit', folder, branch, parent, `${size}`)
    if (made.code !== 0) throw new Error(made.stderr)
  }
  return folder
}

for (const size of sizes) {
  t.test(`libgit2 with ${size} bytes to push`, async (t) => {
    const repository = await workplace.repository()
    const clone = await cloneOf(repository, size)
    const push = (token: string, ...refspecs: readonly string[]) =>
      libgit2('push', clone, repository.url(token), ...refspecs)
    const at = (branch: string) => workplace.client.git(clone, 'rev-parse', branch)

    await t.test('clones what there is', async (t) => {
      t.equal(await at('refs/remotes/origin/main'), workplace.history.ids.main)
    })

    for (const [sentence, token, refspec, line] of [
      [
        'is refused a forced update',
        fast,
        '+refs/heads/other:refs/heads/main',
        'refs/heads/main\ttoken lacks scope source:delete (forced update)',
      ],
      [
        'is refused a create',
        fast,
        'refs/heads/next:refs/heads/new',
        'refs/heads/new\ttoken lacks scope source:create (create)',
      ],
      [
        'is refused a delete',
        fast,
        ':refs/heads/old',
        'refs/heads/old\ttoken lacks scope source:delete (delete)',
      ],
      [
        'is refused a fast-forward',
        creating,
        'refs/heads/next:refs/heads/main',
        'refs/heads/main\ttoken lacks scope source:read-update',
      ],
    ] as const) {
      await t.test(`${sentence}, and is told why`, async (t) => {
        const refused = await repository.unchanged(t, () => push(token, refspec))
        t.equal(refused.stdout, `${line}\n`, refused.stderr)
        t.match(refused.stderr, /scopegate: the push was refused whole, nothing changed in acme\/r/)
      })
    }

    await t.test('is told of each ref of a push', async (t) => {
      const refspecs = ['+refs/heads/other:refs/heads/main', ':refs/heads/old']
      const refused = await repository.unchanged(t, () => push(fast, ...refspecs))
      t.same(refused.stdout.trim().split('\n').sort(), [
        'refs/heads/main\tnot attempted because refs/heads/old was refused',
        'refs/heads/old\ttoken lacks scope source:delete (delete)',
      ])
    })

    for (const [sentence, token, refspec, ref, from] of [
      ['creates', creating, 'refs/heads/next:refs/heads/new', 'refs/heads/new', 'next'],
      ['fast-forwards', fast, 'refs/heads/next:refs/heads/main', 'refs/heads/main', 'next'],
      ['forces', forcing, '+refs/heads/other:refs/heads/main', 'refs/heads/main', 'other'],
      ['deletes', forcing, ':refs/heads/old', 'refs/heads/old', undefined],
    ] as const) {
      await t.test(`${sentence} with the scope for it`, async (t) => {
        const done = await push(token, refspec)
        t.equal(done.code, 0, done.stderr)
        t.equal(done.stdout, `${ref}\tok\n`)
        const is = await repository.server('for-each-ref', '--format=%(objectname)', ref)
        t.equal(is, from === undefined ? '' : await at(from))
        t.equal(await repository.server('fsck', '--strict', '--no-dangling'), '')
      })
    }
  })
}

t.test('libgit2 without a scope to push is refused before it sends a pack', async (t) => {
  const repository = await workplace.repository()
  const clone = await cloneOf(repository, 1_000)
  const reading = await workplace.tokenWith(['source:read'])
  const refused = await repository.unchanged(t, () =>
    libgit2('push', clone, repository.url(reading), 'refs/heads/next:refs/heads/main'),
  )
  t.equal(refused.code, 1)
  t.match(refused.stderr, /403/)
})
