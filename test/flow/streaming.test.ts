// Bodies on their way through the gateway: memory for one transfer does not grow with its size, the reader's
// pace is the sender's pace, and when one side leaves the other side hears of it at once.

import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import http, { type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { mustRun } from '../servers/command.ts'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import { type Hose, startHose } from '../servers/hose.ts'
import { type Connection, connect, send, wholeReplyBytes } from '../servers/raw-client.ts'
import { until } from '../servers/ready.ts'
import { type Recorder, type Script, startRecorder } from '../servers/recorder.ts'

const mebibyte = 2 ** 20
const transferBytes = 2 * 2 ** 30
const offeredBytes = 2 ** 30
/** What a transfer of any size may add to the gateway's memory. */
const growthBytesMax = 64 * mebibyte
/** Sockets' buffers on the way, in all: what is beyond was taken without being asked for. */
const buffersBytesMax = 96 * mebibyte
/** What passes once the slow side reads on shows that nothing hangs. */
const resumedBytes = 128 * mebibyte
/** How soon one side hears that the other has left. */
const noticeMs = 1_000
const abortedRequests = 1_000
const abortedAtOnce = 50
/** A sender that got rid of nothing for so long is held back. */
const standstillMs = 400

const api: Recorder = await startRecorder()
const hose: Hose = await startHose()
const gateway: Gateway = await startGateway({
  upstreams: { api: { url: api.url }, hose: { url: hose.url } },
  routes: [
    {
      path: '/api/{rest...}',
      upstream: 'api',
      methodOverride: 'ignored',
      allow: { '*': 'public' },
    },
    {
      path: '/hose/{rest...}',
      upstream: 'hose',
      methodOverride: 'ignored',
      allow: { '*': 'public' },
    },
  ],
})
t.teardown(async () => {
  await gateway.stop()
  await api.stop()
  await hose.stop()
})

function memoryOf(name: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync(`/proc/${gateway.pid}/status`, 'latin1')
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024
}

/** So that what a first request loads is not taken for growth. */
async function warmUp(): Promise<void> {
  await send(gateway.url, 'GET /hose/100000 HTTP/1.1\r\nHost: a\r\n\r\n')
  await send(gateway.url, 'POST /hose/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nwords')
}

/** Returns a check that the gateway's memory has at no time since been larger than a transfer may make it. */
async function watchMemory(): Promise<(t: Test) => void> {
  await warmUp()
  const before = memoryOf('VmRSS')
  // Sets the peak to what is in use now (proc_pid_clear_refs(5)).
  writeFileSync(`/proc/${gateway.pid}/clear_refs`, '5')
  return (t) => {
    const growth = memoryOf('VmHWM') - before
    t.ok(growth < growthBytesMax, `grown by ${(growth / mebibyte).toFixed(1)} MiB`)
  }
}

/** Resolves with the number once it has not moved for a while. */
function standstill(what: string, read: () => number): Promise<number> {
  let last = read()
  let since = performance.now()
  return until(`${what} stands still`, () => {
    const now = read()
    if (now !== last) since = performance.now()
    last = now
    return performance.now() - since > standstillMs ? now : undefined
  })
}

/** A client that asks for much, has read the beginning, and reads nothing more for now. */
async function downloading(target: string): Promise<Connection & { readonly taken: number }> {
  const client = await connect(gateway.url)
  client.socket.removeAllListeners('data')
  client.write(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`)
  const [first] = (await once(client.socket, 'data')) as [Buffer]
  client.socket.pause()
  return { ...client, taken: first.length }
}

t.test('2 GiB down leave the gateway as small as it was', async (t) => {
  const checkMemory = await watchMemory()
  const url = `${gateway.url}/hose/${transferBytes}`
  const got = await mustRun('curl', ['-sS', '-o', '/dev/null', '-w', '%{size_download}', url])
  t.equal(Number(got), transferBytes)
  checkMemory(t)
})

t.test('2 GiB up leave the gateway as small as it was', async (t) => {
  const checkMemory = await watchMemory()
  const file = join(gateway.folder, 'zeros')
  writeFileSync(file, '')
  truncateSync(file, transferBytes)
  const before = hose.received
  const url = `${gateway.url}/hose/`
  const code = await mustRun('curl', [
    ...['-sS', '-X', 'POST', '-T', file, '-H', 'Expect:', '-w', '%{http_code}', url],
  ])
  t.equal(code, '200')
  t.equal(hose.received - before, transferBytes)
  checkMemory(t)
})

t.test('A reader that takes nothing of 1 GiB stops the upstream, until it reads on', async (t) => {
  const checkMemory = await watchMemory()
  const before = hose.sent
  const client = await downloading(`/hose/${offeredBytes}`)
  t.teardown(() => client.close())
  const sent = (await standstill('the upstream', () => hose.sent)) - before
  t.ok(sent < buffersBytesMax, `the upstream got rid of ${sent} bytes`)
  checkMemory(t)
  let bytes = client.taken
  client.socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  client.socket.resume()
  await until('much more', () => bytes > sent + resumedBytes || undefined)
  checkMemory(t)
})

t.test('An upstream that takes nothing of 1 GiB stops the client, until it reads on', async (t) => {
  const checkMemory = await watchMemory()
  const client = await connect(gateway.url)
  t.teardown(() => client.close())
  hose.reading(false)
  t.teardown(() => hose.reading(true))
  const before = hose.received
  client.write(`POST /hose/ HTTP/1.1\r\nHost: a\r\nContent-Length: ${offeredBytes}\r\n\r\n`)
  const block = Buffer.alloc(mebibyte)
  let sent = 0
  const pour = (): void => {
    while (sent < offeredBytes) {
      sent += block.length
      if (!client.socket.write(block)) return
    }
  }
  client.socket.on('drain', pour)
  pour()
  const held = await standstill('the client', () => sent)
  t.ok(held < buffersBytesMax, `the client got rid of ${held} bytes`)
  checkMemory(t)
  hose.reading(true)
  await until('much more', () => hose.received - before > held + resumedBytes || undefined)
  checkMemory(t)
})

t.test('A body arrives byte for byte, each way', async (t) => {
  const body = randomBytes(24 * mebibyte + 7)
  const sha256 = createHash('sha256').update(body).digest('hex')
  api.respond(() => ({ body }))
  t.teardown(() => api.respond(() => undefined))
  const reply = await fetch(`${gateway.url}/api/both`, { method: 'PUT', body })
  const back = Buffer.from(await reply.arrayBuffer())
  t.equal(createHash('sha256').update(back).digest('hex'), sha256)
  const seen = await api.request('the upload', ({ target }) => target === '/api/both')
  t.equal(seen.bodySha256, sha256)
  t.same(seen.values('content-length'), [String(body.length)])
})

t.test(
  'Bodies at once arrive byte for byte where their server reads by fits and starts',
  async (t) => {
    const bodyBytes = 8 * mebibyte + 5
    let goes = true
    const fits = setInterval(() => {
      goes = !goes
      api.reading(goes)
    }, 15)
    t.teardown(() => {
      clearInterval(fits)
      api.reading(true)
    })
    const put = async (target: string, isChunked: boolean): Promise<void> => {
      const body = randomBytes(bodyBytes)
      const client = await connect(gateway.url)
      const framing = isChunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${bodyBytes}`
      client.write(`PUT ${target} HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n`)
      if (isChunked) {
        for (const piece of piecesOf(body)) {
          client.write(`${piece.length.toString(16)}\r\n`)
          client.write(piece)
          client.write('\r\n')
        }
        client.write('0\r\n\r\n')
      } else {
        client.write(body)
      }
      // The last read of a body has the next request in it.
      client.write(`GET ${target}/behind HTTP/1.1\r\nHost: a\r\n\r\n`)
      await until(`both replies of ${target}`, () => {
        if (client.closed()) throw new Error(`${target}: closed after ${client.received()}`)
        return client.received().split('HTTP/1.1 200 ').length === 3 || undefined
      })
      client.close()
      const seen = await api.request(target, (request) => request.target === target)
      t.equal(seen.bodySha256, createHash('sha256').update(body).digest('hex'), target)
    }
    // Some begin while nothing is read, when the last part of another may be on its way.
    const all: Promise<void>[] = []
    for (let number = 1; number <= 40; number++) {
      all.push(put(`/api/fits-${number}`, number % 2 === 0))
      await wait(3)
    }
    await Promise.all(all)
  },
)

