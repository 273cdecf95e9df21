import { createHmac, randomBytes } from 'node:crypto'
import t from 'tap'
import { Breaker, errorsMax, probeDelayMs } from '../../gateway/tokens/breaker.ts'
import { RecentChanges } from '../../gateway/tokens/recent-changes.ts'
import { type SharedRecord, SharedSeal } from '../../gateway/tokens/shared-value.ts'
import type { TokenChange } from '../../gateway/tokens/store.ts'
import { makeToken } from './records.ts'

const secret = randomBytes(32)
const seal = new SharedSeal('an-authority', secret)
const { digest, record } = makeToken({
  scopes: ['source:read', 'GET /a,b/'],
  resources: { factory: ['acme'], repository: [] },
  allowedIps: ['10.0.0.0/8'],
  name: 'Zoë’s laptop\n',
  expiresAt: 5,
  lastUsedFor: 'git',
  version: 3,
})
const key = seal.keyOf(digest)
const shared: SharedRecord = { record, version: 3, readAt: 1_767_000_000_000, position: 42 }

t.test('the key is the authority’s id and the digest', async (t) => {
  t.equal(key, `scopegate:an-authority:${digest.toString('hex')}`)
})

t.test('what was sealed is read as it was, tombstones too', async (t) => {
  t.strictSame(seal.unseal(key, seal.seal(key, shared)), shared)
  const tombstone = { ...shared, record: null }
  t.strictSame(seal.unseal(key, seal.seal(key, tombstone)), tombstone)
})

t.test('what was not sealed like this does not verify', async (t) => {
  const value = seal.seal(key, shared)
  const another = new SharedSeal('another', secret)
  const otherKey = seal.keyOf(randomBytes(32))
  const all = value.replace('source:read', 'all')
  const unsigned = `1 3 1767000000000 42 ${'A'.repeat(43)}\n${value.split('\n')[1]}`
  const notAList = '1 3 1767000000000 42'
  const sealed = (json: string): string =>
    `${notAList} ${createHmac('sha256', secret).update(`${key}\n${notAList}\n${json}`).digest('base64url')}\n${json}`
  const rows: [string, string][] = [
    ['nothing', ''],
    ['random bytes', randomBytes(300).toString('latin1')],
    ['another right in the record', all],
    ['a later time', value.replace('1767000000000', '1767000000001')],
    ['a higher version', value.replace('1 3', '1 4')],
    ['a later position', value.replace(' 42 ', ' 43 ')],
    ['a made-up seal', unsigned],
    ['the record of another token', seal.seal(otherKey, shared)],
    ['a record of another authority', another.seal(another.keyOf(digest), shared)],
    ['a seal under another key', new SharedSeal('an-authority', randomBytes(32)).seal(key, shared)],
    ['a cut value', value.slice(0, -1)],
    ['a longer value', `${value} `],
    ['a record with a column missing', sealed('["id"]')],
    ['a record that is no list', sealed('{}')],
    ['no JSON', sealed('[')],
    ['numbers that disagree with the record', seal.seal(key, { ...shared, version: 4 })],
  ]
  for (const [sentence, forged] of rows) t.equal(seal.unseal(key, forged), 'forged', sentence)
  t.equal(seal.unseal(key, sealed('null')) !== 'forged', true, 'the forger’s tool can seal')
})

t.test('a value of another schema is left to its program', async (t) => {
  t.equal(seal.unseal(key, '2 3 1767000000000 what a later version writes'), 'foreign')
  t.equal(seal.unseal(key, seal.seal(key, shared).replace('1 ', '7 ')), 'foreign')
})

function change(seq: number, tokenId: string, version: number, digests = [digest]): TokenChange {
  return { seq, tokenId, version, digests }
}

t.test('changes that were seen of late', async (t) => {
  const changes = new RecentChanges(100, 3)
  t.equal(changes.isOutdated('a', 1, 10), true, 'before the first reading nothing is current')
  changes.begin(10)
  changes.add(change(11, 'a', 2), 0)
  changes.add(change(12, 'b', 5), 50)
  const rows: [string, string, number, number, boolean][] = [
    ['an older version than the change made', 'a', 1, 12, true],
    ['the version that it made', 'a', 2, 10, false],
    ['a version that is not known yet', 'a', 3, 12, false],
    ['a token without a change', 'c', 1, 10, false],
    ['a token without a change, read before what is remembered', 'c', 1, 9, true],
  ]
  for (const [sentence, id, version, position, expected] of rows) {
    t.equal(changes.isOutdated(id, version, position), expected, sentence)
  }
  changes.add(change(13, 'c', 2), 101)
  t.equal(changes.isOutdated('a', 1, 11), false, 'a change that ended is not remembered')
  t.equal(changes.isOutdated('a', 1, 10), true, 'and what it may have outdated is refused')
  for (const seq of [14, 15]) changes.add(change(seq, `d${seq}`, 2), 102)
  t.equal(changes.isOutdated('z', 1, 11), true, 'no more than the limit are remembered')
  t.equal(changes.isOutdated('z', 1, 12), false)
})

t.test('changes to repeat: the last of each token, with every secret that it had', async (t) => {
  const changes = new RecentChanges(1_000)
  const second = randomBytes(32)
  changes.begin(0)
  changes.add(change(1, 'a', 1), 0)
  changes.add(change(2, 'b', 2, [digest, second]), 0)
  changes.add(change(3, 'c', 2), 0)
  changes.add(change(4, 'b', 3, [second]), 0)
  const ids = (found: readonly TokenChange[]) => found.map(({ seq }) => seq)
  t.strictSame(ids(changes.after(0, 9)), [3, 4], 'a first version outdates nothing')
  t.strictSame(ids(changes.after(3, 9)), [4])
  t.strictSame(ids(changes.after(0, 1)), [3])
  t.strictSame(changes.after(3, 9)[0]?.digests, [second, digest])
})

t.test('the breaker', async (t) => {
  const breaker = new Breaker()
  t.ok(breaker.isOpen, 'begins open')
  breaker.close()
  for (let i = 1; i < errorsMax; i++) t.equal(breaker.failed('error'), false)
  breaker.succeeded()
  for (let i = 1; i < errorsMax; i++) t.equal(breaker.failed('error'), false)
  t.equal(breaker.failed('error'), true, 'opens after five errors in a row')
  t.ok(breaker.isOpen)
  t.equal(breaker.failed('error'), false, 'once')
  breaker.close()
  t.equal(breaker.failed('silence'), true, 'or after one silence')
  t.strictSame([0, 0.5, 1].map(probeDelayMs), [750, 1_000, 1_250], 'is tried each second or so')
})
