// Packs that are made to deceive, through the gateway as a process to a real git server, with a token that
// may fast-forward and nothing else. Whatever stands in a pack, a branch never loses what it had: each of
// these pushes ends as a refusal that changes nothing and leaves nothing, and an honest push works after it.

import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import {
  commitText,
  deltaBetween,
  type GitObject,
  insertAll,
  makeObject,
  PackWriter,
  type PushOptions,
  packOf,
  person,
  streams,
  treeContent,
  writePushBody,
  zeroId,
} from '../protocols/git/pack-writer.ts'
import { until as waitFor } from '../servers/ready.ts'
import {
  isRefused,
  makeObjects,
  objects,
  type PackWorkplace,
  type Repository,
  startPackWorkplace,
} from './pack-workplace.ts'

const { blob, tree, root, middle, old, side, tag, honest, forced, commit, make } = objects
const empty = packOf([])

type Row = {
  readonly sentence: string
  /** `OLD NEW REF`, or the commit that main is updated to. */
  readonly commands: GitObject | readonly string[]
  readonly pack: Buffer
  readonly options?: PushOptions
}

function toMain({ id }: GitObject, from: GitObject = old): string {
  return `${from.id} ${id} refs/heads/main`
}

function row(
  sentence: string,
  commands: Row['commands'],
  pack: Buffer | ((pack: PackWriter) => void),
  options: PushOptions = {},
): Row {
  return { sentence, commands, pack: Buffer.isBuffer(pack) ? pack : written(pack), options }
}

/** A pack written step by step. */
function written(
  build: (pack: PackWriter) => void,
  ...head: ConstructorParameters<typeof PackWriter>
): Buffer {
  const pack = new PackWriter(...head)
  build(pack)
  return pack.finish()
}

const named = `parent ${old.id}\n`
const head = `tree ${tree.id}\nparent ${middle.id}\n`
const people = `author ${person}\ncommitter ${person}\n`

/** Commits that name the old one where git reads no parent. */
const lookalikes = (
  [
    ['behind the author', `${head}author ${person}\n${named}committer ${person}\n\nm\n`],
    ['behind the committer', `${head}${people}${named}\nm\n`],
    ['in the message', `${head}${people}\n${named}`],
    ['in a signature', `${head}${people}gpgsig -----BEGIN\n ${named} -----END\n\nm\n`],
    ['in a merged tag', `${head}${people}mergetag object ${old.id}\n type commit\n ${named}\nm\n`],
    ['behind an unknown field', `${head}x y\n${named}${people}\nm\n`],
    ['before the tree', `${named}tree ${tree.id}\n${people}\nm\n`],
    ['without a tree', `${named}${people}\nm\n`],
    ['behind a second tree', `tree ${tree.id}\n${head}${named}${people}\nm\n`],
    ['with CR before LF', `${head}parent ${old.id}\r\n${people}\nm\n`],
    ['with two spaces', `${head}parent  ${old.id}\n${people}\nm\n`],
    ['behind an empty line', `${head}\n${named}${people}\nm\n`],
    ['behind NUL', `${head}\0${named}${people}\nm\n`],
    ['as a person', `${head}author ${named.trim()} <a@b> 1 +0000\ncommitter ${person}\n\nm\n`],
  ] as const
).map(([sentence, text]) => {
  const lookalike = make('commit', text)
  return row(`it names the old commit ${sentence}`, lookalike, packOf([lookalike]))
})

/** The bytes of a descendant as something else, for a ref that may point to anything. */
const otherTypes = (['blob', 'tag', 'tree'] as const).map((type) => {
  const other = make(type, honest.content)
  const command = `${old.id} ${other.id} refs/notes/old`
  return row(`a ${type} has the bytes of a descendant`, [command], packOf([other]))
})

const mentions = treeContent([
  { mode: '160000', name: 'module', id: old.id },
  { name: old.id, id: blob.id },
])
const mentioning = make('tree', mentions)
const withTree = make('commit', commitText({ tree: mentioning.id, parents: [middle.id] }))
const ofParent = (id: string) => make('commit', commitText({ tree: tree.id, parents: [id] }))
const [ofTag, ofTree, ofBlob] = [tag.id, tree.id, blob.id].map(ofParent) as [
  GitObject,
  GitObject,
  GitObject,
]
const newTag = make('tag', tag.content.toString().replace('v1', 'v2'))
const unknown = makeObject('commit', 'of nobody')
const second = commit('second\n', forced)
const merge = commit('merge\n', side, second)

