// What stands before the pack, with bytes changed (gateway/protocols/git/receive-pack.ts, pkt-line.ts,
// gunzip-body.ts): it is refused in words or understood, alike in any pieces, and what is understood is
// understood by git in the same way. `search.ts` says how far it is searched.

import { gunzipSync, gzipSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { GatewayError } from '../../../gateway/errors.ts'
import { GunzipBody } from '../../../gateway/protocols/git/gunzip-body.ts'
import { flushPkt, PktLineReader, writePktLine } from '../../../gateway/protocols/git/pkt-line.ts'
import {
  commandListBytesMax,
  type Push,
  parsePush,
  writePush,
} from '../../../gateway/protocols/git/receive-pack.ts'
import type { RequestBody } from '../../../gateway/protocols/protocol.ts'
import { cut, type Mutation, mutate, mutations, places, search } from '../../search.ts'
import { createGitClient } from '../../servers/git-client.ts'
import { packOf, zeroId } from './pack-writer.ts'

const client = createGitClient()
t.teardown(() => client.remove())
await client.git('', 'init', '-q', '--bare', '--template=', 'server')
await client.git('server', 'config', 'receive.advertisePushOptions', 'true')

const digit = fc.constantFrom(...'0123456789abcdef')
const id = fc.oneof(
  fc.array(digit, { minLength: 40, maxLength: 40 }).map((digits) => digits.join('')),
  fc.constant(zeroId.sha1),
)
const ref = fc.oneof(
  { weight: 1, arbitrary: fc.constantFrom('refs/tags/v1', 'refs/heads/a/b', 'refs/heads/größe') },
  { weight: 6, arbitrary: fc.stringMatching(/^refs\/heads\/[a-z]{1,8}$/) },
  { weight: 1, arbitrary: fc.stringMatching(/^refs\/heads\/[a-z.@{}~^:/-]{1,8}$/) },
)
const capability = fc.constantFrom(
  ...['report-status', 'report-status-v2', 'side-band-64k', 'quiet', 'atomic', 'push-options'],
  ...['object-format=sha1', 'agent=git/2.39.5', 'session-id=1', 'new', '=', 'agent=a=b'],
)
const option = fc.constantFrom('ci.skip', 'a=b c')

/** A command list as git writes it, or nearly so. */
const lists = fc
  .record({
    shallow: fc.array(id, { maxLength: 2 }),
    commands: fc.uniqueArray(fc.tuple(id, id, ref), {
      minLength: 1,
      maxLength: 4,
      selector: ([, , name]) => name,
    }),
    capabilities: fc.uniqueArray(capability, { maxLength: 5 }),
    options: fc.array(option, { maxLength: 2 }),
    lineEnds: fc.constantFrom('', '\n'),
  })
  .map(({ shallow, commands, capabilities, options, lineEnds }) => {
    const all = capabilities.join(' ')
    const lines = [
      ...shallow.map((id) => `shallow ${id}\n`),
      ...commands.map(
        (command, i) => `${command.join(' ')}${i === 0 ? `\0 ${all}` : ''}${lineEnds}`,
      ),
    ].map((line) => writePktLine(line))
    const signed = capabilities.includes('push-options')
      ? [...options.map((option) => writePktLine(option)), flushPkt]
      : []
    return Buffer.concat([...lines, flushPkt, ...signed])
  })

type Parsed = {
  readonly push: Push
  readonly consumed: number
  /** What stands behind it. */
  readonly rest: Buffer
}

/** Undefined: refused. */
async function parse(pieces: readonly Buffer[]): Promise<Parsed | undefined> {
  const source = bodyOf(pieces)
  const packets = new PktLineReader(source, commandListBytesMax)
  try {
    const push = await parsePush(packets)
    const { consumed } = packets
    const rest = [...packets.unread()]
    for (let next = await source.next(); next !== undefined; next = await source.next()) {
      rest.push(next)
    }
    return { push, consumed, rest: Buffer.concat(rest) }
  } catch (error) {
    return refusedOr(error)
  }
}

function bodyOf(pieces: readonly Buffer[]): Pick<RequestBody, 'next'> {
  const queue = [...pieces]
  return { next: async () => queue.shift() }
}

function refusedOr(error: unknown): undefined {
  if (error instanceof GatewayError && error.code === 'bad_request') return undefined
  throw error
}

/** One byte becomes another, in a place where that may well make sense. */
const small: fc.Arbitrary<readonly Mutation[]> = fc
  .record({
    at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    value: fc.constantFrom(...Buffer.from('0af /.=\0\nz')),
  })
  .map(({ at, value }) => [{ at, do: 'set', value, length: 1 }])
const changed = fc.oneof(
  { weight: 1, arbitrary: fc.constant([]) },
  { weight: 4, arbitrary: small },
  { weight: 2, arbitrary: mutations },
)

t.test(
  'a changed list is refused, or understood alike in any pieces and when written again',
  async (t) => {
    const seen = { understood: 0, refused: 0 }
    const property = fc.asyncProperty(lists, changed, places, async (list, changes, places) => {
      const bytes = Buffer.concat([mutate(list, changes), Buffer.from('PACK…')])
      const whole = await parse([bytes])
      const pieces = await parse(cut(bytes, places))
      same(describe(pieces), describe(whole))
      seen[whole === undefined ? 'refused' : 'understood']++
      if (whole === undefined) return
      same(whole.rest.toString('hex'), bytes.subarray(whole.consumed).toString('hex'))
      const written = writePush(whole.push)
      const again = await parse([written])
      same(describe(again)?.push, describe(whole)?.push)
      same(again?.consumed, written.length)
      if (again !== undefined) same(writePush(again.push).toString(), written.toString())
    })
    await search(700, property)
    t.ok(Math.min(seen.understood, seen.refused) > 100, JSON.stringify(seen))
  },
)

t.test('git reads the commands that were understood, and no others', async (t) => {
  let compared = 0
  const property = fc.asyncProperty(lists, changed, async (list, changes) => {
    const parsed = await parse([mutate(list, changes)])
    if (parsed === undefined || parsed.push.certificate !== undefined) return
    const { commands } = parsed.push
    const capabilities = new Map([...parsed.push.capabilities, ['report-status', undefined]])
    // The empty pack is never enough for an id that the server lacks: nothing comes of any of these.
    const input = Buffer.concat([writePush({ ...parsed.push, capabilities }), packOf([])])
    const args = ['receive-pack', '--stateless-rpc', '.']
    const { stdout, stderr } = await client.run('server', args, { input })
    const reported = [...stdout.matchAll(/[0-9a-f]{4}(?:ok|ng) (refs\/[^\n]*)/g)].map(
      ([, line = '']) => line,
    )
    compared++
    const missing = commands.filter(
      ({ ref }) => !reported.some((line) => line === ref || line.startsWith(`${ref} `)),
    )
    if (missing.length > 0 || reported.length !== commands.length) {
      throw new Error(`understood ${JSON.stringify(commands)}, git: ${stdout} ${stderr}`)
    }
  })
  await search(70, property)
  t.ok(compared > 0, `${compared} compared`)
})

t.test('gzip with bytes changed is refused, or inflates to what zlib makes of it', async (t) => {
  const seen = { inflated: 0, refused: 0 }
  const content = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    fc.constantFrom(Buffer.alloc(300_000), Buffer.alloc(0)),
  )
  const given = fc.record({
    members: fc.array(content, { minLength: 1, maxLength: 3 }),
    tail: fc.constantFrom('', '', '', '\0', '\0\0\0\0', 'x', '\x1f\x8b', '\x1f'),
    changes: fc.oneof(fc.constant([]), mutations),
    places,
  })
  const property = fc.asyncProperty(given, async ({ members, tail, changes, places }) => {
    const written = Buffer.concat([
      ...members.map((member) => gzipSync(member)),
      Buffer.from(tail, 'latin1'),
    ])
    const bytes = mutate(written, changes)
    const found = await inflate(cut(bytes, places))
    seen[found === undefined ? 'refused' : 'inflated']++
    if (found !== undefined && !found.equals(gunzipSync(bytes))) throw new Error('other bytes')
    if (changes.length > 0 || tail !== '') return
    if (found?.equals(Buffer.concat(members)) !== true) throw new Error('refused')
  })
  await search(250, property)
  t.ok(Math.min(seen.inflated, seen.refused) > 20, JSON.stringify(seen))
})

