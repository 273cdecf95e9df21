// `server.workers`: several processes on one port, as operators and clients see them. Every gateway here is
// a primary process with workers of its own, told what to do by signals.

import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { fitted, sharedPieceBytesMax } from '../../gateway/telemetry/whole-lines.ts'
import { combineChecks } from '../../gateway/workers/combine-checks.ts'
import { pickPorts } from '../../gateway/workers/ports.ts'
import {
  RestartDelay,
  restartDelayMaxMs,
  restartDelayMinMs,
  steadyMs,
} from '../../gateway/workers/restart-delay.ts'
import { type Finished, run } from '../servers/command.ts'
import { type Gateway, type LogLine, projectFolder, startGateway } from '../servers/gateway.ts'
import {
  makeFolder,
  plainEnvironment,
  removeFolder,
  signalGroup,
  startServer,
} from '../servers/lifetime.ts'
import { type Connection, connect, wholeReplyBytes } from '../servers/raw-client.ts'
import { freePort, until } from '../servers/ready.ts'
import { type Recorder, startRecorder } from '../servers/recorder.ts'

const cli = join(projectFolder, 'gateway', 'main.js')
/** A running gateway sees a change of a token within so long. */
const changeMs = 1_000
/** Connections spread by chance: so many reach both of two workers. */
const connectionsMax = 200
/** Of so many, less than an eighth goes to one of two workers once in ten thousand million times. */
const spreadConnections = 64
/** What one worker has ahead of the other to take them. */
const aheadMs = 200

const api: Recorder = await startRecorder()
t.teardown(() => api.stop())

const configuration = {
  server: { workers: 2 },
  upstreams: { api: { url: api.url } },
  scopes: { 'api:use': 'Use the API' },
  routes: [{ name: 'api', path: '/api/{rest...}', upstream: 'api', allow: 'api:use' }],
}

/** Runs throughout, for all that needs no gateway of its own. */
const shared: Gateway = await startGateway({
  ...configuration,
  listen: [{ port: 0 }, { host: '0.0.0.0', port: 0 }],
})
t.teardown(() => shared.stop())

/** A gateway of two workers for one test. */
async function start(t: Test, changes: object = {}): Promise<Gateway> {
  const gateway = await startGateway({ ...configuration, ...changes })
  // Where the test has not ended it.
  t.teardown(() => gateway.stop().catch(() => {}))
  return gateway
}

function token(gateway: Gateway): Promise<string> {
  return gateway.token('--subject', 'ada', '--scope', 'api:use')
}

/** The process that works as this number now. */
function pidOf(gateway: Gateway, worker: number): number {
  const lines = gateway.log().filter((line) => accepts(line) && line.worker === worker)
  return Number(lines.at(-1)?.pid)
}

function accepts({ msg }: LogLine): boolean {
  return msg === 'a worker accepts connections'
}

async function status(url: string, token?: string): Promise<number> {
  const headers: Record<string, string> = token === undefined ? {} : { 'OSF-TOKEN': token }
  const reply = await fetch(url, { headers })
  await reply.arrayBuffer()
  return reply.status
}

/** A request on a kept-alive connection: the whole reply. */
async function ask(
  connection: Connection,
  secret: string,
  id: string,
  path = '/api/x',
): Promise<string> {
  const before = connection.received().length
  const fields = `Host: a\r\nX-Request-Id: ${id}\r\nOSF-TOKEN: ${secret}`
  connection.write(`GET ${path} HTTP/1.1\r\n${fields}\r\n\r\n`)
  const all = await connection.receive(`the reply to ${id}`, (text) => {
    return wholeReplyBytes(text.slice(before)) !== undefined
  })
  return all.slice(before)
}

let asked = 0

/** A connection to each of the two workers, by number, on which a request was served. */
async function connectBoth(
  t: Test,
  gateway: Gateway,
  secret: string,
): Promise<Map<number, Connection>> {
  const found = new Map<number, Connection>()
  for (let count = 1; found.size < 2 && count <= connectionsMax; count++) {
    const connection = await connect(gateway.url)
    t.teardown(() => connection.close())
    asked += 1
    const id = `both-${asked}`
    await ask(connection, secret, id)
    const { worker } = await gateway.logged(id, ({ requestId }) => requestId === id)
    found.set(Number(worker), connection)
  }
  if (found.size < 2) throw new Error(`${connectionsMax} connections went to one worker`)
  return found
}

