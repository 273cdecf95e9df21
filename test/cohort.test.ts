// When what was read is worked on (gateway/cohort.ts): at once where it comes alone, and after all that is
// ready where much is.

import net, { type AddressInfo } from 'node:net'
import t from 'tap'
import { workInTurn } from '../gateway/cohort.ts'

const many = 32
/** As many cohorts as it takes to see that things have changed, twice. */
const rounds = 130

const server = net.createServer((socket) => {
  socket.on('data', () => workInTurn({ work: () => void socket.write('.') }))
})
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
const { port } = server.address() as AddressInfo
const clients = await Promise.all(
  Array.from({ length: many }, async () => {
    const client = net.connect({ port, host: '127.0.0.1', noDelay: true })
    await new Promise((resolve) => client.once('connect', resolve))
    return client
  }),
)
t.teardown(() => {
  for (const client of clients) client.destroy()
  server.close()
})

/** Each of them writes and waits until all were answered, so many times. */
async function load(senders: readonly net.Socket[]): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const answered = senders.map((client) => new Promise((resolve) => client.once('data', resolve)))
    for (const client of senders) client.write('.')
    await Promise.all(answered)
  }
}

async function whenIsItWorkedOn(): Promise<'at once' | 'at the end of the turn'> {
  let isTickOver = false
  return new Promise((resolve) => {
    workInTurn({ work: () => resolve(isTickOver ? 'at the end of the turn' : 'at once') })
    process.nextTick(() => {
      isTickOver = true
    })
  })
}

t.test(
  'what comes alone is worked on at once, what comes in crowds is worked on together',
  async (t) => {
    const [one] = clients as [net.Socket]
    t.equal(await whenIsItWorkedOn(), 'at once')
    await load(clients)
    t.equal(await whenIsItWorkedOn(), 'at the end of the turn')
    await load([one])
    t.equal(await whenIsItWorkedOn(), 'at once')
  },
)
