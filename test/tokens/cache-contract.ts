// What every cache of records promises, run for memory and for Redis: of two answers of the authority it
// keeps the newer, in whatever order they come.

import { randomBytes } from 'node:crypto'
import type { Test } from 'tap'
import type { TokenRecord } from '../../gateway/tokens/token.ts'
import { makeRecord, makeToken } from './records.ts'

/** A cache, by what a test does with it. */
export type RecordCache = {
  /** Keeps a record that the authority was asked for `ageMs` ago. */
  keep(digest: Buffer, record: TokenRecord, ageMs: number): void
  find(digest: Buffer): Promise<{ record: TokenRecord; ageMs: number } | undefined>
}

/** `open` gives an empty cache. */
export function checkRecordCache(t: Test, open: (t: Test) => Promise<RecordCache>): void {
  const check = (promise: string, body: (t: Test, cache: RecordCache) => Promise<void>) =>
    t.test(promise, async (t) => body(t, await open(t)))

  check('a record is found as it was, by its digest alone', async (t, cache) => {
    const { digest, record } = makeToken({
      scopes: ['source:read', 'GET /a,b/'],
      resources: { factory: ['acme'], repository: [] },
      allowedIps: ['10.0.0.0/8'],
      revokedAt: 3,
      revokedBy: 'bob',
    })
    cache.keep(digest, record, 0)
    t.strictSame((await cache.find(digest))?.record, record)
    t.equal(await cache.find(randomBytes(32)), undefined)
  })

  check('reading a record does not make it younger', async (t, cache) => {
    const { digest, record } = makeToken()
    cache.keep(digest, record, 1_000)
    await cache.find(digest)
    const { ageMs = 0 } = (await cache.find(digest)) ?? {}
    t.ok(ageMs >= 999 && ageMs < 2_000, `${ageMs} ms`)
  })

  const first = makeRecord()
  const revoked = { ...first, revokedAt: 1, revokedBy: 'bob', version: 2 }
  const narrowed = { ...first, scopes: [], version: 3 }
  const rows: [string, [TokenRecord, number][], number, number][] = [
    [
      'a higher version replaces a lower one',
      [
        [first, 0],
        [revoked, 0],
      ],
      2,
      0,
    ],
    [
      'an older record that comes late does not replace the revoked one',
      [
        [revoked, 500],
        [first, 0],
      ],
      2,
      500,
    ],
    [
      'nor one of three',
      [
        [first, 900],
        [narrowed, 600],
        [revoked, 0],
      ],
      3,
      600,
    ],
    [
      'of one version, the later answer stays',
      [
        [first, 0],
        [first, 900],
      ],
      1,
      0,
    ],
    [
      'and replaces an earlier one',
      [
        [first, 900],
        [first, 0],
      ],
      1,
      0,
    ],
  ]
  for (const [sentence, kept, version, ageMs] of rows) {
    check(sentence, async (t, cache) => {
      const digest = randomBytes(32)
      for (const [record, age] of kept) cache.keep(digest, record, age)
      const found = await cache.find(digest)
      t.equal(found?.record.version, version)
      t.ok(Math.abs((found?.ageMs ?? 0) - ageMs) < 400, `read ${found?.ageMs} ms ago`)
    })
  }
}
