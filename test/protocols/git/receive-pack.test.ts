// The command list of a push (gateway/protocols/git/receive-pack.ts): grammar to the letter, at every
// chunk boundary, and compared with git where git has a say. Pushes of real clients: git.test.ts.

import { spawnSync } from 'node:child_process'
import t from 'tap'
import { GatewayError } from '../../../gateway/errors.ts'
import { flushPkt, PktLineReader, writePktLine } from '../../../gateway/protocols/git/pkt-line.ts'
import {
  commandListBytesMax,
  commandsMax,
  type Push,
  parsePush,
  writePush,
} from '../../../gateway/protocols/git/receive-pack.ts'
import { isRefName, refNameBytesMax } from '../../../gateway/protocols/git/ref-name.ts'

const zero = '0'.repeat(40)
const one = '1'.repeat(40)
const two = '2'.repeat(40)
const long = 'a'.repeat(64)

const caps = ' report-status-v2 side-band-64k object-format=sha1 agent=git/2.39.5'
const create = `${zero} ${one} refs/heads/new`
const update = `${one} ${two} refs/heads/main`

/** Pkt-lines, a `''` for the flush-pkt. */
function lines(...texts: readonly (string | Buffer)[]): Buffer {
  return Buffer.concat(texts.map((text) => (text === '' ? flushPkt : writePktLine(text))))
}

function certificate(...commands: readonly string[]): string[] {
  return [
    'certificate version 0.1\n',
    'pusher Ada <ada@example.com> 1700000000 +0000\n',
    'pushee https://git.example/acme/hello\n',
    'nonce 1700000000-abc\n',
    '\n',
    ...commands.map((command) => `${command}\n`),
    '-----BEGIN PGP SIGNATURE-----\n',
    '\n',
    'iQEzBAABCAAdFiEE\n',
    '-----END PGP SIGNATURE-----\n',
    'push-cert-end\n',
  ]
}

function readerOf(chunks: readonly Buffer[]): PktLineReader {
  const queue = [...chunks]
  return new PktLineReader({ next: async () => queue.shift() }, commandListBytesMax)
}

async function parse(...chunks: readonly Buffer[]): Promise<Push> {
  return await parsePush(readerOf(chunks))
}

/** The sentence of the refusal; fails the test when the push is understood. */
async function refusalOf(bytes: Buffer): Promise<string> {
  try {
    await parse(bytes)
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'bad_request') return error.message
    throw error
  }
  throw new Error('understood')
}

const understood: readonly (readonly [string, Buffer, Partial<Push>])[] = [
  [
    'one command',
    lines(`${create}\0${caps}`, ''),
    { commands: [{ oldId: zero, newId: one, ref: 'refs/heads/new' }] },
  ],
  [
    'a delete of nothing',
    lines(`${zero} ${zero} refs/heads/gone\0${caps}`, ''),
    { commands: [{ oldId: zero, newId: zero, ref: 'refs/heads/gone' }] },
  ],
  [
    'a push from a shallow clone',
    lines(`shallow ${one}\n`, `shallow ${two}\n`, `${update}\0${caps}`, ''),
    { shallow: [one, two] },
  ],
  [
    'sha256 ids',
    lines(`${long} ${'b'.repeat(64)} refs/heads/main\0 object-format=sha256`, ''),
    { commands: [{ oldId: long, newId: 'b'.repeat(64), ref: 'refs/heads/main' }] },
  ],
  [
    'push options, one of them with spaces',
    lines(`${update}\0 push-options`, '', 'ci.skip', 'topic=a b', ''),
    { pushOptions: ['ci.skip', 'topic=a b'] },
  ],
  [
    'the capability push-options and no option',
    lines(`${update}\0 push-options`, '', ''),
    { pushOptions: [] },
  ],
  [
    'a ref name beyond ASCII',
    lines(`${zero} ${one} refs/heads/größe-日本\0${caps}`, ''),
    { commands: [{ oldId: zero, newId: one, ref: 'refs/heads/größe-日本' }] },
  ],
  [
    'a signed push: the commands of its certificate',
    lines(`push-cert\0${caps}`, ...certificate(update, create), ''),
    {
      commands: [
        { oldId: one, newId: two, ref: 'refs/heads/main' },
        { oldId: zero, newId: one, ref: 'refs/heads/new' },
      ],
    },
  ],
]

t.test('what is understood is read whole and written again as it was', async (t) => {
  for (const [sentence, bytes, expected] of understood) {
    const push = await parse(bytes)
    t.match(push, expected, sentence)
    t.equal(writePush(push).toString(), bytes.toString(), `${sentence}, written`)
  }
})