t.test('a gzip body that ends anywhere but at its end is refused', async (t) => {
  const bytes = Buffer.concat([gzipSync('one'), gzipSync('another')])
  const first = gzipSync('one').length
  for (let end = 0; end < bytes.length; end++) {
    const found = await inflate(cut(bytes.subarray(0, end), [0.3, 0.9]))
    // An empty body is none, and the first member is a whole one.
    const expected = end === first ? 'one' : undefined
    t.equal(found?.toString(), end === 0 ? found?.toString() : expected, `${end} bytes`)
  }
})

/** Undefined: refused. */
async function inflate(pieces: readonly Buffer[]): Promise<Buffer | undefined> {
  const body = new GunzipBody(bodyOf(pieces) as RequestBody)
  const chunks: Buffer[] = []
  try {
    for (let next = await body.next(); next !== undefined; next = await body.next()) {
      chunks.push(next)
    }
    return Buffer.concat(chunks)
  } catch (error) {
    return refusedOr(error)
  } finally {
    body.close()
  }
}

function describe(parsed: Parsed | undefined) {
  if (parsed === undefined) return undefined
  const { push, consumed, rest } = parsed
  const plain = { ...push, capabilities: [...push.capabilities] }
  return { push: plain, consumed, rest: rest.toString('hex') }
}

function same(found: unknown, expected: unknown): void {
  const [one, other] = [JSON.stringify(found), JSON.stringify(expected)]
  if (one !== other) throw new Error(`found ${one}, expected ${other}`)
}
