// The lookup as a small model: one token, two processes, a Redis between them and the authority, and every
// order in which fills, changes, evictions, ends of lifetimes, reconnections and late answers can come. The
// code is the real one, the records are in a real SQLite database, and Redis is a real server that runs the
// real script. Played by the test is only what happens when: the clocks, the change feed, the connection of each process
// (`ModelLink`: a command may reach Redis late, and its caller may have given it up by then), how far a
// process has read the change feed, and Redis's clock (what has outlived its lifetime is deleted).

import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { GatewayError } from '../../gateway/errors.ts'
import { TokenLookup } from '../../gateway/tokens/lookup.ts'
import { clockSkewMsMax } from '../../gateway/tokens/recent-changes.ts'
import {
  createRedisLink,
  type LinkEvents,
  RedisFailure,
  type RedisLink,
} from '../../gateway/tokens/redis-link.ts'
import { openSqliteStore } from '../../gateway/tokens/sqlite.ts'
import { bind, sql } from '../../gateway/tokens/statements.ts'
import type { TokenChange, TokenStore } from '../../gateway/tokens/store.ts'
import { writeRow } from '../../gateway/tokens/token-row.ts'
import { makeFolder, removeFolder } from '../servers/lifetime.ts'
import { startRedis } from '../servers/redis-server.ts'
import { makeToken } from './records.ts'

const freshMs = 10_000
const staleMs = 20_000
/** Of the search, and of making a counterexample smaller. */
const timeLimitMs = 20_000
/** Times up to sixteen orders; a slow machine plays fewer, but not fewer than `ordersMin`. */
/** The same orders each time; `FC_SEED` plays others, `FC_RUNS` more of them. */
const seed = Number(process.env.FC_SEED ?? -2_115_121_299)
const runsMax = Number(process.env.FC_RUNS ?? 40)
const ordersMin = 50
/** How long a known record is served without a question after the authority failed (lookup.ts). */
const askAgainAfterMs = 1_000

const cache = { entries: 10, freshMs, staleMs, absentMs: 1_000 }

const folder = makeFolder('interleavings')
const file = join(folder, 'tokens.db')
const redis = await startRedis()
const store = openSqliteStore(file, { busyMs: 1_000 })
const authority = new DatabaseSync(file)
authority.exec('PRAGMA synchronous = OFF')
const realLink = createRedisLink({
  host: '127.0.0.1',
  port: redis.port,
  database: 0,
  username: undefined,
  password: undefined,
  tls: false,
})
await new Promise<void>((resolve) => {
  realLink.open('unused', { ready: resolve, lost: () => {}, message: () => {} })
})
t.teardown(async () => {
  realLink.close()
  authority.close()
  await store.close()
  await redis.stop()
  removeFolder(folder)
})

type Action =
  | { do: 'find' | 'poll' | 'restart'; p: number }
  | { do: 'hold' | 'release' | 'give up'; p: number; what: 'redis' | 'authority' }
  | { do: 'redis' | 'authority'; p: number; is: 'up' | 'down' }
  | { do: 'narrow' | 'revoke' | 'evict' | 'flush' }
  | { do: 'advance'; ms: number }

const p = fc.constantFrom(0, 1)
const what = fc.constantFrom('redis' as const, 'authority' as const)
const ms = fc.constantFrom(500, 1_900, 2_100, freshMs - 1, freshMs, staleMs, freshMs + staleMs)

function act<Do extends Action['do'], Rest>(
  weight: number,
  name: Do,
  rest: { [Key in keyof Rest]: fc.Arbitrary<Rest[Key]> },
) {
  const arbitrary = fc.record({ do: fc.constant(name), ...rest }) as fc.Arbitrary<Action>
  return { weight, arbitrary }
}