t.test('every chunk boundary gives the same push and leaves the same rest', async (t) => {
  for (const [sentence, bytes] of understood) {
    const whole = await parse(bytes)
    const body = Buffer.concat([bytes, Buffer.from('PACK....')])
    for (let cut = 0; cut <= body.length; cut++) {
      const packets = readerOf([body.subarray(0, cut), body.subarray(cut)])
      const push = await parsePush(packets)
      if (cut === 0) t.same(push, whole, sentence)
      const same = JSON.stringify(push) === JSON.stringify(whole)
      if (!same || packets.consumed !== bytes.length) t.fail(`${sentence}, cut at ${cut}`)
      const start = await packets.peek(8)
      if (start.toString() !== 'PACK....') t.fail(`${sentence}, rest after a cut at ${cut}`)
    }
    const bytewise = await parse(...[...bytes].map((byte) => Buffer.from([byte])))
    t.same(bytewise, whole, `${sentence}, byte by byte`)
  }
})

t.test('a push that ends early is refused at every byte', async (t) => {
  for (const [sentence, bytes] of understood) {
    const whole = bytes.length
    for (let end = 0; end < whole; end++) {
      const message = await refusalOf(bytes.subarray(0, end)).catch(() => undefined)
      if (message === undefined) t.fail(`${sentence}, ended after ${end} of ${whole} bytes`)
    }
    t.pass(sentence)
  }
})

t.test('one line end behind a command is dropped', async (t) => {
  const push = await parse(lines(`${create}\0${caps}\n`, `${update}\n`, ''))
  t.equal(writePush(push).toString(), lines(`${create}\0${caps}`, update, '').toString())
})

const bent = certificate(update)
const without = (line: string) => bent.filter((candidate) => candidate !== line)
const cert = (all: readonly string[]) => lines(`push-cert\0${caps}`, ...all, '')