async function sample(gateway: Gateway, name: string): Promise<number> {
  const page = await (await fetch(`${gateway.managementUrl}/metrics`)).text()
  const line = page.split('\n').find((line) => line.startsWith(`${name} `))
  return Number(line?.slice(name.length + 1) ?? Number.NaN)
}

/** The end of a `serve` that cannot start. */
async function served(t: Test, changes: object, args: string[] = []): Promise<Finished> {
  const folder = makeFolder('workers')
  t.teardown(() => removeFolder(folder))
  const file = join(folder, 'gateway.yaml')
  const defaults = { version: 1, listen: { port: 0 }, management: 'off' }
  writeFileSync(file, JSON.stringify({ ...defaults, ...configuration, ...changes }))
  return run(process.execPath, [cli, 'serve', '--config', file, ...args], { cwd: folder })
}

t.test('A listener is told of once, and only when every worker accepts', async (t) => {
  const gateway = shared
  t.equal(await status(`${gateway.managementUrl}/readyz`), 200)
  const told = gateway.log().map((line) => {
    if (accepts(line)) return 'accepts'
    return line.management === true ? 'management' : line.msg
  })
  t.same(told, ['management', 'accepts', 'accepts', 'listening', 'listening'])
  const urls = gateway.log().filter(({ msg, management }) => msg === 'listening' && !management)
  t.equal(new Set(urls.map(({ url }) => url)).size, 2, 'each listener has a port of its own')
  for (const { url } of urls) t.equal(await status(`${url}/api/`), 401)
})

t.test('It is not ready before that', async (t) => {
  const folder = makeFolder('workers')
  const file = join(folder, 'gateway.yaml')
  const ports = { listen: { port: 0 }, management: { port: 0 } }
  writeFileSync(file, JSON.stringify({ version: 1, ...ports, ...configuration }))
  const server = await startServer(process.execPath, [cli, 'serve', '--config', file], {
    env: plainEnvironment({ HOME: folder }),
  })
  t.teardown(async () => {
    await server.stop()
    removeFolder(folder)
  })
  const management = await until('the management listener', () => {
    return /"url":"([^"]+)","management":true/.exec(server.output())?.[1]
  })
  // A worker has yet to load all of the gateway.
  t.equal(await status(`${management}/readyz`), 503)
  t.equal(await status(`${management}/livez`), 200)
  t.notMatch(server.output(), 'a worker accepts connections')
  await until('ready', async () => (await status(`${management}/readyz`)) === 200 || undefined)
})

t.test('Both workers serve, and a revocation reaches both within a second', async (t) => {
  const gateway = shared
  const args = ['token', 'create', '--subject', 'ada', '--scope', 'api:use', '--json']
  const { token, id } = JSON.parse((await gateway.command(...args)).stdout)
  const both = await connectBoth(t, gateway, token)
  t.same([...both.keys()].sort(), [1, 2])
  for (const connection of both.values()) t.match(await ask(connection, token, 'before'), / 200 /)
  t.equal((await gateway.command('token', 'revoke', id)).code, 0)
  const revokedAt = performance.now()
  for (const [worker, connection] of both) {
    await until(`worker ${worker} refuses`, async () => {
      return (await ask(connection, token, 'after')).startsWith('HTTP/1.1 401 ') || undefined
    })
    const elapsed = performance.now() - revokedAt
    t.ok(elapsed < changeMs, `worker ${worker} after ${elapsed} ms`)
  }
})

