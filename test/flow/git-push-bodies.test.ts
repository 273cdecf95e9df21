// The body of a push in every way that HTTP can carry it: compressed, in chunks, cut short. A forced update
// passes in none of them, a fast-forward in all that are whole; and what ends early changes nothing, with
// every backend gone.

import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import { makeObject, packOf, writePushBody } from '../protocols/git/pack-writer.ts'
import { until } from '../servers/ready.ts'
import {
  isRefused,
  objects,
  type PackWorkplace,
  type Repository,
  startPackWorkplace,
  type Transport,
} from './pack-workplace.ts'

const { old, honest, forced } = objects
const filling = makeObject('blob', Buffer.alloc(3_000, 'filling'))

function bodyTo({ id }: typeof honest, ...more: readonly (typeof honest)[]): Buffer {
  return writePushBody([`${old.id} ${id} refs/heads/main`], packOf([honest, forced, ...more]))
}
const forward = bodyTo(honest)
const back = bodyTo(forced)

/** Where a body that is sent in pieces is cut. */
function split(body: Buffer, end: number): Transport {
  return { chunks: [end, body.length] }
}

function gzipped(body: Buffer, ...ends: readonly number[]): Buffer {
  const starts = [0, ...ends]
  return Buffer.concat(starts.map((start, i) => gzipSync(body.subarray(start, ends[i]))))
}

type Way = {
  readonly sentence: string
  readonly write: (body: Buffer) => Buffer
  readonly transport: Transport
}

const gzip = { encoding: 'gzip' }
/** Ways to carry a whole body. */
const ways: readonly Way[] = [
  { sentence: 'at once', write: (body) => body, transport: {} },
  { sentence: 'chunked, byte by byte', write: (body) => body, transport: { chunks: [1] } },
  {
    sentence: 'in chunks of every size',
    write: (body) => body,
    transport: { chunks: [1, 7, 64, 3] },
  },
  { sentence: 'gzip', write: (body) => gzipped(body), transport: gzip },
  {
    sentence: 'x-gzip, chunked',
    write: (body) => gzipped(body),
    transport: { encoding: 'x-gzip', chunks: [50] },
  },
  {
    sentence: 'gzip, byte by byte',
    write: (body) => gzipped(body),
    transport: { ...gzip, chunks: [1] },
  },
  {
    sentence: 'gzip in several members',
    write: (body) => gzipped(body, 3, 150, 151, 300),
    transport: gzip,
  },
  {
    sentence: 'gzip with an empty member in the middle',
    write: (body) =>
      Buffer.concat([gzipped(body.subarray(0, 99)), gzipSync(''), gzipped(body.subarray(99))]),
    transport: { ...gzip, chunks: [40] },
  },
  {
    sentence: 'identity, as it is named',
    write: (body) => body,
    transport: { encoding: 'identity' },
  },
]

/** Bodies that are not to the letter, of a fast-forward: nothing comes of them. */
const wrong: readonly Way[] = [
  {
    sentence: 'gzip with zeros behind it',
    write: (body) => Buffer.concat([gzipped(body), Buffer.alloc(9)]),
    transport: gzip,
  },
  {
    sentence: 'gzip with junk behind it',
    write: (body) => Buffer.concat([gzipped(body), Buffer.from('junk')]),
    transport: gzip,
  },
  {
    sentence: 'gzip without its end',
    write: (body) => gzipped(body).subarray(0, -1),
    transport: gzip,
  },
  {
    sentence: 'gzip with a wrong checksum',
    write: (body) => withWrong(gzipped(body), 8),
    transport: gzip,
  },
  { sentence: 'gzip of gzip', write: (body) => gzipSync(gzipSync(body)), transport: gzip },
  { sentence: 'gzip that is none', write: (body) => body, transport: gzip },
  { sentence: 'gzip that is not said to be', write: (body) => gzipped(body), transport: {} },
  { sentence: 'deflate', write: (body) => body, transport: { encoding: 'deflate' } },
  { sentence: 'gzip in capitals', write: (body) => body, transport: { encoding: 'GZIP' } },
  {
    sentence: 'gzip, twice said',
    write: (body) => gzipped(body),
    transport: { encoding: 'gzip, gzip' },
  },
]