const refused: readonly (readonly [string, Buffer, RegExp])[] = [
  ['an empty body', Buffer.alloc(0), /ends before the flush-pkt/],
  ['flush-pkt alone', Buffer.from('0000PACK'), /no command/],
  ['a pack alone', Buffer.from('PACK\0\0\0\x02'), /four lower-case hex digits/],
  [
    'upper-case length',
    Buffer.from(
      lines(`${create}\0${caps}`, '')
        .toString()
        .replace(/^..../, (l) => l.toUpperCase()),
    ),
    /four lower-case hex digits/,
  ],
  ['a length with a sign', Buffer.from('+0af'), /four lower-case hex digits/],
  ['0001', Buffer.concat([lines(`${create}\0${caps}`), Buffer.from('0001')]), /0001 has no place/],
  ['0002', Buffer.concat([lines(`${create}\0${caps}`), Buffer.from('0002')]), /0002 has no place/],
  ['0003', Buffer.concat([lines(`${create}\0${caps}`), Buffer.from('0003')]), /0003 has no place/],
  [
    'the empty pkt-line',
    Buffer.concat([lines(`${create}\0${caps}`), Buffer.from('0004')]),
    /0004 has no place/,
  ],
  ['a pkt-line that is too long', Buffer.from(`fff1${'x'.repeat(70_000)}`), /65520 bytes at most/],
  ['no capabilities', lines(create, ''), /NUL and the capabilities/],
  [
    'capabilities on the second command',
    lines(`${create}\0${caps}`, `${update}\0 push-options`, ''),
    /command 2: capabilities/,
  ],
  ['a second NUL', lines(`${create}\0${caps}\0x`, ''), /printable ASCII/],
  ['a tab between capabilities', lines(`${create}\0 atomic\tpush-options`, ''), /printable ASCII/],
  [
    'push-options with a value',
    lines(`${create}\0 push-options=1`, ''),
    /push-options takes no value/,
  ],
  [
    'report-status with a value',
    lines(`${create}\0 report-status=`, ''),
    /report-status takes no value/,
  ],
  [
    'object-format twice',
    lines(`${create}\0 object-format=sha1 object-format=sha256`, ''),
    /object-format occurs twice/,
  ],
  ['an unknown object-format', lines(`${create}\0 object-format=md5`, ''), /sha1 or sha256/],
  ['object-format without a value', lines(`${create}\0 object-format`, ''), /sha1 or sha256/],
  [
    'sha256 ids without object-format',
    lines(`${long} ${long} refs/heads/main\0${caps}`, ''),
    /ids of 40/,
  ],
  [
    'sha1 ids with object-format=sha256',
    lines(`${create}\0 object-format=sha256`, ''),
    /ids of 64/,
  ],
  [
    'upper-case ids',
    lines(`${one} ${'A'.repeat(40)} refs/heads/main\0${caps}`, ''),
    /lower-case hex digits/,
  ],
  ['ids of different length', lines(`${one} ${long} refs/heads/main\0${caps}`, ''), /ids of 40/],
  ['two spaces', lines(`${one}  ${two} refs/heads/main\0${caps}`, ''), /OLD NEW REF/],
  [
    'a space before the ref',
    lines(`${one} ${two}  refs/heads/main\0${caps}`, ''),
    /full name of a ref/,
  ],
  ['no ref', lines(`${one} ${two}\0${caps}`, ''), /full name of a ref/],
  ['a ref outside refs/', lines(`${one} ${two} HEAD\0${caps}`, ''), /full name of a ref/],
  ['a ref with ..', lines(`${one} ${two} refs/heads/../tags/x\0${caps}`, ''), /full name of a ref/],
  [
    'a ref with a line end inside',
    lines(`${one} ${two} refs/heads/a\nb\0${caps}`, ''),
    /full name of a ref/,
  ],
  ['two line ends', lines(`${create}\0${caps}`, `${update}\n\n`, ''), /full name of a ref/],
  [
    'a ref that is not UTF-8',
    lines(
      Buffer.concat([
        Buffer.from(`${one} ${two} refs/heads/`),
        Buffer.from([0xe9]),
        Buffer.from(`\0${caps}`),
      ]),
      '',
    ),
    /UTF-8/,
  ],
  [
    'a ref with a byte order mark twice over',
    lines(`${create}\0${caps}`, `${zero} ${one} \ufeffrefs/heads/x`, ''),
    /full name of a ref/,
  ],
  [
    'the same ref twice',
    lines(`${one} ${zero} refs/heads/x\0${caps}`, `${zero} ${two} refs/heads/x`, ''),
    /occurs twice/,
  ],
  [
    'a shallow line behind a command',
    lines(`${create}\0${caps}`, `shallow ${one}`, ''),
    /OLD NEW REF/,
  ],
  ['a shallow line without an id', lines('shallow ', `${create}\0${caps}`, ''), /shallow line/],
  [
    'a shallow line with an id of the other hash',
    lines(`shallow ${long}`, `${create}\0${caps}`, ''),
    /shallow line/,
  ],
  ['shallow lines alone', lines(`shallow ${one}`, ''), /no command/],
  [
    'no flush-pkt behind push options',
    lines(`${create}\0 push-options`, '', 'x'),
    /ends before the flush-pkt/,
  ],
  [
    'a push option with a control character',
    lines(`${create}\0 push-options`, '', 'a\tb', ''),
    /push option/,
  ],
  ['a push option with NUL', lines(`${create}\0 push-options`, '', 'a\0b', ''), /push option/],
  [
    'plain commands, then a certificate',
    lines(`${create}\0${caps}`, 'push-cert', ...bent, ''),
    /OLD NEW REF/,
  ],
  [
    'plain commands, then a certificate with capabilities',
    lines(`${create}\0${caps}`, `push-cert\0${caps}`, ...bent, ''),
    /command 2/,
  ],
  [
    'a certificate, then plain commands',
    lines(`push-cert\0${caps}`, ...bent, create, ''),
    /flush-pkt follows push-cert-end/,
  ],
  [
    'two certificates',
    lines(`push-cert\0${caps}`, ...bent, `push-cert\0${caps}`, ...bent, ''),
    /flush-pkt follows push-cert-end/,
  ],
  ['push-cert without capabilities', lines('push-cert', ...bent, ''), /NUL and the capabilities/],
  [
    'a certificate without push-cert-end',
    cert(without('push-cert-end\n')),
    /without push-cert-end/,
  ],
  [
    'a certificate of another version',
    cert(['certificate version 0.2\n', ...bent.slice(1)]),
    /certificate version 0.1/,
  ],
  [
    'a certificate without a signature',
    cert([...bent.slice(0, 6), 'push-cert-end\n']),
    /before its signature/,
  ],
  ['a certificate without commands', cert(certificate()), /no command/],
  [
    'a certificate with an unknown header',
    cert(['certificate version 0.1\n', 'author x\n', ...bent.slice(1)]),
    /header of a push certificate/,
  ],
  [
    'a header without a value',
    cert(['certificate version 0.1\n', 'nonce \n', ...bent.slice(1)]),
    /header of a push certificate/,
  ],
  ['two nonces', cert(['certificate version 0.1\n', 'nonce x\n', ...bent.slice(1)]), /nonce twice/],
  [
    'a signature mark in the header',
    cert(['certificate version 0.1\n', '-----BEGIN PGP SIGNATURE-----\n', ...bent.slice(1)]),
    /header of a push certificate/,
  ],
  [
    'two lines in one pkt-line',
    cert(bent.map((line) => (line.startsWith('nonce') ? `${line}${update}\n` : line))),
    /pkt-line of its own/,
  ],
  [
    'a line over two pkt-lines',
    cert(
      bent.flatMap((line) => (line.startsWith(one) ? [line.slice(0, 9), line.slice(9)] : [line])),
    ),
    /pkt-line of its own/,
  ],
  [
    'a command with NUL in a certificate',
    cert(certificate(`${update}\0 atomic`)),
    /capabilities stand behind the first/,
  ],
  ['a command of a certificate that is none', cert(certificate('nonsense')), /OLD NEW REF/],
  [
    'commands between two signatures, as git takes the last',
    cert([...bent.slice(0, 9), '-----BEGIN PGP SIGNATURE-----\n', ...bent.slice(9)]),
    /exactly one signature/,
  ],
  [
    'a signature of an unknown kind',
    cert(bent.map((line) => line.replace('PGP', 'XYZ'))),
    /no known kind/,
  ],
  [
    'push-cert-end inside the signature, and plain commands behind it',
    cert([...bent.slice(0, 8), 'push-cert-end\n', `${create}\n`, ...bent.slice(8)]),
    /before its signature/,
  ],
  [
    'lines behind the signature',
    cert([...bent.slice(0, -1), `${create}\n`, 'push-cert-end\n']),
    /push-cert-end follows/,
  ],
  [
    'options that were not signed',
    lines(`push-cert\0${caps} push-options`, ...bent, '', 'ci.skip', ''),
    /differ from those of the push certificate/,
  ],
  [
    'signed options that are not sent',
    cert(['certificate version 0.1\n', 'push-option ci.skip\n', ...bent.slice(1)]),
    /differ from those of the push certificate/,
  ],
  [
    'too many commands',
    lines(
      `${create}\0${caps}`,
      ...Array.from({ length: commandsMax }, (_, i) => `${zero} ${one} refs/t/${i}`),
      '',
    ),
    /more than 10000 commands/,
  ],
  [
    'a list that is too long',
    lines(
      `${create}\0${caps}`,
      ...Array.from({ length: 400 }, (_, i) => `${zero} ${one} refs/t/${i}/${'x/'.repeat(1500)}x`),
      '',
    ),
    /longer than 1048576 bytes/,
  ],
]