/** Many of them are read at once. */
function piecesOf(body: Buffer): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0; at < body.length; at += 30_000) pieces.push(body.subarray(at, at + 30_000))
  return pieces
}

t.test('So do replies whose clients read by fits and starts', async (t) => {
  const bodies = new Map<string, Buffer>()
  api.respond(({ target }) => {
    const body = bodies.get(target) ?? 'small'
    return target.endsWith('chunked') ? { chunks: piecesOf(body as Buffer) } : { body }
  })
  const open = new Set<IncomingMessage>()
  let goes = true
  const fits = setInterval(() => {
    goes = !goes
    for (const reply of open) goes ? reply.resume() : reply.pause()
  }, 15)
  t.teardown(() => {
    clearInterval(fits)
    api.respond(() => undefined)
  })
  const get = async (target: string): Promise<void> => {
    const body = randomBytes(8 * mebibyte + 5)
    bodies.set(target, body)
    const asked = http.get(`${gateway.url}${target}`, { agent: false })
    const [reply] = (await once(asked, 'response')) as [IncomingMessage]
    const hash = createHash('sha256')
    reply.on('data', (chunk: Buffer) => hash.update(chunk))
    open.add(reply)
    await once(reply, 'end')
    open.delete(reply)
    bodies.delete(target)
    t.equal(hash.digest('hex'), createHash('sha256').update(body).digest('hex'), target)
  }
  const all: Promise<void>[] = []
  for (let number = 1; number <= 40; number++) {
    all.push(get(`/api/fits-${number}${number % 4 === 0 ? 'chunked' : ''}`))
    // Takes a connection to the server that a long reply may just have left.
    const small = await fetch(`${gateway.url}/api/small`)
    t.equal(await small.text(), 'small')
    await wait(3)
  }
  await Promise.all(all)
})

