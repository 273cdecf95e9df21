// A fast-forward is proved whatever the history looks like and however the client packs it, for a token
// that may do no more; and a forced update never passes as one, whatever it contains.

import { appendFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { addMentions } from './push-history.ts'
import { type Repository, refusals, startWorkplace } from './push-workplace.ts'

const workplace = await startWorkplace('nginx-streaming')
const fast = await workplace.tokenWith(['source:read-update'])
t.teardown(() => workplace.stop())
await addMentions(workplace.client, workplace.history)

for (const [sentence, branch] of [
  ['a thousand commits', 'many'],
  ['a merge whose second parent is the old commit', 'merge-into-local'],
  ['a merge of the old commit into an unrelated history that the server has', 'merge-foreign'],
  ['a merge of three, of which one that the server has leads to the old commit', 'octopus'],
  ['a commit with a message of 150 kB', 'long-message'],
] as const) {
  t.test(`a fast-forward is proved: ${sentence}`, async (t) => {
    const repository = await workplace.repository()
    const done = await repository.push(fast, [`${branch}:main`])
    t.equal(done.code, 0, done.stderr)
    t.equal(await repository.server('rev-parse', 'main'), workplace.history.ids[branch])
    t.equal(await repository.server('fsck', '--strict', '--no-dangling'), '')
  })
}

for (const [sentence, branch] of [
  ['a merge of others that the server has', 'merge-others'],
  [
    'a commit that names the old one in its message, tree, author, signature and files',
    'mentioning',
  ],
  ['a commit with a second parent line where git reads none', 'late-parent'],
] as const) {
  t.test(`a forced update does not pass: ${sentence}`, async (t) => {
    const repository = await workplace.repository()
    const refused = await repository.unchanged(t, () =>
      repository.push(fast, ['--force', `${branch}:main`]),
    )
    t.equal(refused.code, 1)
    const reason = 'token lacks scope source:delete (forced update)'
    t.same(refusals(refused), [`! [remote rejected] ${branch} -> main (${reason})`])
  })
}

for (const [sentence, above] of [
  ['at the tip', 0],
  ['below the tip', 1],
] as const) {
  t.test(`a commit too long to read, ${sentence}: not proved is what git shows`, async (t) => {
    const repository = await workplace.repository()
    const message = join(workplace.client.folder, 'message')
    writeFileSync(message, 'word '.repeat((2 * 1024 * 1024) / 5))
    const commit = (parent: string, ...args: string[]) =>
      repository.git('commit-tree', '-p', parent, ...args, 'main^{tree}')
    const long = await commit('main', '-F', message)
    const id = above === 0 ? long : await commit(long, '-m', 'short')
    const args = [`${id}:main`]
    const refused = await repository.unchanged(t, () => repository.push(fast, args))
    t.equal(refused.code, 1)
    const reason = 'token lacks scope source:delete (not proved to be a fast-forward: '
    const shown = `! [remote rejected] ${id} -> main (${reason}`
    t.ok(refusals(refused)[0]?.startsWith(shown), refused.stderr)
    const done = await repository.push(await workplace.tokenWith(['source:delete']), args)
    t.equal(done.code, 0, done.stderr)
  })
}

type Packing = {
  readonly sentence: string
  readonly settings?: readonly string[]
  /** Arguments of a `git repack` before the push. */
  readonly repack?: readonly string[]
  /** The server does not say that it takes deltas by offset, so that all name their base by its id. */
  readonly withoutOffsets?: true
  readonly hasDeltas: boolean
}

for (const { sentence, settings = [], repack, withoutOffsets, hasDeltas } of [
  { sentence: 'as git packs by itself', hasDeltas: true },
  { sentence: 'with deltas by the id of their base', withoutOffsets: true, hasDeltas: true },
  { sentence: 'without deltas', settings: ['pack.window=0'], hasDeltas: false },
  {
    sentence: 'in the longest chains of deltas',
    settings: ['pack.depth=4095', 'pack.window=250'],
    hasDeltas: true,
  },
  { sentence: 'in chains of one', settings: ['pack.depth=1'], hasDeltas: true },
  { sentence: 'without compression', settings: ['core.compression=0'], hasDeltas: true },
  { sentence: 'with the best compression', settings: ['core.compression=9'], hasDeltas: true },
  {
    sentence: 'from a repository that was repacked',
    repack: ['-adF', '--depth=50', '--window=50'],
    hasDeltas: true,
  },
  {
    sentence: 'from one that was repacked with bitmaps',
    repack: ['-adbF', '--depth=50', '--window=50'],
    hasDeltas: true,
  },
  { sentence: 'chunked', settings: ['http.postBuffer=65520'], hasDeltas: true },
] satisfies Packing[]) {
  t.test(`both are told apart in a pack ${sentence}`, async (t) => {
    const repository = await workplace.repository()
    const { root } = workplace.upstream
    const more = `unpackLimit = 1\n${withoutOffsets ? '[repack]\n\tuseDeltaBaseOffset = false\n' : ''}`
    appendFileSync(join(root, `${repository.name}.git`, 'config'), more)
    if (repack !== undefined) await repository.git('repack', '-q', ...repack)
    const refused = await repository.unchanged(t, () =>
      repository.push(fast, ['--force', 'similar-others:main'], { settings }),
    )
    const reason = 'token lacks scope source:delete (forced update)'
    t.same(refusals(refused), [`! [remote rejected] similar-others -> main (${reason})`])
    const before = packsOf(repository)
    const done = await repository.push(fast, ['--force', 'similar:main'], { settings })
    t.equal(done.code, 0, done.stderr)
    t.equal(await repository.server('rev-parse', 'main'), workplace.history.ids.similar)
    t.equal(await repository.server('fsck', '--strict', '--no-dangling'), '')
    const [pack] = packsOf(repository).filter((name) => !before.includes(name))
    t.equal((await commitDeltas(repository, `${pack}`)) > 0, hasDeltas, 'as it says')
  })
}

function packsOf({ name }: Repository): string[] {
  const folder = join(workplace.upstream.root, `${name}.git`, 'objects', 'pack')
  return readdirSync(folder).filter((file) => file.endsWith('.idx'))
}

/** How many commits of a pack of the server are stored as deltas. */
async function commitDeltas({ server }: Repository, pack: string): Promise<number> {
  const listed = await server('verify-pack', '-v', `objects/pack/${pack}`)
  // Id, kind, size, packed size and offset; of a delta its depth and base too.
  return listed.match(/^\w+ commit +\d+ \d+ \d+ \d+ \w+$/gm)?.length ?? 0
}
