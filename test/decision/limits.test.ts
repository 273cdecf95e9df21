// The promises of decision/resource-limits.ts and decision/address-limits.ts.

import fc from 'fast-check'
import t from 'tap'
import type { Access } from '../../gateway/decision/access.ts'
import { allowsAddress, isAddressRange } from '../../gateway/decision/address-limits.ts'
import { brokenLimit, matchGlob } from '../../gateway/decision/resource-limits.ts'
import { seed } from '../search.ts'

t.test('globs', (t) => {
  const rows = [
    ['acme/hello', 'acme/hello', true, 'the same text'],
    ['acme/hello', 'acme/hello2', false, 'a longer text'],
    ['acme', 'Acme', false, 'case matters'],
    ['', '', true, 'nothing is nothing'],
    ['', 'a', false, 'nothing is not something'],
    ['acme/*', 'acme/hello', true, '* is a segment'],
    ['acme/*', 'acme/a/b', false, '* stays within a segment'],
    ['acme/**', 'acme/a/b', true, '** crosses segments'],
    ['acme/**', 'acme', false, 'the slash before ** is meant'],
    ['*', 'acme/hello', false, '* alone is no slash'],
    ['**', 'acme/hello', true, '** alone is everything'],
    ['*/hello', 'acme/hello', true, '* at the beginning'],
    ['**/hello', 'a/b/hello', true, '** at the beginning'],
    ['a*c', 'abc', true, '* within a segment'],
    ['a*c', 'ac', true, '* may be nothing'],
    ['a*c', 'abd', false, 'what follows * must follow'],
    ['refs/*/x/**', 'refs/heads/x/y/z', true, 'both kinds'],
    ['refs/*/x/**', 'refs/heads/y/x/z', false, 'both kinds, * not across'],
    ['a***b', 'a/x/b', true, 'three stars are two'],
    ['a.c', 'abc', false, 'a dot is a dot'],
    ['[ab]', 'a', false, 'brackets are brackets'],
    ['a?', 'ab', false, 'a question mark is one'],
  ] as const
  for (const [pattern, value, expected, sentence] of rows) {
    t.equal(matchGlob(pattern, value), expected, `${pattern} with ${value}: ${sentence}`)
  }
  t.end()
})

t.test('globs agree with a matcher that tries everything', (t) => {
  const text = (characters: string[]) =>
    fc.array(fc.constantFrom(...characters), { maxLength: 8 }).map((parts) => parts.join(''))
  fc.assert(
    fc.property(text(['a', 'b', '/', '*', '**']), text(['a', 'b', '/']), (pattern, value) => {
      return matchGlob(pattern, value) === tryEverything(pattern, value)
    }),
    { seed, numRuns: 5000 },
  )
  t.end()
})

t.test('no glob makes a long value expensive', (t) => {
  const began = performance.now()
  t.notOk(matchGlob(`${'*a'.repeat(30)}**${'*a'.repeat(30)}b`, 'a'.repeat(8000)))
  t.ok(performance.now() - began < 500)
  t.end()
})

t.test('resource limits', (t) => {
  const hello = { factory: 'acme', repository: 'acme/hello' }
  const main = 'refs/heads/main'
  type Row = [
    limits: Record<string, string[]> | null,
    resources: Record<string, string> | null,
    ref: string | undefined,
    broken: string | undefined,
    sentence: string,
  ]
  const rows: Row[] = [
    [null, hello, undefined, undefined, 'a token without limits'],
    [{}, hello, undefined, undefined, 'a token with no limit at all'],
    [{ factory: ['acme'] }, hello, undefined, undefined, 'the value allowed'],
    [{ factory: ['x', 'acme'] }, hello, undefined, undefined, 'one of the values allowed'],
    [{ factory: ['x'] }, hello, undefined, 'factory', 'another value'],
    [{ factory: ['acme'], device: ['**'] }, hello, undefined, 'device', 'every key is asked for'],
    [{ factory: [] }, hello, undefined, 'factory', 'an empty list matches nothing'],
    [{ constructor: ['**'] }, hello, undefined, 'constructor', 'a name of JavaScript’s own'],
    [{ factory: ['x'] }, null, undefined, undefined, 'an access that needs no resources'],
    [{ ref: ['refs/heads/dev/**'] }, hello, main, 'ref', 'a ref that is not allowed'],
    [{ ref: ['refs/heads/*'] }, hello, main, undefined, 'a ref that is allowed'],
    [{ ref: ['x'] }, hello, undefined, undefined, 'an access without a ref is not bound by it'],
    [{ ref: ['x'] }, { ref: 'y' }, undefined, undefined, 'nor by a capture of that name'],
    [{ ref: ['x'] }, { ref: 'x' }, main, 'ref', 'and a capture is no ref'],
    [{ ref: [] }, null, main, 'ref', 'a ref binds where no other resource does'],
  ]
  for (const [limits, resources, ref, broken, sentence] of rows) {
    const rights = { scopes: [], resources: limits, allowedIps: null }
    const values = resources === null ? null : new Map(Object.entries(resources))
    t.equal(brokenLimit(rights, access(values, ref))?.key, broken, sentence)
  }
  t.end()
})

