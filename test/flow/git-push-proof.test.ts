// What does not fool the proof of a fast-forward, and what remains when the git server cannot be asked:
// replaced commits, pushes that are not as git writes them, and repositories that nobody may read.

import t, { type Test } from 'tap'
import { type Command, noId, packOf, post, writePush } from './push-wire.ts'
import {
  type Repository,
  refusals,
  startWorkplace,
  type Workplace,
  webs,
} from './push-workplace.ts'

const forced = 'token lacks scope source:delete (forced update)'

/** A `report-status` that says ok, of any ref. */
const success = /ok refs\//

for (const web of webs) {
  t.test(`behind ${web}`, async (t) => {
    const workplace = await startWorkplace(web)
    const fast = await workplace.tokenWith(['source:read-update'])
    t.teardown(() => workplace.stop())

    await t.test('bytes behind the pack do not carry a forced update through', async (t) => {
      const { repository, pack, command } = await rawPush(workplace, 'amended', 'middle')
      await repository.unchanged(t, async () => {
        for (const [bytes, framing] of [
          [20, 'length'],
          [20, 'chunked'],
          [5_000, 'length'],
          [200_000, 'chunked'],
        ] as const) {
          const body = Buffer.concat([writePush([command], pack), Buffer.alloc(bytes, 'x')])
          const reply = await post(repository, fast, body, framing)
          t.notMatch(reply.text, success, `${bytes} bytes, ${framing}`)
        }
      })
    })

    await t.test('a second pack behind the first changes nothing', async (t) => {
      const first = await rawPush(workplace, 'one', 'main')
      const { repository, pack, command } = await rawPush(workplace, 'amended', 'middle')
      await repository.unchanged(t, async () => {
        for (const packs of [
          [first.pack, pack],
          [pack, first.pack],
        ]) {
          const reply = await post(repository, fast, writePush([command], Buffer.concat(packs)))
          t.notMatch(reply.text, success)
        }
      })
    })

    for (const branch of ['one', 'amended']) {
      await t.test(`a pack that is not whole changes nothing: ${branch}`, async (t) => {
        const { repository, pack, command } = await rawPush(workplace, branch, 'middle')
        const wrong = Buffer.from(pack)
        wrong.writeUInt8(wrong.at(-1)! ^ 1, wrong.length - 1)
        await repository.unchanged(t, async () => {
          for (const [sentence, sent] of [
            ['without its last byte', pack.subarray(0, -1)],
            ['without its sum', pack.subarray(0, -20)],
            ['its first half', pack.subarray(0, pack.length >> 1)],
            ['its first 12 bytes', pack.subarray(0, 12)],
            ['nothing of it', pack.subarray(0, 0)],
            ['with a wrong sum', wrong],
          ] as const) {
            const reply = await post(repository, fast, writePush([command], sent))
            t.notMatch(reply.text, success, sentence)
          }
        })
      })
    }
  })
}