const action: fc.Arbitrary<Action> = fc.oneof(
  act(16, 'find', { p }),
  act(8, 'poll', { p }),
  act(5, 'restart', { p }),
  act(6, 'narrow', {}),
  act(2, 'revoke', {}),
  act(2, 'evict', {}),
  act(1, 'flush', {}),
  act(3, 'hold', { p, what }),
  act(4, 'release', { p, what }),
  act(2, 'give up', { p, what }),
  ...[
    ['up', 2],
    ['down', 1],
  ].map(([is, weight]) => act(Number(weight) * 2, 'redis', { p, is: fc.constant(is) })),
  ...[
    ['up', 2],
    ['down', 1],
  ].map(([is, weight]) => act(Number(weight), 'authority', { p, is: fc.constant(is) })),
  act(5, 'advance', { ms }),
)

/** What waits: `run` lets it go on, `giveUp` tells its caller that it took too long (it goes on all the same). */
type Held = { run(): void; giveUp(): void }

class World {
  time = 0
  readonly base = Date.now()
  readonly token = makeToken()
  version = 1
  /** Its change feed, and when each change was made. */
  readonly changes: TokenChange[] = []
  readonly madeAt: number[] = []
  /** When each version was replaced. */
  readonly replacedAt: number[] = []
  /** Ends of lifetimes in Redis, and the newest version that was written since the key was last deleted. */
  readonly ends = new Map<string, number>()
  readonly written = new Map<string, number>()
  readonly underWay = new Set<Promise<unknown>>()
  readonly violations: string[] = []
  readonly processes: Process[] = []

  async begin(skewMs: number): Promise<void> {
    const { digest, record } = this.token
    authority.exec('BEGIN IMMEDIATE')
    authority.prepare(sql.insert).run(bind(writeRow(record)))
    authority.prepare(sql.insertSecret).run(bind([digest, record.id]))
    authority.exec('COMMIT')
    this.processes.push(new Process(this, 0), new Process(this, skewMs))
    for (const process of this.processes) await process.start()
  }

  change(isRevocation: boolean): void {
    const { id } = this.token.record
    this.replacedAt[this.version] = this.time
    this.version += 1
    const at = this.base + this.time
    const set = isRevocation ? `revoked_at = coalesce(revoked_at, ${at})` : `scopes = '[]'`
    authority.exec(`UPDATE tokens SET version = version + 1, ${set} WHERE id = '${id}'`)
    const [seq, digests] = [this.changes.length + 1, [this.token.digest]]
    this.changes.push({ seq, tokenId: id, digests, version: this.version })
    this.madeAt.push(at)
  }

  positionBefore(time: number, visible: number): number {
    return this.madeAt.slice(0, visible).findLastIndex((at) => at < time) + 1
  }

  async forget(keys: Iterable<string>): Promise<void> {
    for (const key of keys) {
      await redis.client.del(key)
      this.ends.delete(key)
      this.written.delete(key)
    }
  }

  async advance(ms: number): Promise<void> {
    this.time += ms
    await this.forget([...this.ends].filter(([, end]) => end <= this.time).map(([key]) => key))
  }

  /** Everything that can go on has gone on. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 3; quiet++) {
      if (this.underWay.size > 0) quiet = 0
      await Promise.allSettled(this.underWay)
      await turn()
    }
  }

  track<T>(work: Promise<T>): Promise<T> {
    this.underWay.add(work)
    const done = () => this.underWay.delete(work)
    work.then(done, done)
    return work
  }
}

/** A gate that can be closed: what comes then waits. */
class Gate {
  isClosed = false
  readonly held: Held[] = []

  pass<T>(world: World, run: () => Promise<T>): Promise<T> {
    if (!this.isClosed) return world.track(run())
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    this.held.push({
      run: () => world.track(run()).then(resolve, reject),
      giveUp: () => reject(new RedisFailure('silence', 'given up')),
    })
    return promise
  }

  open(): void {
    this.isClosed = false
    for (const { run } of this.held.splice(0)) run()
  }
}

/** A process's own view of Redis: the real server, reached when the model lets it. */
class ModelLink implements RedisLink {
  isReady = false
  readonly gate = new Gate()
  /** The newest version that Redis had been given when it was last read. */
  writtenWhenRead = 0
  readonly #world: World
  #events: LinkEvents | undefined

  constructor(world: World) {
    this.#world = world
  }

  open(_channel: string, events: LinkEvents): void {
    this.#events = events
    this.become(true)
  }