t.test(
  'Connections are spread evenly, whichever worker is the first to wake',
  { skip: process.platform !== 'linux' && 'the first to wake takes them elsewhere' },
  async (t) => {
    const late = pidOf(shared, 1)
    process.kill(late, 'SIGSTOP')
    const connecting = Array.from({ length: spreadConnections }, () => connect(shared.url))
    const connections = await Promise.all(connecting)
    // The other has taken by then what it can take.
    await sleep(aheadMs)
    process.kill(late, 'SIGCONT')
    t.teardown(() => connections.map((connection) => connection.close()))
    const count = new Map([
      [1, 0],
      [2, 0],
    ])
    for (const [i, connection] of connections.entries()) {
      await ask(connection, '', `spread-${i}`)
      const { worker } = await shared.logged('a request', (line) => {
        return line.requestId === `spread-${i}`
      })
      count.set(Number(worker), count.get(Number(worker))! + 1)
    }
    for (const [worker, of] of count) t.ok(of >= spreadConnections / 8, `${of} of ${worker}`)
  },
)

t.test('A worker that is killed is replaced; requests and counters go on', async (t) => {
  const gateway = shared
  const secret = await token(gateway)
  const both = await connectBoth(t, gateway, secret)
  const permits = 'scopegate_decisions_total{route="api",outcome="permit",reason="permitted"}'
  const connections = gateway.log().filter(({ outcome }) => outcome === 'permit').length
  t.equal(await sample(gateway, permits), connections, 'one sum over both')
  t.equal(await sample(gateway, 'scopegate_build_info{version="0.1.0"}'), 1, 'no sum')
  t.equal(await sample(gateway, 'scopegate_dependency_up{name="authority"}'), 1, 'no sum')

  const killed = pidOf(gateway, 1)
  process.kill(killed, 'SIGKILL')
  const death = await gateway.logged('the death', ({ signal }) => signal === 'SIGKILL')
  t.match(death, { level: 'error', worker: 1, pid: killed, exitCode: null })
  t.equal(await sample(gateway, permits), connections, 'what it counted is kept')
  t.match(await ask(both.get(2) as Connection, secret, 'other'), / 200 /)
  t.equal(await status(`${gateway.url}/api/x`, secret), 200, 'new connections are served')
  await gateway.logged('a replacement', (line) => {
    return accepts(line) && line.worker === 1 && line.pid !== killed
  })
  t.same([...(await connectBoth(t, gateway, secret)).keys()].sort(), [1, 2])
  t.ok((await sample(gateway, permits)) > connections)
  t.equal(await sample(gateway, 'scopegate_workers_died_total'), 1)
  t.equal(await sample(gateway, 'scopegate_workers'), 2)
  t.equal(await status(`${gateway.managementUrl}/readyz`), 200)
})

t.test('When all workers are killed at once, the port that was picked stays', async (t) => {
  const gateway = shared
  const secret = await token(gateway)
  const before = gateway.log().filter(accepts).length
  for (const pid of [pidOf(gateway, 1), pidOf(gateway, 2)]) process.kill(pid, 'SIGKILL')
  await until('both are replaced', () => {
    return gateway.log().filter(accepts).length === before + 2 || undefined
  })
  t.same([...(await connectBoth(t, gateway, secret)).keys()].sort(), [1, 2])
})

t.test('`/readyz?verbose` tells of every part, and of the workers', async (t) => {
  const gateway = shared
  const secret = await token(gateway)
  await connectBoth(t, gateway, secret)
  const verbose = await (await fetch(`${gateway.managementUrl}/readyz?verbose`)).text()
  t.equal(verbose, 'configuration: ok\nauthority: ok\nupstream api: ok\nworkers: ok\nready\n')
})