t.test('what git does not write is refused, and the sentence names it', async (t) => {
  for (const [sentence, bytes, expected] of refused)
    t.match(await refusalOf(bytes), expected, sentence)
})

t.test('as many commands as are allowed are read', async (t) => {
  const names = Array.from({ length: commandsMax - 1 }, (_, i) => `${zero} ${one} refs/t/${i}`)
  t.equal((await parse(lines(`${create}\0${caps}`, ...names, ''))).commands.length, commandsMax)
})

const names = [
  ...['refs/heads/main', 'refs/tags/v1.0', 'refs/heads/a/b/c', 'refs/heads/@', 'refs/heads/a@b'],
  ...['refs/heads/a{', 'refs/heads/a@{', 'refs/heads/a@{1}', 'refs/heads/a..b', 'refs/heads/..'],
  ...['refs/heads/.a', 'refs/heads/a.', 'refs/heads/a.lock', 'refs/heads/a.lock/b', 'refs/.x/a'],
  ...['refs/heads/a.locks', 'refs/heads/a./b', 'refs/heads/', 'refs//heads', 'refs/heads//a'],
  ...['refs/heads/a b', 'refs/heads/a~', 'refs/heads/a^', 'refs/heads/a:', 'refs/heads/a?'],
  ...['refs/heads/a*', 'refs/heads/a[', 'refs/heads/a]', 'refs/heads/a\\b', 'refs/heads/a\x7f'],
  ...['refs/heads/a\x01', 'refs/heads/a\tb', 'refs/heads/é', 'refs/heads/日本', 'refs/heads/-a'],
  ...['refs/heads/\'"', 'refs/heads/#', 'refs/heads/%2e', 'refs/heads/a,b', 'refs/heads/a;b'],
]

t.test('a ref name is one exactly where git says so', async (t) => {
  for (const name of names) {
    const { status } = spawnSync('git', ['check-ref-format', name])
    t.equal(isRefName(name), status === 0, JSON.stringify(name))
  }
})

t.test('a ref name outside refs/ or beyond its bound is none', async (t) => {
  for (const name of ['HEAD', 'heads/main', 'refs', 'refs/', 'Refs/heads/main', '@', '']) {
    t.notOk(isRefName(name), name)
  }
  const longest = `refs/heads/${'x'.repeat(refNameBytesMax - 'refs/heads/'.length)}`
  t.ok(isRefName(longest))
  t.notOk(isRefName(`${longest}x`))
})
