// Pushes that are made to cost: through the gateway as a process to a real git server, with a token that
// may fast-forward and nothing else. Each is refused, takes no more memory than a push may, changes nothing
// and leaves nothing; and an honest push works after it.

import { constants, deflateRawSync, gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import {
  commitText,
  insertAll,
  makeObject,
  PackWriter,
  type PushOptions,
  packOf,
  writeDelta,
} from '../protocols/git/pack-writer.ts'
import {
  isRefused,
  memory,
  objects,
  resetPeak,
  setRefs,
  startPackWorkplace,
  type Transport,
} from './pack-workplace.ts'

/** Of the gateway over what it has while it is idle. */
const memoryMiBMax = 384

const workplace = await startPackWorkplace('nginx-streaming')
t.teardown(() => workplace.stop())

const { tree, middle, old, forced, honest, make } = objects
const toMain = `${old.id} ${forced.id} refs/heads/main`

type Bomb = {
  readonly sentence: string
  readonly commands?: readonly string[]
  readonly pack: () => Buffer
  readonly options?: PushOptions
  readonly transport?: Transport
}

/** A zlib stream of so many zeros: one piece, again and again. */
function zeros(mebibytes: number): Buffer {
  const pieceMiB = 16
  const piece = deflateRawSync(Buffer.alloc(pieceMiB * 2 ** 20), {
    finishFlush: constants.Z_FULL_FLUSH,
  })
  const end = Buffer.from([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0])
  // Adler-32 of zeros: the first sum stays 1, the second counts them.
  end.writeUInt32BE(((mebibytes * 2 ** 20) % 65_521) * 65_536 + 1, 5)
  const pieces = Array.from({ length: mebibytes / pieceMiB }, () => piece)
  return Buffer.concat([Buffer.from([0x78, 0x9c]), ...pieces, end])
}

function written(build: (pack: PackWriter) => void, count?: number): Buffer {
  const pack = new PackWriter(count === undefined ? {} : { count })
  build(pack)
  return pack.finish()
}

/** An entry of a pack, as bytes. */
function entry(type: 'blob' | 'commit', content: Buffer): Buffer {
  return packOf([make(type, content)]).subarray(12, -20)
}

function repeated(bytes: Buffer, times: number): Buffer {
  return Buffer.alloc(bytes.length * times, bytes)
}

const manyParents = commitText({
  tree: tree.id,
  parents: Array.from({ length: 5_000 }, (_, i) => `${i}`.padStart(40, '0')),
})
const bombMiB = 256

const bombs: readonly Bomb[] = [
  {
    sentence: 'a blob of 256 MiB of zeros',
    pack: () =>
      written((pack) => {
        const size = bombMiB * 2 ** 20
        pack.entry(3, Buffer.alloc(0), { size, stream: zeros(bombMiB) })
        pack.object(forced)
      }),
  },
  {
    sentence: 'a commit of 256 MiB of zeros',
    pack: () =>
      written((pack) => {
        const size = bombMiB * 2 ** 20
        pack.entry(1, Buffer.alloc(0), { size, stream: zeros(bombMiB) })
        pack.object(forced)
      }),
  },
  {
    sentence: 'a blob of 256 MiB that says it has 100 bytes',
    pack: () =>
      written((pack) => {
        pack.entry(3, Buffer.alloc(0), { size: 100, stream: zeros(bombMiB) })
        pack.object(forced)
      }),
  },
  {
    sentence: 'a blob of 16 MiB that says it has 60 GiB',
    pack: () =>
      written((pack) => {
        pack.entry(3, Buffer.alloc(0), { size: 60 * 2 ** 30, stream: zeros(16) })
        pack.object(forced)
      }),
  },
  {
    sentence: '1,000,000 empty blobs',
    pack: () =>
      written((pack) => {
        pack.bytes(repeated(entry('blob', Buffer.alloc(0)), 1_000_000))
        pack.object(forced)
      }, 1_000_001),
  },
  {
    sentence: 'the same empty commit 600,000 times',
    pack: () =>
      written((pack) => {
        pack.bytes(repeated(entry('commit', Buffer.alloc(0)), 600_000))
        pack.object(forced)
      }, 600_001),
  },
  {
    sentence: 'small commits, each followed by what fills the memory that it was read into',
    pack: () =>
      written(
        (pack) => {
          const filling = repeated(entry('blob', Buffer.alloc(4_000)), 17)
          for (let i = 0; i < 2_000; i++) {
            pack.object({ type: 'commit', content: Buffer.from(`${i}`) })
            pack.bytes(filling)
          }
          pack.object(forced)
        },
        2_000 * 18 + 1,
      ),
  },
  {
    sentence: '3,000 deltas that make commits of 5,000 parents each',
    pack: () =>
      written((pack) => {
        const base = Buffer.from(manyParents)
        const at = pack.object({ type: 'commit', content: base })
        for (let i = 0; i < 3_000; i++) {
          const insert = Buffer.from(`${i}`)
          const size = base.length + insert.length
          pack.ofsDelta(at, writeDelta(base.length, size, [{ copy: [0, base.length] }, { insert }]))
        }
        pack.object(forced)
      }),
  },
  {
    sentence: 'deltas that each double what the one before makes',
    pack: () =>
      written((pack) => {
        let at = pack.object({ type: 'commit', content: Buffer.from(manyParents) })
        let size = manyParents.length
        for (let i = 0; i < 20; i++, size *= 2) {
          const copies = Array.from({ length: 2 ** Math.max(0, i - 5) }, () => ({
            copy: [0, Math.min(size, 0xffffff)] as const,
          }))
          at = pack.ofsDelta(at, writeDelta(size, size * 2, [...copies, ...copies]))
        }
        pack.object(forced)
      }),
  },
  {
    sentence: 'a delta that says it makes 2^60 bytes',
    pack: () =>
      written((pack) => {
        const at = pack.object(honest)
        pack.ofsDelta(at, writeDelta(honest.content.length, 2n ** 60n, [{ copy: [0, 9] }]))
        pack.object(forced)
      }),
  },
  {
    sentence: 'a chain of 5,000 deltas',
    pack: () =>
      written((pack) => {
        let at = pack.object(honest)
        for (let i = 0; i < 5_000; i++) {
          at = pack.ofsDelta(at, insertAll(honest.content.length, honest.content))
        }
        pack.object(forced)
      }),
  },
  {
    sentence: 'the pack in chunks of one byte',
    pack: () => packOf([forced, makeObject('blob', Buffer.alloc(20_000))]),
    transport: { chunks: [1] },
  },
]

async function costsLittle(t: Test, act: () => Promise<void>): Promise<void> {
  const { pid } = workplace.gateway
  resetPeak(pid)
  await act()
  const grown = memory(pid).peak - idle
  t.ok(grown < memoryMiBMax, `${grown.toFixed()} MiB more`)
}

const idle = memory(workplace.gateway.pid).now

for (const { sentence, commands = [toMain], pack, options, transport } of bombs) {
  t.test(`refused at a bounded cost: ${sentence}`, async (t) => {
    const repository = await workplace.repository()
    const before = repository.state()
    const bytes = pack()
    await costsLittle(t, async () => {
      const reply = await repository.push(commands, bytes, options, transport)
      t.ok(isRefused(reply), `${reply.status} ${reply.text.slice(0, 600)}`)
    })
    await repository.isSound(t)
    t.same(repository.state(), before, 'nothing is changed')
    await repository.takesHonest(t)
  })
}

t.test('refused at a bounded cost: gzip of 1 GiB behind an honest beginning', async (t) => {
  const repository = await workplace.repository()
  const before = repository.state()
  const member = gzipSync(Buffer.alloc(16 * 2 ** 20))
  const start = Buffer.from(`0000`)
  for (const body of [
    Buffer.concat([gzipSync(start), repeated(member, 64)]),
    Buffer.concat([gzipSync(Buffer.from('00')), repeated(member, 64)]),
    gzipSync(Buffer.alloc(200 * 2 ** 20, '0')),
  ]) {
    await costsLittle(t, async () => {
      const reply = await repository.send(body, { encoding: 'gzip' })
      t.ok(isRefused(reply), `${reply.status} ${reply.text.slice(0, 600)}`)
    })
  }
  await repository.isSound(t)
  t.same(repository.state(), before, 'nothing is changed')
  await repository.takesHonest(t)
})

t.test('refused at a bounded cost: updates of 100,000 refs', async (t) => {
  const repository = await workplace.repository()
  const before = repository.state()
  const many = Array.from({ length: 100_000 }, (_, i) => `${old.id} ${honest.id} refs/heads/b${i}`)
  await costsLittle(t, async () => {
    const reply = await repository.push(many, packOf([honest]))
    t.ok(isRefused(reply), `${reply.status} ${reply.text.slice(0, 300)}`)
  })
  await repository.isSound(t)
  t.same(repository.state(), before, 'nothing is changed')
  await repository.takesHonest(t)
})

t.test(
  '900 branches with a shared history of 1,000 commits move on in one push, unless one is forced',
  async (t) => {
    const repository = await workplace.repository()
    const refs = Array.from({ length: 900 }, (_, i) => `refs/heads/b${i}`)
    setRefs(workplace.upstream, repository.name, {
      'refs/heads/main': old.id,
      'refs/heads/side': middle.id,
      ...Object.fromEntries(refs.map((ref) => [ref, old.id])),
    })
    let tip = old
    const chain = Array.from({ length: 1_000 }, (_, i) => {
      tip = make('commit', commitText({ tree: tree.id, parents: [tip.id], message: `${i}\n` }))
      return tip
    })
    const commands = refs.map((ref) => `${old.id} ${tip.id} ${ref}`)
    const before = repository.state()
    await costsLittle(t, async () => {
      const pack = packOf([...chain.toReversed(), forced])
      const reply = await repository.push([...commands, toMain], pack)
      t.ok(isRefused(reply), `${reply.status} ${reply.text.slice(0, 300)}`)
      t.same(repository.state().refs, before.refs, 'nothing is changed')
      const done = await repository.push(commands, packOf(chain.toReversed()))
      t.equal(done.report[0], 'unpack ok', done.text.slice(0, 600))
      t.equal(done.report.filter((line) => line.startsWith('ok ')).length, refs.length)
    })
    await repository.isSound(t)
  },
)
