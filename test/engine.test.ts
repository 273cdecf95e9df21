// What V8, the engine below, is shown (gateway/engine.ts).

import { setFlagsFromString } from 'node:v8'
import t from 'tap'
import { createRedisLink } from '../gateway/tokens/redis-link.ts'
import { freePort } from './servers/ready.ts'

t.test('texts are quick again after Redis was opened, whose client derives a class', async (t) => {
  setFlagsFromString('--allow-natives-syntax')
  const areQuick = new Function('return %HasFastProperties(String.prototype)')
  t.equal(areQuick(), true)
  await import('ioredis')
  t.equal(areQuick(), false, 'else quickenTexts is needed no more')
  const port = await freePort()
  const nobody = { username: undefined, password: undefined, tls: false }
  const link = createRedisLink({ host: '127.0.0.1', port, database: 0, ...nobody })
  await new Promise<void>((resolve) => {
    link.open('channel', { ready: () => {}, lost: () => resolve(), message: () => {} })
  })
  t.equal(areQuick(), true)
  link.close()
})