t.test('An upload of unknown length stays chunked, and so does a reply', async (t) => {
  api.respond(() => ({ chunks: ['one ', 'two ', 'three'] }))
  t.teardown(() => api.respond(() => undefined))
  const head = 'POST /api/chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n'
  const reply = await send(gateway.url, `${head}5\r\nwords\r\n0\r\n\r\n`)
  t.match(reply, /^HTTP\/1\.1 200 OK\r\n/)
  t.match(reply, /\r\nTransfer-Encoding: chunked\r\n/i)
  t.match(reply, /one .*two .*three.*0\r\n\r\n$/s)
  const seen = await api.request('the upload', ({ target }) => target === '/api/chunked')
  t.same([seen.values('content-length'), seen.values('transfer-encoding')], [[], ['chunked']])
  t.equal(seen.body.toString(), 'words')
})

t.test('What the client has sent of a body is sent on before the rest comes', async (t) => {
  const client = await connect(gateway.url)
  t.teardown(() => client.close())
  client.write('PUT /api/parts HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst')
  const seen = await api.request('the first part', ({ target, bodyBytes }) => {
    return target === '/api/parts' && bodyBytes === 5
  })
  t.equal(seen.state, 'reading')
  client.write('other')
  await client.receive('the reply', (text) => text.includes('"bodyBytes":10'))
})

