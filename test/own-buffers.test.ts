// The buffers of long bodies (gateway/own-buffers.ts): bounded, and none that is still written from is given away.

import t from 'tap'
import { returnOwnBuffer, takeOwnBuffer } from '../gateway/own-buffers.ts'

t.test('one that is returned is given to the next, unless it is lent', (t) => {
  const first = takeOwnBuffer()!
  returnOwnBuffer(first, false)
  const second = takeOwnBuffer()!
  t.equal(second, first)
  returnOwnBuffer(second, true)
  const third = takeOwnBuffer()!
  t.not(third, first)
  returnOwnBuffer(third, false)
  t.end()
})

t.test('there are no more than 64, each of them once', (t) => {
  const all = Array.from({ length: 64 }, () => takeOwnBuffer()!)
  t.equal(new Set(all).size, 64)
  t.equal(takeOwnBuffer(), undefined)
  for (const buffer of all) returnOwnBuffer(buffer, true)
  t.ok(takeOwnBuffer())
  t.end()
})
