// The proof that an update is a fast-forward (gateway/protocols/git/proof.ts), over histories that are packed
// in any order and shape: what it proves is always so, whatever the pack; and what git itself packs is
// always proved. `search.ts` says how far it is searched.

import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { GatewayError } from '../../../gateway/errors.ts'
import type { Question } from '../../../gateway/protocols/git/ancestry.ts'
import { BoundExceeded } from '../../../gateway/protocols/git/bound.ts'
import { Proof, type ProofProgress } from '../../../gateway/protocols/git/proof.ts'
import { cut, mutate, mutations, places, search } from '../../search.ts'
import { createGitClient } from '../../servers/git-client.ts'
import { type History, histories, reachable, tidy, wild, writeHistory } from './history.ts'
import {
  commitText,
  deltaBetween,
  type GitObject,
  insertAll,
  makeObject,
  PackWriter,
  packOf,
} from './pack-writer.ts'

const client = createGitClient()
t.teardown(() => client.remove())

type Proved = {
  /** Indexes of the questions that were proved. */
  readonly proved: readonly number[]
  readonly last: ProofProgress | undefined
  readonly frontiers: ReadonlyMap<number, readonly string[]>
  readonly refused: boolean
}

async function prove(
  format: History['format'],
  questions: readonly Question[],
  pieces: readonly Buffer[],
): Promise<Proved> {
  const proof = new Proof(format, questions)
  let last: ProofProgress | undefined
  let refused = false
  const frontiers = new Map<number, readonly string[]>()
  try {
    for (const piece of pieces) {
      last = await proof.write(piece)
      if (last.frontiers === undefined) continue
      frontiers.clear()
      for (const [at, index] of last.open.entries()) {
        frontiers.set(index, last.frontiers[at] ?? [])
      }
    }
  } catch (error) {
    const isDeclared =
      error instanceof BoundExceeded ||
      (error instanceof GatewayError && error.code === 'bad_request')
    if (!isDeclared) throw error
    refused = true
  }
  proof.close()
  const open = new Set(last?.open ?? questions.keys())
  const proved = [...questions.keys()].filter((index) => !open.has(index))
  return { proved, last, frontiers, refused }
}

/** A history, questions about it, an order and pieces. */
function cases(shaping: typeof tidy, outside: boolean) {
  return histories({ outside }).chain((history) => {
    const stranger = makeObject('blob', 'of nobody', history.format).id
    const ids = [...history.commits.map(({ id }) => id), ...history.outside, stranger]
    const id = fc.constantFrom(...ids)
    const newest = fc.constantFrom(...ids.slice(-8), ids[history.commits.length - 1] as string)
    return fc.record({
      history: fc.constant(history),
      questions: fc.array(fc.record({ oldId: id, newId: newest }), { minLength: 1, maxLength: 5 }),
      order: fc.shuffledSubarray([...history.commits.keys()], {
        minLength: history.commits.length,
      }),
      shapings: fc.array(shaping, { minLength: 1, maxLength: 40, size: 'max' }),
      places,
    })
  })
}

function isSo({ oldId, newId }: Question, history: Pick<History, 'commits'>): boolean {
  return reachable(newId, history).has(oldId)
}

t.test(
  'bases first, as git packs: exactly what is so is proved, and frontiers are told',
  async () => {
    const property = fc.asyncProperty(cases(tidy, true), async (all) => {
      const { history, questions, order, shapings, places } = all
      const pack = writeHistory(history, order, shapings)
      const { proved, last, frontiers } = await prove(history.format, questions, cut(pack, places))
      for (const [index, question] of questions.entries()) {
        const so = isSo(question, history)
        if (proved.includes(index) !== so) throw new Error(`question ${index}: ${so}`)
        if (so) continue
        const seen = new Set(history.commits.map(({ id }) => id))
        const ends = [...reachable(question.newId, history)].filter((id) => !seen.has(id))
        const told = [...(frontiers.get(index) ?? [])]
        if (told.sort().join() !== ends.sort().join()) throw new Error(`frontier of ${index}`)
      }
      if (last?.isWhole !== true || last.parsed !== pack.length) throw new Error('not read whole')
    })
    await search(100, property)
  },
)

