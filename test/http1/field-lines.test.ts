// Field lines (gateway/http1/field-lines.ts): names compare without case, and as nothing but letters do; they
// are taken from one head to the next, and keep nothing else of it.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { isNamed, readFieldLines } from '../../gateway/http1/field-lines.ts'

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

t.test('a name is taken from the head before it, where it is the same', async (t) => {
  const before = readFieldLines('Authorization: a\r\nX-B: b\r\n', 0)
  const text = 'Authorization: c\r\nX-Bc: d\r\nE:f\r\n'
  const read = ['Authorization', 'c', 'X-Bc', 'd', 'E', 'f']
  t.strictSame(readFieldLines(text, 0, text.length, before), read)
  t.strictSame(readFieldLines(text, 0, text.length, ['', '', 'X-B', 'b', 'E:', '']), read)
})

t.test('a name that is kept does not keep the values of its head', async (t) => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const heads = 64
  const valueBytes = 2 ** 20
  collect()
  const before = process.memoryUsage().heapUsed
  const names = Array.from({ length: heads }, (_, i) => {
    const value = Buffer.alloc(valueBytes, 'x').toString('latin1')
    const [name] = readFieldLines(`X-Long-Enough-For-A-View-${i}: ${value}\r\n`, 0)
    return name
  })
  collect()
  const kept = process.memoryUsage().heapUsed - before
  t.ok(kept < (heads * valueBytes) / 4, `${names.length} names keep ${kept} bytes`)
})
