// What is ready in one turn of the event loop is worked on one by one, or together where there is much of it
// (gateway/cohort.ts): each client still gets its own reply, whatever the others do. The gateway is stopped while
// clients and upstream write, so that all of it is ready at once when it goes on.

import { createHash, randomBytes } from 'node:crypto'
import net, { type AddressInfo, type Socket } from 'node:net'
import t from 'tap'
import { startGateway } from '../servers/gateway.ts'
import { type Connection, connect, wholeReplyBytes } from '../servers/raw-client.ts'
import { until } from '../servers/ready.ts'
import { writeRequest } from './raw-exchange.ts'

const ofEachKind = 8
/** After so many requests at once what comes next is worked on together, after so many in turn one by one. */
const crowd = 100
/** Two reads of Node's and a part of a third one. */
const readyBytes = 2 * 64 * 1024 + 50_000

/** Requests that wait for their reply, by the path. */
const waiting = new Map<string, Socket>()
let holds = false
const upstream = net.createServer((socket) => {
  socket.on('error', () => {})
  let bytes: Buffer = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    bytes = Buffer.concat([bytes, chunk])
    const head = bytes.toString('latin1', 0, bytes.indexOf('\r\n\r\n') + 4)
    const length = Number(/\r\ncontent-length: (\d+)\r\n/i.exec(head)?.[1] ?? 0)
    if (head.length < 4 || bytes.length < head.length + length) return
    const [method, path = ''] = head.split(' ')
    const body = bytes.subarray(head.length)
    bytes = Buffer.alloc(0)
    if (holds) waiting.set(path, socket)
    else if (method === 'PUT') socket.write(whole(createHash('sha256').update(body).digest('hex')))
    else socket.write(whole(path))
  })
})
await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve))
const gateway = await startGateway({
  server: { limits: { connectionsPerAddress: 0 } },
  upstreams: { api: { url: `http://127.0.0.1:${(upstream.address() as AddressInfo).port}` } },
  scopes: { read: 'Read' },
  routes: [{ path: '/public/{rest...}', upstream: 'api', allow: { '*': 'public' } }],
})
t.teardown(async () => {
  await gateway.stop()
  upstream.close()
})

function whole(body: string): string {
  return `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`
}

/** Requests, and then replies, that are all ready at once. */
async function makeCrowd(): Promise<void> {
  const clients = await Promise.all(Array.from({ length: crowd }, () => connect(gateway.url)))
  const held = () => [...waiting].filter(([path]) => path.startsWith('/public/crowd/'))
  holds = true
  await stopped(() => {
    for (const [i, client] of clients.entries())
      client.write(writeRequest(`GET /public/crowd/${i}`))
  })
  await until('all requests came', () => held().length === crowd || undefined)
  holds = false
  await stopped(() => {
    for (const [path, socket] of held()) {
      waiting.delete(path)
      socket.write(whole(path))
    }
  })
  for (const [i, client] of clients.entries()) {
    await client.receive('a reply', (text) => text.endsWith(`/public/crowd/${i}`))
    client.close()
  }
}

/** One request after the other. */
async function makeQuiet(): Promise<void> {
  const client = await connect(gateway.url)
  for (let i = 0; i < crowd; i++) {
    client.write(writeRequest(`GET /public/quiet/${i}`))
    await client.receive('a reply', (text) => text.endsWith(`/public/quiet/${i}`))
  }
  client.close()
}

/** What is done meanwhile is all there when the gateway goes on. */
async function stopped(act: () => void): Promise<void> {
  gateway.signal('SIGSTOP')
  act()
  // Loopback has delivered when the writes of this turn are done; ends and resets come in the next one.
  await new Promise((resolve) => setTimeout(resolve, 50))
  gateway.signal('SIGCONT')
}

/** The bodies of the replies so far, in their order. */
function bodies(received: string): string[] {
  const found: string[] = []
  let rest = received
  for (let bytes = wholeReplyBytes(rest); bytes !== undefined; bytes = wholeReplyBytes(rest)) {
    const reply = rest.slice(0, bytes)
    found.push(reply.slice(reply.indexOf('\r\n\r\n') + 4))
    rest = rest.slice(bytes)
  }
  return found
}

