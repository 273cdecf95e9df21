// Field lines (gateway/http1/field-lines.ts): names compare without case, and as nothing but letters do.

import t from 'tap'
import { isNamed } from '../../gateway/http1/field-lines.ts'

t.test('a name is found in any case', async (t) => {
  for (const name of ['content-length', 'Content-Length', 'CONTENT-LENGTH']) {
    t.equal(isNamed(name, 'content-length'), true)
  }
})

t.test('for every two signs it says what their lower case says', async (t) => {
  const signs = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code))
  const lower = signs.filter((sign) => sign === sign.toLowerCase() && sign < '\x80')
  for (const sign of signs.filter((sign) => sign < '\x80')) {
    const found = lower.filter((name) => isNamed(`x${sign}`, `x${name}`))
    t.strictSame(found, [sign.toLowerCase()])
  }
  t.strictSame(
    signs.filter((sign) => isNamed(sign, 'a')),
    ['A', 'a'],
  )
})

t.test('a longer or shorter one is another', async (t) => {
  t.equal(isNamed('hos', 'host'), false)
  t.equal(isNamed('hosts', 'host'), false)
  t.equal(isNamed('', ''), true)
})
