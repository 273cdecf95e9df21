// Grants: what is read is what was written, and nothing else that anyone could make of it.

import { createHmac, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import {
  type Grant,
  type GrantReading,
  grantCharsMax,
  grantLifetimeSeconds,
  isGrant,
  leewaySeconds,
  readGrant,
  writeGrant,
} from '../../../gateway/tokens/grant.ts'
import { search } from '../../search.ts'

const key = randomBytes(32)
const now = 1_700_000_000_000
const grant: Grant = {
  tokenId: '01a213c5-e5d7-76c9-b7d7-0a9b72831226',
  access: [{ type: 'repository', name: 'acme/app', actions: ['pull', 'push'] }],
}

/** A value that is signed under the key, with these texts for its header and claims. */
function signed(header: string, claims: string, under = key): string {
  const text = `${Buffer.from(header).toString('base64url')}.${Buffer.from(claims).toString('base64url')}`
  return `${text}.${createHmac('sha256', under).update(text).digest('base64url')}`
}

const written = writeGrant(grant, 'hub', key, now)
const [head = '', claims = '', signature = ''] = written.split('.')
const header = Buffer.from(head, 'base64url').toString()

function kindOf(value: string, at = now, service: string | undefined = 'hub'): string {
  return readGrant(value, service, key, at).kind
}

t.test('what was written for a service is read there', async (t) => {
  t.strictSame(readGrant(written, 'hub', key, now), { kind: 'good', grant } as GrantReading)
  const open = writeGrant({ tokenId: undefined, access: [] }, 'a "b", c', key, now)
  t.match(readGrant(open, 'a "b", c', key, now), { kind: 'good', grant: { access: [] } })
})

t.test('a grant is good for its time, and the leeway of clocks around it', async (t) => {
  const end = (grantLifetimeSeconds + leewaySeconds) * 1000
  t.equal(kindOf(written, now + end - 1), 'good')
  t.equal(kindOf(written, now + end), 'expired')
  t.equal(kindOf(written, now - leewaySeconds * 1000), 'good')
  t.equal(kindOf(written, now - leewaySeconds * 1000 - 1), 'early')
})

t.test('another service takes it for a foreign one, and so does a route without any', async (t) => {
  t.equal(kindOf(written, now, 'hub2'), 'foreign')
  t.equal(readGrant(written, undefined, key, now).kind, 'foreign')
})

t.test('no character of it can be another one', async (t) => {
  for (let at = 0; at < written.length; at++) {
    const other = written[at] === 'A' ? 'B' : 'A'
    const changed = written.slice(0, at) + other + written.slice(at + 1)
    if (kindOf(changed) !== 'forged') t.fail(`changed at ${at}`)
  }
  for (const changed of [`${written}A`, `${written}=`, written.slice(0, -1), ` ${written}`]) {
    t.equal(kindOf(changed), 'forged', changed.slice(-5))
  }
  // A character that is the right one in its low byte.
  const tail = String.fromCodePoint(0x100 + signature.charCodeAt(42))
  t.equal(kindOf(written.slice(0, -1) + tail), 'forged')
})

t.test('its header is one text: there is no algorithm or type to choose', async (t) => {
  t.strictSame(JSON.parse(header), { alg: 'HS256', typ: 'scopegate-grant+jwt' })
  const text = Buffer.from(claims, 'base64url').toString()
  t.equal(kindOf(signed(header, text)), 'good', 'the helper signs as the product does')
  for (const other of [
    '{"alg":"none","typ":"scopegate-grant+jwt"}',
    '{"alg":"HS512","typ":"scopegate-grant+jwt"}',
    '{"alg":"HS256","typ":"JWT"}',
    '{"alg":"HS256"}',
    '{"typ":"scopegate-grant+jwt","alg":"HS256"}',
  ]) {
    t.equal(kindOf(signed(other, text)), 'forged', other)
  }
  t.equal(kindOf(`${head}.${claims}.`), 'forged', 'no signature')
  t.equal(kindOf(`${head}.${claims}`), 'forged', 'two parts')
  t.equal(readGrant(signed(header, text, randomBytes(32)), 'hub', key, now).kind, 'forged')
})

t.test('what is signed and has not the shape of a grant is none', async (t) => {
  const whole = JSON.parse(Buffer.from(claims, 'base64url').toString())
  const shapes: unknown[] = [null, 1, 'x', [], {}, ...Object.keys(whole).flatMap(without)]
  for (const shape of shapes) t.equal(kindOf(signed(header, JSON.stringify(shape))), 'forged')
  t.equal(kindOf(signed(header, '{')), 'forged')

  function without(name: string): unknown[] {
    const { [name]: _, ...rest } = whole
    const wrong = { ...whole, [name]: [{ type: 1 }] }
    // Without a token's id it is a grant of nobody's, which is another thing.
    return name === 'tid' ? [wrong] : [rest, wrong]
  }
})

t.test('a longer one than a head would hold is refused', async (t) => {
  const access = Array.from({ length: 200 }, (_, at) => ({ ...grant.access[0]!, name: `a/${at}` }))
  const long = writeGrant({ ...grant, access }, 'hub', key, now)
  t.ok(long.length > grantCharsMax)
  t.equal(kindOf(long), 'forged')
})

t.test(
  'any grant comes back as it was; any other text is forged, and never an exception',
  async () => {
    const scope = fc.record({
      type: fc.string(),
      name: fc.string(),
      actions: fc.array(fc.string(), { maxLength: 3 }),
    })
    const grants = fc.record({ tokenId: fc.uuid(), access: fc.array(scope, { maxLength: 5 }) })
    await search(
      300,
      fc.property(grants, fc.string(), (any, service) => {
        const value = writeGrant(any, service, key, now)
        const reading = readGrant(value, service, key, now)
        if (value.length > grantCharsMax) return reading.kind === 'forged'
        return reading.kind === 'good' && JSON.stringify(reading.grant) === JSON.stringify(any)
      }),
    )
    const texts = fc.oneof(
      fc.string(),
      fc.string().map((text) => `${head}.${text}`),
      fc.tuple(fc.nat(written.length), fc.nat(written.length), fc.string()).map(([a, b, text]) => {
        const [from, to] = a < b ? [a, b] : [b, a]
        return written.slice(0, from) + text + written.slice(to)
      }),
    )
    await search(
      2_000,
      fc.property(texts, (text) => text === written || kindOf(text) === 'forged'),
    )
  },
)

t.test('no API token looks like a grant', async (t) => {
  t.equal(isGrant(written), true)
  t.equal(isGrant(`sgt_${written}`), false)
  t.equal(isGrant('eyJhbGciOiJIUzI1NiJ9.e30.x'), false)
})