function statusOf(received: string): string | undefined {
  return /^HTTP\/1\.1 (\d+) /.exec(received)?.[1]
}

type Client = { readonly path: string; readonly connection: Connection }

/** Kinds in turn, so that none of them is always the first. */
async function clientsOf(
  kinds: readonly string[],
): Promise<readonly (Client & { kind: string })[]> {
  const names = Array.from({ length: ofEachKind }, (_, i) =>
    kinds.map((kind) => ({ kind, i })),
  ).flat()
  return Promise.all(
    names.map(async ({ kind, i }) => {
      const connection = await connect(gateway.url)
      t.teardown(() => connection.close())
      return { kind, path: `/public/${kind}/${i}`, connection }
    }),
  )
}

for (const [sentence, isCrowd] of [
  ['one by one', false],
  ['in a crowd', true],
] as const) {
  const atOnce = async (act: () => void): Promise<void> => {
    await (isCrowd ? makeCrowd() : makeQuiet())
    await stopped(act)
  }

  t.test(
    `requests that are ready at once get their own replies, in every order, ${sentence}`,
    async (t) => {
      const send: Readonly<Record<string, (client: Client) => void>> = {
        plain: ({ connection, path }) => connection.write(writeRequest(`GET ${path}`)),
        ahead: ({ connection, path }) =>
          connection.write(writeRequest(`GET ${path}`) + writeRequest(`GET ${path}/next`)),
        body: ({ connection, path }) =>
          connection.write(`${writeRequest(`POST ${path}`, ['Content-Length: 4'])}body`),
        part: ({ connection, path }) => connection.write(writeRequest(`GET ${path}`).slice(0, 12)),
        bad: ({ connection, path }) => connection.write(`GET ${path} HTTP/1.1\r\nHost : a\r\n\r\n`),
        left: ({ connection, path }) => {
          connection.write(writeRequest(`GET ${path}`))
          connection.socket.end()
        },
        cut: ({ connection, path }) => {
          connection.write(writeRequest(`GET ${path}`))
          connection.socket.resetAndDestroy()
        },
      }
      const clients = await clientsOf(Object.keys(send))
      await atOnce(() => {
        for (const client of clients) send[client.kind]?.(client)
      })
      for (const { kind, path, connection } of clients) {
        if (kind === 'part') connection.write(writeRequest(`GET ${path}`).slice(12))
        const expected: Record<string, string[]> = {
          ahead: [path, `${path}/next`],
          bad: [],
          left: [],
          cut: [],
        }
        if (kind === 'bad') {
          t.equal(statusOf(await connection.receiveAll()), '400', path)
        } else if (kind === 'left' || kind === 'cut') {
          await connection.receiveAll()
        } else {
          const wanted = expected[kind] ?? [path]
          const received = await connection.receive(
            `the reply to ${path}`,
            (text) => bodies(text).length === wanted.length,
          )
          t.strictSame(bodies(received), wanted)
        }
      }
    },
  )

  t.test(`replies that are ready at once reach their own clients, ${sentence}`, async (t) => {
    const kinds: Readonly<Record<string, (socket: Socket, path: string) => void>> = {
      whole: (socket, path) => socket.write(whole(path)),
      extra: (socket, path) => socket.write(whole(path) + whole('forged')),
      early: (socket, path) =>
        socket.write(`HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n${whole(path)}`),
      chunked: (socket, path) =>
        socket.write(
          `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${path.length.toString(16)}\r\n${path}\r\n0\r\n\r\n`,
        ),
      closing: (socket, path) =>
        socket.end(whole(path).replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')),
      unframed: (socket, path) => socket.end(`HTTP/1.1 200 OK\r\n\r\n${path}`),
      large: (socket, path) => socket.write(whole(path + 'x'.repeat(100_000))),
      part: (socket, path) => socket.write(whole(path).slice(0, 20)),
      short: (socket, path) => socket.end(whole(path).slice(0, -3)),
      garbage: (socket) => socket.end('HELLO\r\n\r\n'),
    }
    const clients = await clientsOf(Object.keys(kinds))
    waiting.clear()
    holds = true
    for (const { connection, path } of clients) connection.write(writeRequest(`GET ${path}`))
    await until('all requests came', () => waiting.size === clients.length || undefined)
    holds = false
    await atOnce(() => {
      for (const { kind, path } of clients) kinds[kind]?.(waiting.get(path) as Socket, path)
    })
    for (const { kind, path, connection } of clients) {
      if (kind === 'part') waiting.get(path)?.write(whole(path).slice(20))
      const received = await connection
        .receive(
          `the reply to ${path}`,
          (text) => wholeReplyBytes(text) !== undefined || connection.closed(),
        )
        .catch(() => connection.received())
      switch (kind) {
        case 'garbage':
          t.equal(statusOf(received), '502', path)
          break
        case 'short':
          t.equal(wholeReplyBytes(received), undefined, path)
          break
        case 'unframed':
        case 'chunked':
          t.match(received, `\r\n${path}\r\n0\r\n\r\n`)
          break
        case 'large':
          t.ok(received.endsWith(`\r\n\r\n${path}${'x'.repeat(100_000)}`), path)
          break
        default:
          t.ok(received.endsWith(`\r\n\r\n${path}`), path)
      }
      t.notMatch(received, 'forged')
    }
    // Nobody gets what was left over.
    for (const { kind, path, connection } of clients) {
      if (kind === 'short') continue
      const before = connection.received().length
      connection.write(writeRequest(`GET ${path}/next`))
      const all = await connection.receive(`the next reply of ${path}`, (text) => {
        return wholeReplyBytes(text.slice(before)) !== undefined
      })
      t.ok(all.slice(before).endsWith(`\r\n\r\n${path}/next`), path)
    }
  })
}

for (const [sentence, before] of [
  ['alone', ''],
  ['behind a plain request', writeRequest('GET /public/first')],
] as const) {
  t.test(`a large body that is ready with its head arrives in order, ${sentence}`, async (t) => {
    for (let round = 0; round < 5; round++) {
      const body = randomBytes(3 * 2 ** 20)
      const length = `Content-Length: ${body.length}`
      const connection = await connect(gateway.url)
      t.teardown(() => connection.close())
      await stopped(() => {
        const head = before + writeRequest('PUT /public/large', [length])
        connection.write(Buffer.concat([Buffer.from(head), body.subarray(0, readyBytes)]))
      })
      connection.write(body.subarray(readyBytes))
      const sha256 = createHash('sha256').update(body).digest('hex')
      const expected = before === '' ? [sha256] : ['/public/first', sha256]
      const received = await connection.receive('the replies', (text) => {
        return bodies(text).length === expected.length
      })
      t.strictSame(bodies(received), expected)
      connection.close()
    }
  })
}

t.test(
  'a large body that is sent ahead, while a plain request is served, arrives in order',
  async (t) => {
    for (let round = 0; round < 5; round++) {
      const body = randomBytes(3 * 2 ** 20)
      const connection = await connect(gateway.url)
      t.teardown(() => connection.close())
      holds = true
      connection.write(writeRequest('GET /public/held'))
      const held = await until('the request is served', () => waiting.get('/public/held'))
      waiting.clear()
      holds = false
      const head = writeRequest('PUT /public/large', [`Content-Length: ${body.length}`])
      connection.write(Buffer.concat([Buffer.from(head), body.subarray(0, readyBytes)]))
      await new Promise((resolve) => setTimeout(resolve, 50))
      held.write(whole('held'))
      connection.write(body.subarray(readyBytes))
      const sha256 = createHash('sha256').update(body).digest('hex')
      const received = await connection.receive('the replies', (text) => bodies(text).length === 2)
      t.strictSame(bodies(received), ['held', sha256])
      connection.close()
    }
  },
)
