// The fields of a head as they are sent (gateway/forward/sent-head.ts): as a list or as lines, in any order.

import t from 'tap'
import { SharedFields } from '../../gateway/forward/sent-head.ts'

const list = ['Host', 'a.example', 'X-Empty', '', 'X-Latin', 'caf\u00e9']

t.test('the list is the same before and after it was written', async (t) => {
  const fields = new SharedFields(list)
  t.equal(fields.isWritten, false)
  t.strictSame(fields.list, list)
  t.equal(fields.lines, 'Host: a.example\r\nX-Empty: \r\nX-Latin: caf\u00e9\r\n')
  t.equal(fields.isWritten, true)
  t.strictSame(fields.list, list)
})

t.test('what would be more than one line is refused, each time', async (t) => {
  const fields = new SharedFields(['A', 'b\r\nC: d'])
  for (let round = 0; round < 2; round++) t.throws(() => fields.lines, /line end/)
  t.equal(fields.isWritten, false)
})