function withWrong(bytes: Buffer, fromEnd: number): Buffer {
  const changed = Buffer.from(bytes)
  changed[bytes.length - fromEnd]! ^= 1
  return changed
}

async function staysAsItWas(
  t: Test,
  repository: Repository,
  act: () => Promise<void>,
): Promise<void> {
  const before = repository.state()
  await act()
  await repository.isSound(t)
  t.same(repository.state(), before, 'nothing is changed')
}

for (const web of ['nginx-streaming', 'apache'] as const) {
  t.test(`behind ${web}`, async (t) => {
    const workplace = await startPackWorkplace(web)
    t.teardown(() => workplace.stop())

    await t.test('however a body is carried, only a fast-forward takes effect', async (t) => {
      for (const { sentence, write, transport } of ways) {
        const repository = await workplace.repository()
        const before = repository.state()
        const refused = await repository.send(write(back), transport)
        t.ok(isRefused(refused), `forced, ${sentence}: ${refused.status} ${refused.text}`)
        t.same(repository.state(), before, sentence)
        const done = await repository.send(write(forward), transport)
        t.same(done.report, ['unpack ok', 'ok refs/heads/main'], `${sentence} ${done.text}`)
        t.equal(await repository.server('rev-parse', 'main'), honest.id)
      }
    })

    await t.test('commands and pack in two chunks, cut anywhere, are one push', async (t) => {
      const repository = await workplace.repository()
      // A commit that main has already: the push is whole, and changes nothing.
      const main = (from: string): Buffer =>
        writePushBody([`${from} ${old.id} refs/heads/main`], packOf([]))
      const noop = main(old.id)
      await staysAsItWas(t, repository, async () => {
        for (let end = 1; end < noop.length; end += web === 'apache' ? 41 : 13) {
          const done = await repository.send(noop, split(noop, end))
          if (done.report.join() !== 'unpack ok,ok refs/heads/main') t.fail(`${end}: ${done.text}`)
          const forced = await repository.send(back, split(back, end))
          if (!isRefused(forced)) t.fail(`forced, ${end}: ${forced.text}`)
        }
      })
      await repository.takesHonest(t)
    })

    await t.test('a body that is not what it says changes nothing', async (t) => {
      const repository = await workplace.repository()
      for (const { sentence, write, transport } of wrong) {
        const before = repository.state()
        const { status, report, text } = await repository.send(write(forward), transport)
        const isSaid = status === 415 || isRefused({ status, report, text })
        t.ok(isSaid, `${sentence}: ${status} ${text}`)
        t.same(repository.state(), before, sentence)
      }
      await repository.isSound(t)
      await repository.takesHonest(t)
    })

    await t.test('a client that leaves before the end leaves nothing', async (t) => {
      const repository = await workplace.repository()
      const whole = bodyTo(honest, filling)
      await staysAsItWas(t, repository, async () => {
        for (const end of [50, 180, 400, whole.length - 1]) {
          for (const leave of ['end', 'cut'] as const) {
            for (const framing of [{ contentLength: whole.length }, { chunks: [100] }]) {
              const before = workplace.gateway.log().length
              await repository.send(whole.subarray(0, end), { ...framing, leave })
              await isOver(workplace, before)
            }
          }
        }
        // Everything is there, but for the end of the last chunk.
        const before = workplace.gateway.log().length
        await repository.send(whole, { chunks: [1_000], leave: 'end' })
        await isOver(workplace, before)
      })
      await repository.takesHonest(t)
    })
  })
}

/** Resolves when the gateway has written a line about a request. */
async function isOver({ gateway }: PackWorkplace, before: number): Promise<void> {
  await until('the request is over', () =>
    gateway
      .log()
      .slice(before)
      .find(({ msg }) => msg === 'request'),
  )
}