t.test('Each event of a stream is passed on before the next one comes', async (t) => {
  const next = [Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const
  api.respond(() => ({ fields: ['Content-Type', 'text/event-stream'], chunks: events() }))
  t.teardown(() => api.respond(() => undefined))
  async function* events(): AsyncGenerator<string> {
    await next[0].promise
    yield 'data: 1\n\n'
    await next[1].promise
    yield 'data: 2\n\n'
  }
  const client = await connect(gateway.url)
  t.teardown(() => client.close())
  client.write('GET /api/events HTTP/1.1\r\nHost: a\r\n\r\n')
  const head = await client.receive('the head', (text) => text.includes('\r\n\r\n'))
  t.match(head, /^HTTP\/1\.1 200 .*\r\nContent-Type: text\/event-stream\r\n/s)
  t.notMatch(head, /data/)
  next[0].resolve()
  t.notMatch(await client.receive('an event', (text) => text.includes('data: 1')), /data: 2/)
  next[1].resolve()
  await client.receive('the end', (text) => text.endsWith('data: 2\n\n\r\n0\r\n\r\n'))
})

/** How long it takes until the condition holds, from now. */
async function elapsedMs(what: string, condition: () => boolean): Promise<number> {
  const start = performance.now()
  await until(what, () => condition() || undefined)
  return performance.now() - start
}

t.test('A client that leaves a download ends it at the upstream within a second', async (t) => {
  const client = await downloading(`/hose/${transferBytes}`)
  const { open } = hose
  client.close()
  t.ok((await elapsedMs('the upstream is left', () => hose.open < open)) < noticeMs)
})

t.test('A client that leaves an upload ends it at the upstream within a second', async (t) => {
  const client = await connect(gateway.url)
  client.write('POST /api/left HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nwords')
  const seen = await api.request('the upload', ({ target, bodyBytes }) => {
    return target === '/api/left' && bodyBytes === 5
  })
  client.close()
  t.ok((await elapsedMs('the upload is cut', () => seen.state === 'cut')) < noticeMs)
})

t.test('A client that leaves before the reply ends its request within a second', async (t) => {
  const client = await connect(gateway.url)
  const { requests } = hose
  client.write('GET /hose/silence HTTP/1.1\r\nHost: a\r\n\r\n')
  await until('the request', () => hose.requests > requests || undefined)
  const { open } = hose
  client.close()
  t.ok((await elapsedMs('the upstream is left', () => hose.open < open)) < noticeMs)
})

const part = 'HTTP/1.1 200 OK\r\n'
for (const [sentence, script] of [
  ['ends a body of known length early', { body: 'part', ending: 'close' }],
  ['resets in a body of known length', { body: 'part', ending: 'reset' }],
  ['ends a chunked body early', { chunks: ['part'], ending: 'close' }],
  ['resets in a chunked body', { chunks: ['part'], ending: 'reset' }],
  [
    'ends in the middle of a chunk',
    { raw: `${part}Transfer-Encoding: chunked\r\n\r\n9\r\npart`, ending: 'close' },
  ],
  ['sends a bad chunk', { raw: `${part}Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\nx\r\n` }],
  ['resets in a body that ends with the connection', { raw: `${part}\r\npart`, ending: 'reset' }],
] as [string, Script][]) {
  for (const version of ['1.1', '1.0']) {
    t.test(
      `To an HTTP/${version} client, an upstream that ${sentence} is an error at once`,
      async (t) => {
        api.respond(() => script)
        t.teardown(() => api.respond(() => undefined))
        const start = performance.now()
        const client = await connect(gateway.url)
        client.write(`GET /api/broken HTTP/${version}\r\nHost: a\r\n\r\n`)
        const reply = await client.receiveAll()
        t.ok(performance.now() - start < noticeMs)
        t.equal(wholeReplyBytes(reply), undefined, 'the reply is not whole')
        // Where the end of the connection is the end of the body, only a reset tells.
        const known = /\r\n(content-length|transfer-encoding):/i.test(reply)
        if (!known) t.equal(client.ending(), 'cut')
      },
    )
  }
}

t.test('An upstream that dies during an upload is a 502 at once', async (t) => {
  api.respond(() => ({ raw: '', ending: 'reset' }), 'head')
  t.teardown(() => api.respond(() => undefined))
  const start = performance.now()
  const client = await connect(gateway.url)
  t.teardown(() => client.close())
  client.write('POST /api/dying HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nwords')
  const reply = await client.receive('a reply', (text) => text.includes('upstream_unreachable'))
  t.ok(performance.now() - start < noticeMs)
  t.match(reply, /^HTTP\/1\.1 502 /)
  t.match(reply, /\r\nConnection: close\r\n/i)
})

const abortedHeads = [
  `GET /hose/${offeredBytes} HTTP/1.1\r\nHost: a\r\n\r\n`,
  'GET /hose/silence HTTP/1.1\r\nHost: a\r\n\r\n',
  'POST /hose/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nwords',
]

t.test('1,000 requests that their clients leave, at every stage, leave nothing open', async (t) => {
  await warmUp()
  const descriptors = (): number => readdirSync(`/proc/${gateway.pid}/fd`).length
  const before = { gateway: descriptors(), upstream: hose.open }
  for (let left = abortedRequests; left > 0; left -= abortedAtOnce) {
    const expected = hose.requests + abortedAtOnce
    const clients: Connection[] = []
    for (let index = 0; index < abortedAtOnce; index++) {
      const client = await connect(gateway.url)
      client.socket.pause()
      client.write(abortedHeads[index % abortedHeads.length] as string)
      clients.push(client)
    }
    await until('the upstream has them all', () => hose.requests === expected || undefined)
    for (const client of clients) client.close()
  }
  await until('all are closed', () => descriptors() <= before.gateway || undefined)
  // Its own side of the connections closes a moment later.
  await until('the upstream has none left', () => hose.open <= before.upstream || undefined)
  t.pass()
})