for (const [sentence, signal] of [
  ['SIGTERM to the primary', (gateway: Gateway) => gateway.signal('SIGTERM')],
  ['Ctrl-C, which every process gets,', (gateway: Gateway) => signalGroup(gateway.pid, 'SIGINT')],
] as const) {
  t.test(`${sentence} drains every worker and loses no request`, async (t) => {
    const gateway = await start(t, {
      server: { workers: 2, drain: { delay: '1s', timeout: '20s' } },
    })
    const secret = await token(gateway)
    const { promise: released, resolve: release } = Promise.withResolvers<void>()
    const waiting = await connectBoth(t, gateway, secret)
    const busy = await connectBoth(t, gateway, secret)
    api.respond(({ target }) => (target === '/api/held' ? { chunks: held(released) } : undefined))
    const replies = [...waiting.values()].map((connection) => {
      return ask(connection, secret, 'held', '/api/held')
    })
    for (const connection of waiting.values()) {
      await connection.receive('the beginning', (text) => text.includes('begun'))
    }
    const busyEnds = [...busy.values()].map((connection) => askUntilClosing(connection, secret))
    signal(gateway)
    await until('unready', async () => {
      return (await status(`${gateway.managementUrl}/readyz`)) === 503 || undefined
    })
    t.equal(await status(`${gateway.url}/api/x`, secret), 200, 'new connections are served')
    await until('new connections are refused', () => refuses(gateway.url))
    release()
    for (const reply of await Promise.all(replies)) {
      t.match(reply, /^HTTP\/1\.1 200 .*begun.*done/s)
    }
    for (const statuses of await Promise.all(busyEnds)) t.same([...statuses], ['200'])
    t.same(await gateway.exited, { code: 0, signal: null })
    t.match(gateway.log().at(-1), { msg: 'stopped' })
    const { stdout } = await gateway.command('token', 'list', '--json')
    t.match(JSON.parse(stdout), [{ lastUsedAt: String }], 'last use is written')
    api.respond(() => undefined)
  })
}

t.test('A second signal ends all processes at once', async (t) => {
  const gateway = await start(t)
  const secret = await token(gateway)
  const { promise: never } = Promise.withResolvers<void>()
  api.respond(() => ({ chunks: held(never) }))
  const connection = await connect(gateway.url)
  connection.write(`GET /api/held HTTP/1.1\r\nHost: a\r\nOSF-TOKEN: ${secret}\r\n\r\n`)
  await connection.receive('the beginning', (text) => text.includes('begun'))
  api.respond(() => undefined)
  gateway.signal('SIGTERM')
  await gateway.logged('draining', ({ msg }) => msg === 'draining')
  gateway.signal('SIGTERM')
  // Resolves when no process has its output any more.
  t.match(await gateway.exited, { code: 1 })
  connection.close()
})

t.test('SIGTERM while the workers start ends them, and the exit is 0', async (t) => {
  const folder = makeFolder('workers')
  t.teardown(() => removeFolder(folder))
  const file = join(folder, 'gateway.yaml')
  const ports = { listen: { port: 0 }, management: { port: 0 } }
  writeFileSync(file, JSON.stringify({ version: 1, ...ports, ...configuration }))
  const server = await startServer(process.execPath, [cli, 'serve', '--config', file], {
    env: plainEnvironment({ HOME: folder }),
  })
  await until('it starts', () => /"management":true/.test(server.output()) || undefined)
  server.child.kill('SIGTERM')
  t.same(await server.exited, { code: 0, signal: null })
  t.match(server.output(), /"msg":"stopped"/)
  await server.stop()
})

t.test('When the primary is killed, the workers end, and last use is written', async (t) => {
  const gateway = await start(t)
  await connectBoth(t, gateway, await token(gateway))
  gateway.signal('SIGKILL')
  // Resolves when no process has its output any more.
  t.same(await gateway.exited, { code: null, signal: 'SIGKILL' })
  t.ok(await refuses(gateway.url))
  const { stdout } = await gateway.command('token', 'list', '--json')
  t.match(JSON.parse(stdout), [{ lastUsedAt: String }])
})

t.test('The port of another gateway with workers is taken', async (t) => {
  const port = Number(new URL(shared.url).port)
  const { code, stderr } = await served(t, { listen: { host: '127.0.0.1', port } })
  t.equal(code, 1)
  t.equal(stderr, `scopegate: 127.0.0.1:${port} is taken by another process\n`)
})

t.test('Of two that start at once on a port, one has it', async (t) => {
  const listen = { host: '127.0.0.1', port: await freePort() }
  const servers = await Promise.all(
    ['a', 'b'].map(async () => {
      const folder = makeFolder('workers')
      const file = join(folder, 'gateway.yaml')
      const settings = { version: 1, management: 'off', ...configuration, listen }
      writeFileSync(file, JSON.stringify(settings))
      const args = [cli, 'serve', '--config', file]
      const server = await startServer(process.execPath, args, {
        env: plainEnvironment({ HOME: folder }),
      })
      t.teardown(async () => {
        await server.stop()
        removeFolder(folder)
      })
      return server
    }),
  )
  const first = await until('one ends', () =>
    servers.find(({ child }) => child.exitCode !== null || child.signalCode !== null),
  )
  t.equal(first.child.exitCode, 1)
  t.match(first.output(), `127.0.0.1:${listen.port} is taken by another process`)
  const other = servers.find((server) => server !== first)
  await until('the other listens', () => other?.output().includes('"listening"') || undefined)
})