t.test('behind one of them', async (t) => {
  const workplace = await startWorkplace('nginx-streaming')
  const fast = await workplace.tokenWith(['source:read-update'])
  const { ids } = workplace.history
  t.teardown(() => workplace.stop())

  await t.test('the raw push that the others are made from takes effect', async (t) => {
    for (const framing of ['length', 'chunked'] as const) {
      const { repository, pack, command } = await rawPush(workplace, 'one', 'main')
      const reply = await post(repository, fast, writePush([command], pack), framing)
      t.match(reply.text, success)
      t.equal(await repository.server('rev-parse', 'main'), ids.one)
    }
  })

  await t.test('an old id that is not the one of the ref carries nothing through', async (t) => {
    // Each new commit is a descendant of what is said to be the old one.
    for (const [sentence, old, branch] of [
      ['an ancestor of both', ids.base, 'amended'],
      ['the commit before', ids.middle, 'amended'],
      ['the tip of another branch', ids.side, 'on-side'],
      ['the new commit itself', ids.amended, 'amended'],
    ] as const) {
      const { repository, pack, command } = await rawPush(workplace, branch, 'middle', 'side')
      const body = writePush([[`${old}`, command[1], command[2]]], pack)
      const refs = await repository.server('show-ref')
      const reply = await post(repository, fast, body)
      t.notMatch(reply.text, success, sentence)
      t.equal(await repository.server('show-ref'), refs, sentence)
    }
  })

  await t.test('the same ref twice, deleted and created, is no way around force', async (t) => {
    const { repository, pack, command } = await rawPush(workplace, 'amended', 'middle')
    const [old, next, ref] = command
    const token = await workplace.tokenWith(['source:read-update', 'source:create'])
    for (const commands of [
      [
        [old, noId, ref],
        [noId, next, ref],
      ],
      [
        [old, `${ids.one}`, ref],
        [`${ids.one}`, next, ref],
      ],
    ] as const) {
      const body = writePush(commands, pack)
      const reply = await repository.unchanged(t, () => post(repository, token, body))
      t.notMatch(reply.text, success)
    }
  })

  await t.test('a delete of a ref that is not there is a delete', async (t) => {
    const { repository } = await rawPush(workplace, 'one', 'main')
    const body = writePush([[noId, noId, 'refs/heads/main']], Buffer.alloc(0))
    const token = await workplace.tokenWith(['source:read-update', 'source:create'])
    const reply = await repository.unchanged(t, () => post(repository, token, body))
    t.match(reply.text, /ng refs\/heads\/main token lacks scope source:delete \(delete\)\n/)
  })

  await t.test(
    'a commit that the server shows in another place does not fool the proof',
    async (t) => {
      const repository = await workplace.repository()
      // On the server `foreign` now seems to be a descendant of main, to all but its pack protocol.
      await repository.server('replace', '--graft', 'foreign', 'main')
      t.equal(await repository.server('merge-base', 'main', 'foreign'), ids.main, 'git is fooled')
      for (const branch of ['foreign', 'on-foreign'] as const) {
        const refused = await repository.unchanged(t, () =>
          repository.push(fast, ['--force', `${branch}:main`]),
        )
        t.same(refusals(refused), [`! [remote rejected] ${branch} -> main (${forced})`])
      }
      // And `ahead` seems to be none.
      await repository.server('replace', '--graft', 'ahead', 'foreign')
      const done = await repository.push(fast, ['on-ahead:main'])
      t.equal(done.code, 0, done.stderr)
    },
  )

  await t.test('a repository that may be pushed to but not read', async (t) => {
    await t.test('takes a fast-forward that the pack proves', async (t) => {
      const repository = await unreadable(workplace)
      for (const branch of ['merge-known', 'many'] as const) {
        const main = await repository.server('rev-parse', 'main')
        const done = await repository.push(fast, [`${branch}:main`])
        t.equal(done.code, 0, done.stderr)
        await repository.server('update-ref', 'refs/heads/main', main)
      }
    })
    for (const branch of ['ahead', 'on-ahead', 'side']) {
      await t.test(`takes no other: ${branch}`, async (t) => {
        const repository = await unreadable(workplace)
        await refusesUnproved(t, repository, fast, branch)
      })
    }
    await t.test('takes a forced update of who may', async (t) => {
      const repository = await unreadable(workplace)
      const token = await workplace.tokenWith(['source:delete'])
      const done = await repository.push(token, ['--force', 'on-side:main'])
      t.equal(done.code, 0, done.stderr)
    })
  })
})

/** Refused, with a reason beside the scope that would do without a proof. */
async function refusesUnproved(
  t: Test,
  repository: Repository,
  token: string,
  branch: string,
): Promise<void> {
  const args = ['--force', `${branch}:main`]
  const refused = await repository.unchanged(t, () => repository.push(token, args))
  t.equal(refused.code, 1)
  const shown =
    /^! \[remote rejected\] \S+ -> main \(token lacks scope source:delete \(not proved to be a fast-forward: .+\)\)$/
  const lines = refusals(refused)
  t.equal(lines.length, 1, refused.stderr)
  t.match(lines[0], shown)
}

async function unreadable(workplace: Workplace): Promise<Repository> {
  const repository = await workplace.repository()
  await repository.server('config', 'http.uploadpack', 'false')
  return repository
}

/** A repository, and what moves its main to a branch: the pack lacks what these others have. */
async function rawPush(workplace: Workplace, branch: string, ...others: readonly string[]) {
  const repository = await workplace.repository()
  const { ids } = workplace.history
  const pack = await packOf(workplace.client, repository.clone, [branch], others)
  const command: Command = [`${ids.main}`, `${ids[branch]}`, 'refs/heads/main']
  return { repository, pack, command }
}