  become(isUp: boolean): void {
    if (this.isReady === isUp) return
    this.isReady = isUp
    if (isUp) this.#events?.ready()
    else this.#events?.lost('the model says so')
  }

  read(key: string): Promise<Buffer | undefined> {
    return this.#send(() => {
      this.writtenWhenRead = this.#world.written.get(key) ?? 0
      return realLink.read(key)
    })
  }

  keepNewer(...args: Parameters<RedisLink['keepNewer']>): Promise<void> {
    const [key, value, version, , lifetimeMs] = args
    return this.#send(async () => {
      const world = this.#world
      await realLink.keepNewer(...args)
      world.written.set(key, Math.max(version, world.written.get(key) ?? 0))
      if ((await redis.client.get(key)) === value) world.ends.set(key, world.time + lifetimeMs)
    })
  }

  drop(key: string, value: Buffer): Promise<void> {
    return this.#send(() => realLink.drop(key, value))
  }

  publish(): Promise<void> {
    return Promise.resolve()
  }

  reconnect(): void {}

  close(): void {
    this.isReady = false
  }

  #send<T>(run: () => Promise<T>): Promise<T> {
    if (!this.isReady) return Promise.reject(new RedisFailure('error', 'not connected'))
    return this.gate.pass(this.#world, run)
  }
}

class Process {
  readonly world: World
  readonly skewMs: number
  readonly link: ModelLink
  readonly gate = new Gate()
  isAuthorityUp = true
  /** When it last became able to answer again: an answer that waited beyond the deadline is none. */
  authorityAwayUntil = Number.NEGATIVE_INFINITY
  /** The change feed as this process can read it. */
  visible = 0
  /** The newest version of the token that it has been told of. */
  told = 0
  readonly tiers: string[] = []
  lookup: TokenLookup
  readonly finds: Promise<void>[] = []

  constructor(world: World, skewMs: number) {
    this.world = world
    this.skewMs = skewMs
    this.link = new ModelLink(world)
    this.lookup = this.#make()
  }

  async start(): Promise<void> {
    this.lookup.follow()
    await this.poll()
  }

  async restart(): Promise<void> {
    this.lookup.close()
    this.lookup = this.#make()
    this.told = 0
    if (this.isAuthorityUp) await this.start()
    else this.lookup.follow()
  }

  async poll(): Promise<void> {
    const { version, changes } = this.world
    this.visible = changes.length
    await this.lookup.catchUp().then(
      () => {
        this.told = version
      },
      () => {},
    )
  }

  find(): void {
    const { world, told, isAuthorityUp } = this
    const now = world.base + world.time
    const begunAt = world.time
    const begun = this.lookup.find(world.token.secret, now)
    const complain = (text: string): number => world.violations.push(text)
    const check = (found: Awaited<typeof begun>): void => {
      if (found.kind === 'absent') {
        complain('a token that exists was called absent')
        return
      }
      const { version } = found.record
      if (version < told) complain(`version ${version} after a change to ${told} was seen`)
      const replacedAt = world.replacedAt[version]
      if (replacedAt === undefined) return
      const age = world.time - replacedAt
      const isAway =
        !isAuthorityUp ||
        !this.isAuthorityUp ||
        this.gate.isClosed ||
        this.authorityAwayUntil >= begunAt - askAgainAfterMs
      const boundMs = clockSkewMsMax + (isAway ? staleMs : 0) + freshMs
      if (age > boundMs) complain(`version ${version} was replaced ${age} ms ago`)
      const isFromRedis = this.tiers.at(-1) === 'redis hit'
      if (isFromRedis && version < this.link.writtenWhenRead) {
        complain(`version ${version} from Redis, which was given ${this.link.writtenWhenRead}`)
      }
    }
    const failed = (error: unknown): void => {
      if (!(error instanceof GatewayError)) throw error
    }
    if (begun instanceof Promise) this.finds.push(begun.then(check).catch(failed))
    else check(begun)
  }

