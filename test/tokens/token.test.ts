import { crc32 } from 'node:zlib'
import t from 'tap'
import {
  digestSecret,
  hintOf,
  isWellFormed,
  makeSecret,
  secretLengthMax,
  stateOf,
  uuidv7,
  writeRecord,
} from '../../gateway/tokens/token.ts'
import { madeAt, makeRecord } from './records.ts'

t.test('a secret is sgt_, 32 base62 characters and 6 of base62 CRC-32', async (t) => {
  const digits = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
  for (let i = 0; i < 100; i++) {
    const secret = makeSecret()
    t.match(secret, /^sgt_[0-9A-Za-z]{38}$/)
    const written = [...secret.slice(36)].reduce((sum, c) => sum * 62 + digits.indexOf(c), 0)
    t.equal(written, crc32(secret.slice(0, 36)))
  }
})

t.test('a secret’s characters are equally likely', async (t) => {
  const counts = new Map<string, number>()
  for (let i = 0; i < 2_000; i++) {
    for (const c of makeSecret().slice(4, 36)) counts.set(c, (counts.get(c) ?? 0) + 1)
  }
  // 64,000 draws of 62: a bias of modulo would give eight characters 25 % more than the others.
  const mean = 64_000 / 62
  const chiSquared = [...counts.values()].reduce((sum, n) => sum + (n - mean) ** 2 / mean, 0)
  t.equal(counts.size, 62)
  t.ok(chiSquared < 150, `chi squared of 61 degrees: ${chiSquared}`)
})

t.test('well-formed values', async (t) => {
  const secret = makeSecret()
  const rows: [string, string, boolean][] = [
    ['a made secret', secret, true],
    ['a secret without its last character', secret.slice(0, -1), false],
    ['a secret with one character more', `${secret}0`, false],
    [
      'a changed character',
      secret.replace(/^sgt_./, (s) => (s === 'sgt_a' ? 'sgt_b' : 'sgt_a')),
      false,
    ],
    ['a changed checksum', secret.slice(0, -1) + (secret.endsWith('0') ? '1' : '0'), false],
    ['the prefix alone', 'sgt_', false],
    ['a token of another system', 'ghp_0123456789', true],
    ['a token of another system at the bound', 'x'.repeat(secretLengthMax), true],
    ['a value over the bound', 'x'.repeat(secretLengthMax + 1), false],
    ['nothing', '', false],
  ]
  for (const [sentence, value, expected] of rows) t.equal(isWellFormed(value), expected, sentence)
})

t.test('the known checksum of a known secret, so that tokens outlive releases', async (t) => {
  t.equal(isWellFormed('sgt_000000000000000000000000000000002XiY0G'), true)
})

t.test('a digest is SHA-256', async (t) => {
  const expected = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
  t.equal(digestSecret('abc').toString('hex'), expected)
})

t.test(
  'a hint shows the prefix and the last four characters, and nothing of a short secret',
  async (t) => {
    const secret = makeSecret()
    t.equal(hintOf(secret), `sgt_…${secret.slice(-4)}`)
    t.equal(hintOf('short'), '…')
  },
)

t.test('ids are UUIDs of version 7 that sort by time', async (t) => {
  const id = uuidv7(madeAt)
  t.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  t.equal(Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16), madeAt)
  t.ok(id < uuidv7(madeAt + 1))
  t.not(id, uuidv7(madeAt))
})

t.test('the state of a token', async (t) => {
  const now = madeAt
  const rows: [string, Parameters<typeof makeRecord>[0], string][] = [
    ['without an end', {}, 'active'],
    ['before its end', { expiresAt: now + 1 }, 'active'],
    ['at its end', { expiresAt: now }, 'expired'],
    ['revoked', { revokedAt: now }, 'revoked'],
    ['revoked by a clock that was ahead', { revokedAt: now + 1 }, 'revoked'],
    ['revoked and past its end', { revokedAt: now, expiresAt: now }, 'revoked'],
  ]
  for (const [sentence, changes, expected] of rows) {
    t.equal(stateOf(makeRecord(changes), now), expected, sentence)
  }
})

t.test('a written record has its sixteen keys, times in RFC 3339, and no version', async (t) => {
  const record = makeRecord({ expiresAt: madeAt + 1, resources: { factory: ['acme'] } })
  t.strictSame(writeRecord(record), {
    id: record.id,
    name: null,
    subject: 'alice',
    scopes: ['source:read'],
    resources: { factory: ['acme'] },
    allowedIps: null,
    createdAt: '2026-01-02T03:04:05.000Z',
    createdFrom: null,
    expiresAt: '2026-01-02T03:04:05.001Z',
    lastUsedAt: null,
    lastUsedFrom: null,
    lastUsedFor: null,
    parentId: null,
    revokedAt: null,
    revokedBy: null,
    hint: 'sgt_…abcd',
  })
})