t.test('in any order and shape, among lookalikes, nothing is proved that is not so', async (t) => {
  let proofs = 0
  const property = fc.asyncProperty(cases(wild, true), async (all) => {
    const { history, questions, order, shapings, places } = all
    const pack = writeHistory(history, order, shapings)
    const { proved, frontiers } = await prove(history.format, questions, cut(pack, places))
    proofs += proved.length
    for (const index of proved) {
      if (!isSo(questions[index]!, history)) throw new Error(`question ${index}`)
    }
    // Whoever asks the server about a frontier must get an answer about this history.
    for (const [index, ends] of frontiers) {
      const all = reachable(questions[index]!.newId, history)
      if (!ends.every((id) => all.has(id))) throw new Error(`frontier of ${index}`)
    }
  })
  await search(150, property)
  t.ok(proofs > 60, `${proofs} proofs`)
})

t.test('with bytes of the pack changed, nothing is proved that is not so', async (t) => {
  let proofs = 0
  let refusals = 0
  const property = fc.asyncProperty(cases(wild, true), mutations, async (all, changes) => {
    const { history, questions, order, shapings, places } = all
    const pack = mutate(writeHistory(history, order, shapings), changes)
    const { proved, refused } = await prove(history.format, questions, cut(pack, places))
    proofs += proved.length
    if (refused) refusals++
    for (const index of proved) {
      if (!isSo(questions[index]!, history)) throw new Error(`question ${index}`)
    }
  })
  await search(150, property)
  t.ok(proofs > 20, `${proofs} proofs`)
  t.ok(refusals > 20, `${refusals} refusals`)
})

t.test('git agrees with every proof, and what git packs itself is proved', async (t) => {
  let yes = 0
  let no = 0
  const settings = fc.record({
    window: fc.constantFrom(0, 10, 250),
    depth: fc.constantFrom(1, 50, 4_095),
    byOffset: fc.boolean(),
    thin: fc.boolean(),
  })
  const property = fc.asyncProperty(cases(tidy, false), settings, async (all, settings) => {
    const { history, questions, places } = all
    const tree = makeObject('tree', '', history.format)
    const where = `r${++repositories}`
    mkdirSync(join(client.folder, where))
    await client.git(
      where,
      'init',
      '-q',
      '--bare',
      '--template=',
      `--object-format=${history.format}`,
    )
    const input = packOf([tree, ...history.commits], history.format)
    const stored = await client.run(where, ['index-pack', '--stdin'], { input })
    if (stored.code !== 0) throw new Error(stored.stderr)
    for (const question of questions) {
      const { oldId, newId } = question
      const known = new Set(history.commits.map(({ id }) => id))
      if (!known.has(oldId) || !known.has(newId)) continue
      const { code } = await client.run(where, ['merge-base', '--is-ancestor', oldId, newId])
      const isAncestor = code === 0
      const pack = await packByGit(where, question, settings)
      const { proved, refused } = await prove(history.format, [question], cut(pack, places))
      if (refused || (proved.length === 1) !== isAncestor) throw new Error(`git: ${isAncestor}`)
      if (isAncestor) yes++
      else no++
    }
  })
  await search(8, property)
  t.ok(yes > 0 && no > 0, `${yes} ancestors, ${no} others`)
})

type PackSettings = {
  readonly window: number
  readonly depth: number
  readonly byOffset: boolean
  readonly thin: boolean
}

async function packByGit(
  where: string,
  { oldId, newId }: Question,
  { window, depth, byOffset, thin }: PackSettings,
): Promise<Buffer> {
  const script = 'git pack-objects --revs -q --stdout "$@" > made'
  const done = await client.run(
    where,
    [
      ...[
        '-c',
        `alias.made=!${script} ${byOffset ? '--delta-base-offset' : ''} ${thin ? '--thin' : ''}`,
      ],
      ...['made', `--window=${window}`, `--depth=${depth}`],
    ],
    { input: `${newId}\n^${oldId}\n` },
  )
  if (done.code !== 0) throw new Error(done.stderr)
  return readFileSync(join(client.folder, where, 'made'))
}

