// What V8, the engine below, is told and shown.

import { setFlagsFromString } from 'node:v8'
import t from 'tap'
import { quickenTexts } from '../gateway/engine.ts'

t.test('texts are quick again after ioredis has derived a class from String', async (t) => {
  setFlagsFromString('--allow-natives-syntax')
  const areQuick = new Function('return %HasFastProperties(String.prototype)')
  t.equal(areQuick(), true)
  await import('ioredis')
  t.equal(areQuick(), false, 'without this the function is needed no more')
  quickenTexts()
  t.equal(areQuick(), true)
})
