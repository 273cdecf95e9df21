// The forwarded head where a protocol has its say (RFC 9110 7.6): what it sets stands alone, and what Connection
// names is neither judged nor forwarded.

import t from 'tap'
import { planHead, withoutNominated, writeHead } from '../../gateway/forward/headers.ts'

const settings = {
  name: 'hub',
  origin: 'http://hub.example',
  basePath: '',
  host: 'upstream',
  headers: [],
  identity: { subject: undefined, token: undefined, scopes: undefined },
  credentials: 'strip',
  timeouts: { connectMs: 1, headersMs: 1, idleMs: 1 },
  tls: undefined,
} as const
const plan = planHead(settings, [settings], [])

/** The values of one field of the head that is written for these fields. */
function written(name: string, fields: readonly string[], further: object): string[] {
  const head = writeHead(plan, {
    fields,
    host: 'hub.example',
    requestHost: 'a',
    origin: { address: '192.0.2.1', scheme: 'http', hops: ['192.0.2.1'], host: undefined },
    requestId: 'r',
    record: undefined,
    inject: false,
    ...further,
  })
  const out = head.list()
  return out.filter((_, i) => i % 2 === 1 && out[i - 1]?.toLowerCase() === name)
}

t.test('a field that a protocol sets replaces the one received', async (t) => {
  const received = ['content-type', 'application/x-www-form-urlencoded']
  const set = ['Content-Type', 'application/octet-stream']
  t.strictSame(written('content-type', received, { set }), ['application/octet-stream'])
  t.strictSame(written('content-type', received, { drop: ['content-type'] }), [])
  t.strictSame(written('content-type', received, {}), ['application/x-www-form-urlencoded'])
})

t.test('fields that Connection names are gone, in any case, and no others', async (t) => {
  const fields = [
    'Connection',
    'close, x-ONE',
    'X-One',
    '1',
    'connection',
    'two',
    'TWO',
    '2',
    'B',
    '3',
  ]
  t.strictSame(withoutNominated(fields), [
    'Connection',
    'close, x-ONE',
    'connection',
    'two',
    'B',
    '3',
  ])
  const none = ['Connection', 'keep-alive', 'Keep-Alive', '1']
  t.equal(withoutNominated(none), none)
})