  #make(): TokenLookup {
    const { world } = this
    return new TokenLookup(this.#view(), cache, {
      clock: () => world.time,
      now: () => world.base + world.time + this.skewMs,
      redis: this.link,
      observer: { lookup: (tier, result) => this.tiers.push(`${tier} ${result}`) },
    })
  }

  /** The authority as this process reaches it. */
  #view(): TokenStore {
    const ask = async <T>(question: () => Promise<T>): Promise<T> => {
      if (!this.isAuthorityUp) throw new GatewayError('lookup_unavailable', 'away')
      return await question()
    }
    const isIn = ({ seq }: TokenChange, after: number): boolean =>
      seq > after && seq <= this.visible
    const answer = async <T>(question: () => Promise<T>): Promise<T> => {
      const known = await ask(question)
      return await this.gate.pass(this.world, () => Promise.resolve(known))
    }
    return {
      authorityId: store.authorityId,
      cacheKey: store.cacheKey,
      find: (digest) => answer(() => store.find(digest)),
      get: (id) => answer(() => store.get(id)),
      lastChange: () => ask(async () => this.visible),
      positionBefore: (time) => ask(async () => this.world.positionBefore(time, this.visible)),
      changesSince: (seq, limit) =>
        ask(async () => this.world.changes.filter((change) => isIn(change, seq)).slice(0, limit)),
      watch: () => () => {},
    } as Partial<TokenStore> as TokenStore
  }
}

async function perform(world: World, action: Action): Promise<void> {
  const process = 'p' in action ? (world.processes[action.p] as Process) : undefined
  if (process === undefined) {
    if (action.do === 'advance') await world.advance(action.ms)
    else if (action.do === 'flush') await world.forget([...world.written.keys()])
    else if (action.do === 'evict') {
      await world.forget([...world.written.keys()].filter((key) => !key.endsWith('probe')))
    } else world.change(action.do === 'revoke')
  } else if (action.do === 'find') process.find()
  else if (action.do === 'poll') await process.poll()
  else if (action.do === 'restart') await process.restart()
  else if ('what' in action) {
    const gate = action.what === 'redis' ? process.link.gate : process.gate
    if (action.do === 'hold') gate.isClosed = true
    else if (action.do === 'release') {
      if (gate === process.gate) process.authorityAwayUntil = world.time
      gate.open()
    } else if (action.what === 'redis') for (const held of gate.held) held.giveUp()
  } else if (action.do === 'redis') process.link.become(action.is === 'up')
  else if (action.do === 'authority') {
    if (action.is === 'up') process.authorityAwayUntil = world.time
    process.isAuthorityUp = action.is === 'up'
  }
  await world.settle()
}

/** All is well again: after one reading of the feed everyone knows the newest. */
async function end(world: World): Promise<void> {
  for (const process of world.processes) {
    process.isAuthorityUp = true
    process.authorityAwayUntil = world.time
    process.gate.open()
    process.link.gate.open()
    process.link.become(false)
    process.link.become(true)
    await world.settle()
    await process.poll()
    await world.settle()
    process.find()
    await world.settle()
    await Promise.all(process.finds)
    process.lookup.close()
  }
}

t.test('no order of events brings back what was changed, or makes a token absent', async (t) => {
  const scenario = fc.record({
    actions: fc.array(action, { minLength: 1, maxLength: 30, size: 'max' }),
    skewMs: fc.integer({ min: -clockSkewMsMax, max: clockSkewMsMax }),
  })
  let played = 0
  const property = fc.asyncProperty(
    fc.array(scenario, { minLength: 1, maxLength: 16, size: 'max' }),
    async (scenarios) => {
      played += scenarios.length
      const worlds = await Promise.all(scenarios.map(play))
      const violations = worlds.flatMap((world) => world.violations)
      if (violations.length > 0) throw new Error(violations.join('; '))
    },
  )
  const bounds = { numRuns: runsMax, interruptAfterTimeLimit: timeLimitMs }
  await fc.assert(property, { ...bounds, seed })
  t.ok(played >= ordersMin, `${played} orders`)
})

async function play({ actions, skewMs }: { actions: Action[]; skewMs: number }): Promise<World> {
  const world = new World()
  await world.begin(skewMs)
  await world.settle()
  for (const one of actions) await perform(world, one)
  await end(world)
  return world
}