const hidden: readonly Row[] = [
  row('nothing is hidden', forced, packOf([forced])),
  row('a rewind, without objects', middle, empty),
  row('sideways to a commit of the server, without objects', side, empty),
  row('a merge of others', merge, packOf([forced, second, merge])),
  row('a descendant beside it', forced, packOf([honest, forced])),
  row('a delta on a descendant', forced, (pack) => {
    pack.ofsDelta(pack.object(honest), deltaBetween(honest.content, forced.content))
  }),
  row('a delta on a descendant behind it', forced, (pack) => {
    pack.refDelta(honest.id, deltaBetween(honest.content, forced.content))
    pack.object(honest)
  }),
  row('a delta on a descendant before it, by its id', forced, (pack) => {
    pack.object(honest)
    pack.refDelta(honest.id, deltaBetween(honest.content, forced.content))
  }),
  row('a delta on a commit that only the server has', forced, (pack) => {
    pack.refDelta(old.id, deltaBetween(old.content, forced.content))
  }),
  row('a chain of deltas that starts at a descendant', forced, (pack) => {
    let at = pack.object(honest)
    let before = honest
    for (let i = 0; i < 60; i++) {
      const next = commit(`${i}\n`, old)
      at = pack.ofsDelta(at, insertAll(before.content.length, next.content))
      before = next
    }
    pack.ofsDelta(at, deltaBetween(before.content, forced.content))
  }),
  row('a descendant as a delta on a blob', forced, (pack) => {
    const at = pack.object({ type: 'blob', content: forced.content })
    pack.ofsDelta(at, deltaBetween(forced.content, honest.content))
    pack.object(forced)
  }),
  row('the same commit as blob, tag and tree before', forced, (pack) => {
    for (const type of ['blob', 'tag', 'tree'] as const)
      pack.object({ type, content: honest.content })
    pack.object(forced)
  }),
  row('its tree names the old commit', withTree, packOf([withTree, mentioning])),
  row('a tag of the old commit beside it', forced, packOf([newTag, forced])),
  row('its parent is a tag of the old commit', ofTag, packOf([ofTag])),
  row('its parent is a tree', ofTree, packOf([ofTree])),
  row('its parent is a blob', ofBlob, packOf([ofBlob])),
  row(
    'its parent is a new tag of the old commit',
    ofParent(newTag.id),
    packOf([newTag, ofParent(newTag.id)]),
  ),
  row('a branch becomes a tag', tag, empty),
  row('a shallow line names the old commit', forced, packOf([forced]), { shallow: [old.id] }),
  row('a shallow line names it', forced, packOf([forced]), { shallow: [forced.id] }),
  row('a shallow line names its parent', forced, packOf([forced]), { shallow: [middle.id] }),
  row('a shallow line names the first commit', forced, packOf([forced]), { shallow: [root.id] }),
  row('a shallow line names a descendant', honest, packOf([honest]), { shallow: [honest.id] }),
  row('it has the id of a descendant that is not there', honest, packOf([forced])),
  row('the last of many streams of every shape', forced, (pack) => {
    const { content } = honest
    pack.object(honest, { stream: streams.stored(content, 1) })
    pack.object(honest, { stream: streams.emptyBlocks(content, 1_000) })
    pack.object(honest, { stream: streams.flushed(content, 1) })
    pack.object(forced, { stream: streams.emptyBlocks(forced.content, 1_000), padding: 5 })
  }),
  ...lookalikes,
  ...otherTypes,
]

const toSide = `${side.id} ${honest.id} refs/heads/side`

const commands: readonly Row[] = [
  row('one of two is forced', [toMain(honest), toSide], packOf([honest])),
  row('one of two is forced, the first', [toSide, toMain(honest)], packOf([honest])),
  row(
    'two go to the same commit, which is a descendant of one',
    [toMain(second), `${middle.id} ${second.id} refs/heads/middle`],
    packOf([forced, second]),
  ),
  row('two for one ref', [toMain(honest), toMain(forced)], packOf([honest, forced])),
  row(
    'two for one ref, one after the other',
    [toMain(honest), toMain(forced, honest)],
    packOf([honest, forced]),
  ),
  row('a delete of nothing', [`${zeroId.sha1} ${zeroId.sha1} refs/heads/main`], Buffer.alloc(0)),
  row(
    'a delete of nothing beside an update',
    [toMain(honest), `${zeroId.sha1} ${zeroId.sha1} refs/heads/side`],
    packOf([honest]),
  ),
  row('a tag is moved on', [`${tag.id} ${honest.id} refs/tags/v1`], packOf([honest])),
  row(
    'ids in capitals',
    [`${old.id.toUpperCase()} ${honest.id} refs/heads/main`],
    packOf([honest]),
  ),
  row('a ref outside of refs', [`${old.id} ${honest.id} HEAD`], packOf([honest])),
  row('another hash is claimed', forced, packOf([forced]), {
    capabilities: ' report-status object-format=sha256',
  }),
]