t.test('Who connects before a worker listens is let go', async (t) => {
  const { listen, release, close } = await pickPorts([
    { host: '127.0.0.1', port: 0, trustedProxies: undefined },
  ])
  const connection = await connect(`http://127.0.0.1:${listen[0]?.port}`)
  connection.write('GET / HTTP/1.1\r\n\r\n')
  t.equal(await connection.receiveAll(), '')
  release()
  t.ok(await refuses(`http://127.0.0.1:${listen[0]?.port}`))
  close()
})

t.test('One port for two listeners is taken, by the first of them', async (t) => {
  const port = await freePort()
  const listen = [
    { host: '127.0.0.1', port },
    { host: '0.0.0.0', port },
  ]
  const { code, stderr } = await served(t, { listen })
  t.equal(code, 1)
  t.equal(stderr, `scopegate: 0.0.0.0:${port} is taken by another process\n`)
})

for (const which of ['listen', 'management'] as const) {
  t.test(`A port of \`${which}\` that is taken ends it with 1, naming the address`, async (t) => {
    const holder = net.createServer()
    holder.listen(0, '127.0.0.1')
    await once(holder, 'listening')
    t.teardown(() => holder.close())
    const { port } = holder.address() as net.AddressInfo
    const { code, stderr } = await served(t, { [which]: { host: '127.0.0.1', port } })
    t.equal(code, 1)
    t.equal(stderr, `scopegate: 127.0.0.1:${port} is taken by another process\n`)
  })
}

t.test('An authority that cannot be used ends it with 1, naming the file', async (t) => {
  const { code, stderr } = await served(t, { tokens: { authority: 'sqlite:gateway.yaml' } })
  t.equal(code, 1)
  t.match(stderr, /^scopegate: the token authority \S+gateway\.yaml cannot be used: /)
})

t.test('A number of workers that is none is refused, with what would be right', async (t) => {
  for (const [workers, found] of [
    [0, '0'],
    [-1, '-1'],
    [1.5, '1.5'],
    [257, '257'],
    ['many', '"many"'],
  ] as const) {
    const { code, stderr } = await served(t, { server: { workers } }, ['--check'])
    t.equal(code, 78)
    t.match(stderr, `\`workers\`: expected a whole number from 1 to 256, or auto, found ${found}`)
  }
})

t.test('`auto` is one worker a processor', async (t) => {
  const gateway = await start(t, { server: { workers: 'auto' } })
  const count = gateway.log().filter(accepts).length
  // On one processor there is one process, without a primary.
  t.equal(count, availableParallelism() === 1 ? 0 : availableParallelism())
  await gateway.stop()
})

t.test('One worker is one process, which says nothing of workers', async (t) => {
  const gateway = await start(t, { server: { workers: 1 } })
  t.equal(await status(`${gateway.url}/api/x`, await token(gateway)), 200)
  const line = await gateway.logged('the request', ({ msg }) => msg === 'request')
  t.notOk('worker' in line)
  t.ok(Number.isNaN(await sample(gateway, 'scopegate_workers')))
  await gateway.stop()
})

t.test('Lines of the log stay whole, however long and many', async (t) => {
  const gateway = shared
  const requests = Array.from({ length: 400 }, (_, index) => {
    const name = 'long'.repeat(index % 2 === 0 ? 10 : 2_500)
    return status(`${gateway.url}/api/${name}`)
  })
  t.same([...new Set(await Promise.all(requests))], [401])
  // Reading the log parses every line.
  await until('all lines', () => {
    const lines = gateway.log().filter(({ path }) => String(path).startsWith('/api/long'))
    return lines.length === 400 || undefined
  })
  for (const line of gateway.messages().trimEnd().split('\n')) t.match(line, /^\{.*\}$/)
})

