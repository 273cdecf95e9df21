// What V8, the engine below, is told and shown.

import { setFlagsFromString } from 'node:v8'
import t from 'tap'
import { quickenTexts } from '../gateway/engine.ts'
import { createRedisLink } from '../gateway/tokens/redis-link.ts'
import { freePort } from './servers/ready.ts'

setFlagsFromString('--allow-natives-syntax')
const areQuick = new Function('return %HasFastProperties(String.prototype)')

t.test('texts are quick again after a class was derived from String', async (t) => {
  t.equal(areQuick(), true)
  class Derived extends String {}
  t.equal(`${new Derived('a')}`, 'a')
  t.equal(areQuick(), false, 'else the function is needed no more')
  quickenTexts()
  t.equal(areQuick(), true)
})

t.test('and after Redis was opened, whose client derives one', async (t) => {
  const port = await freePort()
  const nobody = { username: undefined, password: undefined, tls: false }
  const link = createRedisLink({ host: '127.0.0.1', port, database: 0, ...nobody })
  const lost = new Promise<void>((resolve) => {
    link.open('channel', { ready: () => {}, lost: () => resolve(), message: () => {} })
  })
  await lost
  t.equal(areQuick(), true)
  link.close()
})