let repositories = 0

const tree = makeObject('tree', '')
const root = makeObject('commit', commitText({ tree: tree.id, message: 'root\n' }))
const old = makeObject('commit', commitText({ tree: tree.id, parents: [root.id] }))
const honest = makeObject('commit', commitText({ tree: tree.id, parents: [old.id] }))
const amended = makeObject(
  'commit',
  commitText({ tree: tree.id, parents: [root.id], message: 'amended\n' }),
)

type Row = readonly [sentence: string, newest: GitObject, pack: PackWriter]

/** The pack in which an entry stands for the newest commit. */
function made(build: (pack: PackWriter) => void): PackWriter {
  const pack = new PackWriter()
  build(pack)
  return pack
}

t.test('a rewritten history does not pass for a descendant', async (t) => {
  const rows: readonly Row[] = [
    [
      'a delta on a descendant',
      amended,
      made((pack) => {
        const at = pack.object(honest)
        pack.ofsDelta(at, deltaBetween(honest.content, amended.content))
      }),
    ],
    [
      'a delta that names a descendant as its base, which comes later',
      amended,
      made((pack) => {
        pack.refDelta(honest.id, deltaBetween(honest.content, amended.content))
        pack.object(honest)
      }),
    ],
    [
      'a descendant as a delta on it',
      amended,
      made((pack) => {
        const at = pack.object(amended)
        pack.ofsDelta(at, deltaBetween(amended.content, honest.content))
      }),
    ],
    ['a blob of a descendant', makeObject('blob', honest.content), packed('blob', honest.content)],
    ['a tag of a descendant', makeObject('tag', honest.content), packed('tag', honest.content)],
    ['a tree of a descendant', makeObject('tree', honest.content), packed('tree', honest.content)],
    ['the id of a descendant that the pack has as a blob', honest, packed('blob', honest.content)],
    [
      'a delta on a blob that makes a descendant',
      honest,
      made((pack) => {
        const at = pack.object({ type: 'blob', content: honest.content })
        pack.ofsDelta(at, insertAll(honest.content.length, honest.content))
        pack.object(amended)
      }),
    ],
    [
      'a delta on a blob at whose place a commit is awaited',
      honest,
      made((pack) => {
        pack.object(amended)
        const blob = { type: 'blob' as const, content: Buffer.from(amended.content) }
        pack.ofsDelta(pack.object(blob), deltaBetween(blob.content, honest.content))
      }),
    ],
    [
      'a descendant of another id',
      makeObject('commit', `${honest.content} `),
      packed('commit', honest.content),
    ],
  ]
  for (const [sentence, { id }, pack] of rows) {
    const question = { oldId: old.id, newId: id }
    const { proved } = await prove('sha1', [question], [pack.finish()])
    t.same(proved, [], sentence)
  }
})

function packed(type: GitObject['type'], content: Buffer): PackWriter {
  return made((pack) => {
    pack.object({ type, content })
  })
}

t.test(
  'a descendant is proved whatever its bases are, while they are commits of the pack',
  async (t) => {
    const question = { oldId: old.id, newId: honest.id }
    const chain = made((pack) => {
      let at = pack.object(amended)
      let before: GitObject = amended
      for (let i = 0; i < 200; i++) {
        const next = makeObject('commit', commitText({ tree: tree.id, message: `${i}\n` }))
        at = pack.ofsDelta(at, deltaBetween(before.content, next.content))
        before = next
      }
      pack.ofsDelta(at, deltaBetween(before.content, honest.content))
    })
    const byId = made((pack) => {
      pack.object(amended)
      pack.refDelta(amended.id, deltaBetween(amended.content, honest.content))
    })
    for (const pack of [chain, byId]) {
      const { proved } = await prove('sha1', [question], [pack.finish()])
      t.same(proved, [0])
    }
  },
)