t.test('Lines of the log stay whole in a file, and lose nothing', async (t) => {
  const folder = makeFolder('workers')
  t.teardown(() => removeFolder(folder))
  const [file, log] = [join(folder, 'gateway.yaml'), join(folder, 'log')]
  const own = { version: 1, listen: { port: 0 }, management: 'off' }
  writeFileSync(file, JSON.stringify({ ...own, ...configuration }))
  writeFileSync(log, '')
  const command = 'exec "$0" "$1" serve --config "$2" > "$3"'
  const server = await startServer('sh', ['-c', command, process.execPath, cli, file, log], {
    env: plainEnvironment(),
    cwd: folder,
  })
  t.teardown(() => server.stop())
  const lines = (): LogLine[] => {
    const text = readFileSync(log, 'utf8')
    return text
      .slice(0, text.lastIndexOf('\n') + 1)
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line))
  }
  const listening = await until('it listens', () => lines().find(({ msg }) => msg === 'listening'))
  const names = Array.from(
    { length: 400 },
    (_, i) => `${i}-${'long'.repeat(i % 2 === 0 ? 10 : 2_500)}`,
  )
  const asked = names.map((name) => status(`${listening.url}/api/${name}`))
  t.same([...new Set(await Promise.all(asked))], [401])
  const served = await until('all lines', () => {
    const requests = lines().filter(({ msg }) => msg === 'request')
    return requests.length === names.length ? requests : undefined
  })
  t.equal(new Set(served.map(({ worker }) => worker)).size, 2)
  t.strictSame(served.map(({ path }) => path).sort(), names.map((name) => `/api/${name}`).sort())
})

t.test('A line that is too long to be written in one piece loses the ends of values', (t) => {
  const short = `${JSON.stringify({ path: '/x', status: 200 })}\n`
  t.equal(fitted(short), short)
  for (const path of ['x'.repeat(20_000), 'é'.repeat(20_000), '\u0001"\\'.repeat(5_000)]) {
    const line = fitted(`${JSON.stringify({ path, cause: path, status: 200 })}\n`)
    t.ok(Buffer.byteLength(line) <= sharedPieceBytesMax)
    const fields = JSON.parse(line)
    t.equal(fields.status, 200)
    t.ok(fields.path.endsWith('…') && path.startsWith(fields.path.slice(0, -1)))
    t.match(line, /\n$/)
  }
  t.end()
})

t.test('The wait before a worker is replaced doubles, is bounded, and starts over', (t) => {
  const delay = new RestartDelay()
  t.same([delay.after(0), delay.after(0), delay.after(0)], [100, 200, 400])
  for (let deaths = 0; deaths < 20; deaths++) delay.after(steadyMs - 1)
  t.equal(delay.after(0), restartDelayMaxMs)
  t.equal(delay.after(steadyMs), restartDelayMinMs, 'after one that lived')
  t.equal(delay.after(0), 2 * restartDelayMinMs)
  t.end()
})

t.test('Parts on which the workers disagree are told with how many say so', (t) => {
  const say = (...values: string[]) => {
    const [check] = combineChecks(values.map((value) => [{ name: 'upstream a', value }]))
    return check?.value
  }
  t.equal(say('ok', 'ok'), 'ok')
  t.equal(say('not asked yet', 'not asked yet'), 'not asked yet')
  t.equal(say('not asked yet', 'ok'), 'ok')
  t.equal(say('unavailable', 'not asked yet'), 'unavailable')
  t.equal(say('unavailable', 'ok', 'ok'), 'unavailable (1 of 3 workers)')
  t.end()
})

/** Asks again and again until a reply says that the connection closes: the statuses that came. */
async function askUntilClosing(connection: Connection, secret: string): Promise<Set<string>> {
  const statuses = new Set<string>()
  for (;;) {
    const reply = await ask(connection, secret, 'busy')
    statuses.add(reply.slice(9, 12))
    if (/\r\nConnection: close\r\n/i.test(reply)) return statuses
  }
}

async function* held(released: Promise<void>): AsyncGenerator<string> {
  yield 'begun'
  await released
  yield 'done'
}

function refuses(url: string): Promise<true | undefined> {
  return connect(url).then(
    (connection) => {
      connection.close()
      return undefined
    },
    () => true as const,
  )
}