/** What the gateway may take for a fast-forward, and the server knows better. */
const claims: readonly Row[] = [
  row('the old commit is claimed to be its parent', [toMain(forced, middle)], packOf([forced])),
  row(
    'the old commit is claimed to be that of another branch',
    [toMain(forced, side)],
    packOf([forced]),
  ),
  row('the old commit is claimed to be unknown', [toMain(forced, unknown)], packOf([forced])),
  row('the old commit is claimed to be the new one', [toMain(forced, forced)], packOf([forced])),
  row('the old commit is claimed to be a tree', [toMain(forced, tree)], packOf([forced])),
  row('the old commit is claimed to be a tag', [toMain(honest, tag)], packOf([honest])),
  row('no old commit', [`${zeroId.sha1} ${forced.id} refs/heads/main`], packOf([forced])),
  row('the new commit is unknown', [toMain(unknown)], packOf([honest])),
]

/** What is no pack, around the forced commit and, for the same reason, around an honest one. */
const malformed: readonly Row[] = [forced, honest].flatMap((it) => {
  const of = `(${it === forced ? 'forced' : 'honest'})`
  const { content } = it
  const whole = packOf([it])
  const counted = (count: number): Buffer => written((pack) => void pack.object(it), { count })
  const one = (options: Parameters<PackWriter['object']>[1]): Buffer =>
    written((pack) => {
      pack.object(it, options)
      pack.object(blob)
    })
  const rows: Row[] = [
    row(`a wrong trailer ${of}`, it, Buffer.concat([whole.subarray(0, -1), Buffer.from([1])])),
    row(`no trailer ${of}`, it, whole.subarray(0, -20)),
    row(
      `version 1 ${of}`,
      it,
      written((pack) => void pack.object(it), { version: 1 }),
    ),
    row(
      `version 4 ${of}`,
      it,
      written((pack) => void pack.object(it), { version: 4 }),
    ),
    row(`2^32 - 1 objects ${of}`, it, counted(2 ** 32 - 1)),
    row(`2^31 objects ${of}`, it, counted(2 ** 31)),
    row(`one object more ${of}`, it, counted(2)),
    row(`no object ${of}`, it, counted(0)),
    row(`no object, and then its trailer ${of}`, it, Buffer.concat([empty, whole.subarray(12)])),
    row(`a size too small ${of}`, it, one({ size: content.length - 1 })),
    row(`a size too large ${of}`, it, one({ size: content.length + 1 })),
    row(`a size of nothing ${of}`, it, one({ size: 0 })),
    row(`a size of 64 bits ${of}`, it, one({ size: 2n ** 64n - 1n })),
    row(
      `a size that overflows 64 bits ${of}`,
      it,
      one({ size: 2n ** 64n + BigInt(content.length) }),
    ),
    row(`a wrong checksum in a stream ${of}`, it, one({ stream: streams.wrongAdler(content) })),
    row(`no checksum in a stream ${of}`, it, one({ stream: streams.noAdler(content) })),
    row(`a stream that needs a dictionary ${of}`, it, one({ stream: streams.dictionary(content) })),
    row(`deflate without zlib ${of}`, it, one({ stream: streams.raw(content) })),
    row(`gzip in place of zlib ${of}`, it, one({ stream: streams.gzip(content) })),
    row(`bytes between two objects ${of}`, it, (pack) => {
      pack.object(it)
      pack.bytes(Buffer.from('abc'))
      pack.object(blob)
    }),
    ...[0, 5].map((type) =>
      row(`an entry of type ${type} ${of}`, it, (pack) => {
        pack.object(it)
        pack.entry(type, content)
      }),
    ),
    row(`a delta on itself ${of}`, it, (pack) => {
      pack.object(it)
      pack.ofsDelta(pack.offset, insertAll(1, content))
    }),
    row(`a delta on what stands before the pack ${of}`, it, (pack) => {
      pack.object(it)
      pack.ofsDelta(-(2 ** 62), insertAll(1, content))
    }),
    row(`deltas on each other ${of}`, it, (pack) => {
      pack.object(it)
      const [one, other] = [make('blob', 'one'), make('blob', 'other')]
      pack.refDelta(other.id, insertAll(other.content.length, one.content))
      pack.refDelta(one.id, insertAll(one.content.length, other.content))
    }),
  ]
  return rows
})

const junk: readonly (readonly [string, Buffer])[] = [
  ['one byte', Buffer.from([0])],
  ['20 bytes', Buffer.alloc(20, 'j')],
  ['2 KiB', Buffer.alloc(2_048, 'j')],
  ['100 KiB', Buffer.alloc(100 * 1024, 'j')],
  ['a whole pack', packOf([honest])],
  ['a whole push', writePushBody([toMain(honest)], packOf([honest]))],
]

const shielded = [packOf([forced]), packOf([forced, make('blob', randomBytes(90_000))])]

