// The walk along parents (gateway/protocols/git/ancestry.ts), compared with a plain search of the same
// history. What it proves is always so; what it leaves open is told with the ids where it ended.

import fc from 'fast-check'
import t from 'tap'
import {
  Ancestry,
  commitsMax,
  type Question,
  reachedMax,
} from '../../../gateway/protocols/git/ancestry.ts'
import { BoundExceeded } from '../../../gateway/protocols/git/bound.ts'
import { search } from '../../search.ts'

type Commits = ReadonlyMap<string, readonly string[]>

/** A history without circles: commit `i` has parents among those before it, and some that nobody has. */
const histories: fc.Arbitrary<Commits> = fc
  .array(
    fc.array(fc.oneof({ weight: 9, arbitrary: fc.nat(30) }, { weight: 1, arbitrary: fc.nat(3) }), {
      maxLength: 3,
    }),
    { minLength: 1, maxLength: 30 },
  )
  .map(
    (all) =>
      new Map(
        all.map((back, i) => {
          const parents = back.map((by) => (by < i ? name(i - 1 - by) : `outside ${by % 4}`))
          return [name(i), parents] as const
        }),
      ),
  )

function name(index: number): string {
  return `commit ${index}`
}

const cases = histories.chain((commits) => {
  const ids = [...commits.keys(), 'outside 0', 'outside 1', 'nowhere']
  const question = fc.record({ oldId: fc.constantFrom(...ids), newId: fc.constantFrom(...ids) })
  return fc.record({
    commits: fc.constant(commits),
    questions: fc.array(question, { minLength: 1, maxLength: 6 }),
    // Some come twice, some not at all.
    order: fc.oneof(
      fc.shuffledSubarray([...commits.keys(), ...commits.keys()]),
      fc.shuffledSubarray([...commits.keys()], { minLength: commits.size }),
      fc.constant([...commits.keys()].reverse()),
    ),
    settled: fc.array(fc.nat(5), { maxLength: 2 }),
  })
})

/** What can be reached from an id with these commits, the id included. */
function reachable(from: string, commits: Commits): Set<string> {
  const found = new Set([from])
  for (const id of found) for (const parent of commits.get(id) ?? []) found.add(parent)
  return found
}

function isProvable({ oldId, newId }: Question, commits: Commits): boolean {
  return reachable(newId, commits).has(oldId)
}

t.test(
  'after each commit it has proved exactly what the commits so far prove, in any order',
  async () => {
    const property = fc.property(cases, ({ commits, questions, order, settled }) => {
      const ancestry = new Ancestry(questions)
      const added = new Map<string, readonly string[]>()
      const answered = new Set<number>()
      const check = (): void => {
        const open = questions.flatMap((question, i) =>
          answered.has(i) || isProvable(question, added) ? [] : [i],
        )
        same([...ancestry.open].sort(), open)
        same(ancestry.isProved, open.length === 0)
        for (const i of open) {
          const ends = [...reachable(questions[i]!.newId, added)].filter((id) => !added.has(id))
          same([...ancestry.frontier(i)].sort(), ends.sort())
        }
      }
      check()
      for (const [at, id] of order.entries()) {
        if (at === order.length >> 1) {
          for (const index of settled) {
            ancestry.settle(index)
            answered.add(index)
          }
        }
        ancestry.add(id, commits.get(id) ?? [])
        added.set(id, commits.get(id) ?? [])
        check()
      }
    })
    await search(700, property)
  },
)

t.test('a frontier of a question that is answered or was never asked is empty', async (t) => {
  const ancestry = new Ancestry([
    { oldId: 'a', newId: 'b' },
    { oldId: 'c', newId: 'c' },
  ])
  t.same(ancestry.open, [0])
  ancestry.add('b', ['a'])
  t.ok(ancestry.isProved)
  for (const index of [0, 1, 2, -1]) t.same(ancestry.frontier(index), [])
})

t.test('a long history is walked without recursion, whichever end comes first', async (t) => {
  const length = 100_000
  for (const oldestFirst of [false, true]) {
    const ancestry = new Ancestry([{ oldId: '-1', newId: `${length - 1}` }])
    for (let i = 0; i < length; i++) {
      const id = oldestFirst ? i : length - 1 - i
      ancestry.add(`${id}`, [`${id - 1}`])
    }
    t.ok(ancestry.isProved, oldestFirst ? 'oldest first' : 'newest first')
  }
})

t.test(
  'a commit that is its own ancestor, which no hash allows, ends the walk all the same',
  async (t) => {
    const ancestry = new Ancestry([{ oldId: 'old', newId: 'new' }])
    ancestry.add('new', ['other', 'new'])
    ancestry.add('other', ['new'])
    t.same(ancestry.open, [0])
    t.same(ancestry.frontier(0), [])
  },
)

t.test('more commits than the bound are not taken', async (t) => {
  const ancestry = new Ancestry([{ oldId: 'old', newId: 'new' }])
  for (let i = 0; i < commitsMax; i++) ancestry.add(`${i}`, [])
  t.throws(() => ancestry.add('new', ['old']), BoundExceeded)
})

t.test('more reached commits than the bound are not taken, all questions together', async (t) => {
  const parents = Array.from({ length: 20_000 }, (_, i) => `${i}`)
  const questions = Array.from({ length: reachedMax / 20_000 + 1 }, (_, i) => ({
    oldId: `old ${i}`,
    newId: 'new',
  }))
  t.throws(() => new Ancestry(questions).add('new', parents), BoundExceeded)
})

function same(found: unknown, expected: unknown): void {
  const [one, other] = [JSON.stringify(found), JSON.stringify(expected)]
  if (one !== other) throw new Error(`found ${one}, expected ${other}`)
}
