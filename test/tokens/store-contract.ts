// What every TokenStore promises, run for each implementation.

import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import { retentionMs, type TokenFilter, type TokenStore } from '../../gateway/tokens/store.ts'
import type { TokenRecord } from '../../gateway/tokens/token.ts'
import { madeAt, makeRecord, makeToken } from './records.ts'

const by = { at: madeAt + 1_000, by: 'a test' }

/** `open` gives a new, empty store; the suite closes it. */
export function checkTokenStore(t: Test, open: () => Promise<TokenStore>): void {
  const check = (promise: string, body: (t: Test, store: TokenStore) => Promise<void>) =>
    t.test(promise, async (t) => {
      const store = await open()
      t.teardown(() => store.close())
      await body(t, store)
    })

  check(
    'a created token is found by its digest and by its id, every field as it was',
    async (t, store) => {
      const { digest, record } = makeToken({
        name: 'laptop',
        scopes: ['source:read', 'GET /a,b/'],
        resources: { factory: ['acme'], repository: [] },
        allowedIps: ['10.0.0.0/8'],
        createdFrom: '192.0.2.1',
        expiresAt: madeAt + 5,
        lastUsedAt: madeAt + 4,
        lastUsedFrom: '192.0.2.2',
        lastUsedFor: 'git',
        revokedAt: madeAt + 3,
        revokedBy: 'bob',
      })
      t.equal(await store.create(record, [digest]), true)
      t.strictSame(await store.find(digest), record)
      t.strictSame(await store.get(record.id), record)
    },
  )

  check('an unknown digest and an unknown id are absent', async (t, store) => {
    t.equal(await store.find(randomBytes(32)), undefined)
    t.equal(await store.get(makeRecord().id), undefined)
  })

  check('every one of several secrets finds the token', async (t, store) => {
    const { digest, record } = makeToken()
    const second = randomBytes(32)
    await store.create(record, [digest, second])
    t.equal((await store.find(digest))?.id, record.id)
    t.equal((await store.find(second))?.id, record.id)
  })

  check('a digest or an id that is taken creates nothing', async (t, store) => {
    const { digest, record } = makeToken()
    await store.create(record, [digest])
    const other = makeRecord()
    t.equal(await store.create(other, [randomBytes(32), digest]), false)
    t.equal(await store.get(other.id), undefined)
    t.equal(await store.create(record, [randomBytes(32)]), false)
    t.equal(await store.lastChange(), 1)
  })

  check('a revoked token stays findable, with when and by whom', async (t, store) => {
    const { digest, record } = makeToken()
    await store.create(record, [digest])
    const outcome = await store.revoke({ id: record.id }, by)
    const revoked = { ...record, revokedAt: by.at, revokedBy: by.by, version: 2 }
    t.strictSame(outcome, { revoked: [revoked], already: [] })
    t.strictSame(await store.find(digest), revoked)
  })

  check(
    'a token that was revoked already is said to be, and keeps when and by whom',
    async (t, store) => {
      const { digest, record } = makeToken()
      await store.create(record, [digest])
      await store.revoke({ id: record.id }, by)
      const outcome = await store.revoke({ id: record.id }, { at: by.at + 1, by: 'another' })
      t.equal(outcome.revoked.length, 0)
      t.match(outcome.already, [{ id: record.id, revokedAt: by.at, revokedBy: by.by, version: 2 }])
      t.equal(await store.lastChange(), 2)
    },
  )

  check('revoking what nobody has revokes nothing', async (t, store) => {
    const { digest, record } = makeToken()
    await store.create(record, [digest])
    const nothing = { revoked: [], already: [] }
    t.strictSame(await store.revoke({ id: makeRecord().id }, by), nothing)
    t.strictSame(await store.revoke({ subject: 'ALICE' }, by), nothing)
    t.strictSame(await store.revoke({ digest: randomBytes(32) }, by), nothing)
    t.strictSame(await store.find(digest), record)
  })

  check('revoking by subject ends all of its tokens and no other', async (t, store) => {
    const made = [makeToken(), makeToken(), makeToken({ subject: 'bob' })]
    for (const { digest, record } of made) await store.create(record, [digest])
    const { revoked } = await store.revoke({ subject: 'alice' }, by)
    t.strictSame(idsOf(revoked).sort(), idsOf(made.slice(0, 2).map(({ record }) => record)).sort())
    t.strictSame(await store.find(made[2]!.digest), made[2]!.record)
  })

  check('revoking by a secret ends its token', async (t, store) => {
    const { digest, record } = makeToken()
    await store.create(record, [digest])
    t.strictSame(idsOf((await store.revoke({ digest }, by)).revoked), [record.id])
  })

  check('revoking a token revokes what descends from it', async (t, store) => {
    const [top, child, grandchild] = [makeToken(), makeToken(), makeToken()]
    await store.create(top.record, [top.digest])
    await store.create({ ...child.record, parentId: top.record.id }, [child.digest])
    await store.create({ ...grandchild.record, parentId: child.record.id }, [grandchild.digest])
    await store.revoke({ id: child.record.id }, by)
    t.match(await store.find(grandchild.digest), { revokedAt: by.at, version: 2 })
    t.match(await store.find(top.digest), { revokedAt: null, version: 1 })
  })

  check('every change is in the feed, oldest first, with digests and version', async (t, store) => {
    const [first, second] = [makeToken(), makeToken()]
    await store.create(first.record, [first.digest])
    await store.create(second.record, [second.digest])
    t.equal(await store.lastChange(), 2)
    await store.revoke({ id: first.record.id }, by)
    const changes = await store.changesSince(0, 10)
    t.strictSame(changes, [
      { seq: 1, tokenId: first.record.id, digests: [first.digest], version: 1 },
      { seq: 2, tokenId: second.record.id, digests: [second.digest], version: 1 },
      { seq: 3, tokenId: first.record.id, digests: [first.digest], version: 2 },
    ])
    t.strictSame(await store.changesSince(0, 2), changes.slice(0, 2), 'a first part')
    t.strictSame(await store.changesSince(2, 2), changes.slice(2), 'the rest')
    t.strictSame(await store.changesSince(3, 2), [])
  })

  check('the feed tells of a change that comes after a poll without news', async (t, store) => {
    t.strictSame(await store.changesSince(0, 10), [])
    const { digest, record } = makeToken()
    await store.create(record, [digest])
    t.match(await store.changesSince(0, 10), [{ seq: 1, tokenId: record.id }])
    t.strictSame(await store.changesSince(1, 10), [])
    await store.revoke({ id: record.id }, by)
    t.match(await store.changesSince(1, 10), [{ seq: 2, version: 2 }])
  })

  check('the feed can be read from a time on', async (t, store) => {
    const began = Date.now()
    const old = makeToken({ createdAt: 1 })
    await store.create(old.record, [old.digest])
    await store.revoke({ id: old.record.id }, { at: 2, by: 'a test' })
    t.equal(await store.positionBefore(began), 0, 'a change is as old as its commit')
    t.equal(await store.positionBefore(Date.now() + 1), 2)
  })

  check('the keys of its caches and of its grants are its own', async (t, store) => {
    t.equal(store.cacheKey.length, 32)
    t.equal(store.grantKey.length, 32)
    t.notOk(store.grantKey.equals(store.cacheKey))
    const other = await open()
    t.teardown(() => other.close())
    t.notOk(other.cacheKey.equals(store.cacheKey))
    t.notOk(other.grantKey.equals(store.grantKey))
  })

  check('a commit is hinted at', async (t, store) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const timer = setTimeout(() => reject(new Error('no hint in 5 s')), 5_000)
    const unwatch = store.watch(resolve)
    const { digest, record } = makeToken()
    await store.create(record, [digest])
    await t.resolves(promise)
    clearTimeout(timer)
    unwatch()
  })

  t.test('a list is filtered', async (t) => {
    const store = await open()
    t.teardown(() => store.close())
    const now = madeAt + 2 * retentionMs
    const named: Record<string, TokenRecord> = {
      active: makeRecord(),
      ending: makeRecord({ expiresAt: now + 1 }),
      expired: makeRecord({ expiresAt: now }),
      revoked: makeRecord({ revokedAt: now - 1, expiresAt: now - 2 }),
      of_bob: makeRecord({ subject: 'bob' }),
      long_expired: makeRecord({ expiresAt: now - retentionMs }),
      long_revoked: makeRecord({ revokedAt: now - retentionMs, expiresAt: now + 1 }),
    }
    for (const record of Object.values(named)) await store.create(record, [randomBytes(32)])
    const rows: [string, Omit<TokenFilter, 'now' | 'limit'>, string[]][] = [
      [
        'everything but what ended 90 days ago',
        {},
        ['active', 'ending', 'expired', 'revoked', 'of_bob'],
      ],
      ['active ones', { state: 'active' }, ['active', 'ending', 'of_bob']],
      ['expired ones', { state: 'expired' }, ['expired']],
      ['revoked ones, expired or not', { state: 'revoked' }, ['revoked']],
      ['one subject’s', { subject: 'bob' }, ['of_bob']],
      ['one subject’s in a state', { subject: 'bob', state: 'revoked' }, []],
    ]
    for (const [sentence, filter, expected] of rows) {
      const listed = await store.list({ now, limit: 10, ...filter })
      t.strictSame(idsOf(listed), expected.map((name) => named[name]!.id).sort(), sentence)
    }
  })

  check('a list comes in pages', async (t, store) => {
    for (let i = 0; i < 3; i++) await store.create(makeRecord(), [randomBytes(32)])
    const all = await store.list({ now: madeAt, limit: 10 })
    const page = await store.list({ now: madeAt, limit: 2 })
    t.strictSame(page, all.slice(0, 2))
    t.strictSame(await store.list({ now: madeAt, limit: 2, after: page[1]!.id }), all.slice(2))
  })

  check(
    'pruning deletes what ended 90 days ago, and nothing that something depends on',
    async (t, store) => {
      const ended = makeToken({ revokedAt: madeAt })
      const recent = makeToken({ expiresAt: madeAt + 1 })
      const parent = makeToken({ expiresAt: madeAt })
      const child = makeToken({ parentId: parent.record.id })
      for (const { digest, record } of [ended, recent, parent, child]) {
        await store.create(record, [digest])
      }
      await store.prune(madeAt + retentionMs)
      t.equal(await store.find(ended.digest), undefined)
      t.equal(await store.get(ended.record.id), undefined)
      for (const { digest, record } of [recent, parent, child]) {
        t.strictSame(await store.find(digest), record)
      }
    },
  )

  check('positions in the feed are never used twice', async (t, store) => {
    for (const { digest, record } of [makeToken({ revokedAt: madeAt }), makeToken()]) {
      await store.create(record, [digest])
    }
    await store.prune(Date.now() + retentionMs + 1)
    t.match(await store.changesSince(0, 10), [{ seq: 2 }], 'pruned like tokens, but the newest')
    t.equal((await store.changesSince(0, 10)).length, 1)
    const next = makeToken()
    await store.create(next.record, [next.digest])
    t.match(await store.changesSince(2, 10), [{ seq: 3, tokenId: next.record.id }])
  })
}

function idsOf(records: readonly TokenRecord[]): string[] {
  return records.map(({ id }) => id)
}