/** Truncated behind so many bytes. */
function truncations(it: GitObject): Row[] {
  const whole = packOf([it, blob])
  const ends = [...whole.keys()].filter((end) => end % 23 === 0 || end > whole.length - 22)
  return ends.map((end) => row(`ended behind ${end} bytes`, it, whole.subarray(0, end)))
}

/** Sends every push, and watches that nothing comes of it: no ref moves, and no object stays. */
async function refusesAll(
  t: Test,
  workplace: PackWorkplace,
  repository: Repository,
  rows: readonly Row[],
  stays: 'nothing' | 'objects' = 'nothing',
): Promise<void> {
  const before = repository.state()
  for (const { sentence, commands, pack, options } of rows) {
    const list = 'id' in commands ? [toMain(commands)] : commands
    const reply = await repository.push(list, pack, options)
    if (!isRefused(reply)) t.fail(`${sentence}: ${reply.status} ${reply.text}`)
    const after = repository.state()
    t.same(after.refs, before.refs, sentence)
    if (stays === 'nothing') t.same(after.objects, before.objects, `${sentence}: no object`)
  }
  await repository.isSound(t)
  await repository.takesHonest(t)
  t.equal(workplace.gateway.log().filter(({ level }) => level === 'error').length, 0, 'no defect')
}

/** Every fourth. */
function some<T>(rows: readonly T[]): readonly T[] {
  return rows.filter((_, index) => index % 4 === 0)
}

for (const web of ['nginx-streaming', 'apache'] as const) {
  t.test(`behind ${web}`, async (t) => {
    const workplace = await startPackWorkplace(web)
    t.teardown(() => workplace.upstream.stop())
    // git reads small packs in one way and large ones in another.
    const settings = web === 'apache' ? ['receive.unpackLimit=1'] : []
    const pick = web === 'apache' ? some : <T>(rows: readonly T[]) => rows
    const refused = (sentence: string, rows: readonly Row[], stays?: 'objects') =>
      t.test(sentence, async (t) => {
        await refusesAll(t, workplace, await workplace.repository(settings), pick(rows), stays)
      })

    await refused('a forced update does not pass, however it is hidden', hidden)
    await refused('commands that do not say what they do change nothing', commands)
    await refused('a wrong old commit, or no new one, is of no use', claims, 'objects')
    await refused('what is no pack changes nothing', malformed)
    await refused('a forced push that ends early changes nothing', truncations(forced))
    await refused('a fast-forward that ends early changes nothing', truncations(honest))

    await t.test('no push cuts history off, where the server would let it', async (t) => {
      const permissive = [...settings, 'receive.shallowUpdate=true']
      const rows = hidden.filter(({ sentence }) => sentence.includes('shallow line'))
      await refusesAll(t, workplace, await workplace.repository(permissive), rows)
    })

    await t.test('bytes behind a pack are no shield for a forced update', async (t) => {
      const repository = await workplace.repository(settings)
      const before = repository.state()
      const runs = async (): Promise<true | undefined> =>
        (await workplace.upstream.backends()).length > 0 || undefined
      for (const [sentence, bytes] of junk) {
        for (const pack of shielded) {
          const list = [toMain(forced)]
          const body = Buffer.concat([pack, bytes])
          const reply = await repository.push(list, body)
          if (!isRefused(reply)) t.fail(`${sentence}: ${reply.status} ${reply.text}`)
          // The pack is there whole, and the junk comes when it can have been read.
          const until = (): Promise<true> => waitFor('a backend', runs)
          const late = await repository.push(
            list,
            body,
            {},
            {
              chunks: [4_096],
              pause: { before: bytes.length, until },
            },
          )
          if (!isRefused(late)) t.fail(`${sentence}: ${late.status} ${late.text}`)
          t.same(repository.state(), before, sentence)
        }
      }
      await repository.isSound(t)
      await repository.takesHonest(t)
    })

    await t.test('ids of sha256 are told apart as well', async (t) => {
      const repository = await workplace.repository(settings, 'sha256')
      const wide = makeObjects('sha256')
      const options = { capabilities: ' report-status object-format=sha256' }
      const before = repository.state()
      for (const base of [wide.honest, wide.old]) {
        const pack = new PackWriter({ format: 'sha256' })
        const delta = deltaBetween(base.content, wide.forced.content)
        if (base === wide.honest) pack.ofsDelta(pack.object(base), delta)
        else pack.refDelta(base.id, delta)
        const reply = await repository.push([toMain(wide.forced, wide.old)], pack.finish(), options)
        t.ok(isRefused(reply), reply.text)
        t.same(repository.state(), before)
      }
      await repository.isSound(t)
      await repository.takesHonest(t)
    })

    await t.test('a gateway that has read packs ends when it is told to', async (t) => {
      const began = performance.now()
      await workplace.gateway.stop()
      t.ok(performance.now() - began < 15_000, 'it does not wait for its reading thread')
    })
  })
}