t.test('address limits', (t) => {
  const rows: [readonly string[] | null, string, boolean, string][] = [
    [null, '192.0.2.1', true, 'no limits'],
    [null, 'rubbish', true, 'no limits, whatever the address'],
    [[], '192.0.2.1', false, 'an empty list allows none'],
    [['192.0.2.1'], '192.0.2.1', true, 'a single address'],
    [['192.0.2.1'], '192.0.2.2', false, 'its neighbour'],
    [['192.0.2.0/24'], '192.0.2.255', true, 'a range'],
    [['192.0.2.77/24'], '192.0.2.1', true, 'a range written with host bits'],
    [['192.0.2.0/24'], '192.0.3.0', false, 'past the range'],
    [['192.0.2.0/24'], '::ffff:192.0.2.1', true, 'a mapped client'],
    [['192.0.2.0/24'], '::ffff:c000:0201', true, 'a mapped client in hex'],
    [['192.0.2.0/24'], '::ffff:192.0.3.1', false, 'a mapped client past the range'],
    [['::ffff:192.0.2.0/120'], '192.0.2.9', true, 'a mapped range'],
    [['::ffff:192.0.2.0/120'], '192.0.3.9', false, 'past a mapped range'],
    [['::ffff:192.0.2.1'], '192.0.2.1', true, 'a mapped single address'],
    [['::/0'], '192.0.2.1', false, 'an IPv6 range does not cover IPv4'],
    [['::/0'], '2001:db8::1', true, 'all of IPv6'],
    [['0.0.0.0/0'], '2001:db8::1', false, 'an IPv4 range does not cover IPv6'],
    [['2001:db8::/32'], '2001:DB8:1::1', true, 'an IPv6 range, case apart'],
    [['2001:db8::/32'], '2001:db9::1', false, 'past an IPv6 range'],
    [['2001:db8::1'], '2001:db8:0::1', true, 'an IPv6 address spelled otherwise'],
    [['fe80::/10'], 'fe80::1%eth0', true, 'a zone is no part of the address'],
    [['x', '192.0.2.1'], '192.0.2.1', true, 'an entry that is none is passed over'],
    [
      ['192.0.2.1/33', '192.0.2.1/', '192.0.2.1/08', '192.0.2.1/-1'],
      '192.0.2.1',
      false,
      'bad bits',
    ],
    [['0.0.0.0/0'], 'rubbish', false, 'a client without an address'],
    [['0.0.0.0/0'], '', false, 'a client with an empty one'],
  ]
  for (const [allowed, address, expected, sentence] of rows) {
    t.equal(allowsAddress(allowed, address), expected, `${address} in ${allowed}: ${sentence}`)
  }
  t.end()
})

t.test('what a token can be limited to', (t) => {
  for (const text of ['10.0.0.0/8', '10.1.2.3', '::1', '2001:db8::/32', '0.0.0.0/0']) {
    t.ok(isAddressRange(text), text)
  }
  for (const text of [
    '',
    '10.0.0',
    '10.0.0.0/33',
    '::/129',
    '::ffff:10.0.0.0/95',
    'fe80::1%eth0',
  ]) {
    t.notOk(isAddressRange(text), `"${text}"`)
  }
  t.end()
})

function access(resources: Access['resources'], ref: string | undefined): Access {
  const wanted = { action: 'GET', requirement: undefined, method: 'GET', path: '/', resources }
  return ref === undefined ? wanted : { ...wanted, ref }
}

/** The definition of a glob, word for word, at any price. */
function tryEverything(pattern: string, value: string): boolean {
  if (pattern === '') return value === ''
  if (!pattern.startsWith('*')) {
    return pattern[0] === value[0] && tryEverything(pattern.slice(1), value.slice(1))
  }
  const stars = /^\*+/.exec(pattern)![0].length
  for (let taken = 0; taken <= value.length; taken++) {
    if (stars === 1 && value.slice(0, taken).includes('/')) return false
    if (tryEverything(pattern.slice(stars), value.slice(taken))) return true
  }
  return false
}
