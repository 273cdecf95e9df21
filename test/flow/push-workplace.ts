// What the tests of pushes share: a git server behind one of three web servers, the gateway before it with
// the route map that the product brings, repositories with a history, and what must hold once a push
// was refused.

import { hash } from 'node:crypto'
import { appendFileSync, cpSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Finished } from '../servers/command.ts'
import {
  type Gateway,
  type GatewayOptions,
  projectFolder,
  startGateway,
} from '../servers/gateway.ts'
import { createGitClient, type GitClient } from '../servers/git-client.ts'
import { type GitServer, type GitServerWeb, startGitServer } from '../servers/git-server.ts'
import { until } from '../servers/ready.ts'
import { type History, makeHistory } from './push-history.ts'

/** What a push that ended may leave behind for so long. */
const leftBehindMs = 30_000
/** So many looks in turn, 10 ms and more apart, find nothing. */
const emptyLooksMin = 5

/** The web servers that a git server may stand behind; each treats a body in a way of its own. */
export const webs = ['nginx', 'nginx-streaming', 'apache'] as const satisfies GitServerWeb[]

export const everyScope = ['source:read-update', 'source:create', 'source:delete'] as const

const serverSettings = '[receive]\n\tcertNonceSeed = seed\n\tadvertisePushOptions = true\n'

const ownScopes = {
  'own:read': 'Fetch',
  'own:update': 'Fast-forward',
  'own:create': 'Create',
  'own:delete': 'Delete',
  'own:force': 'Force',
}
// As the shipped route, but with a scope for each action, and with push options.
const ownRoute = {
  name: 'own',
  path: '/own/{repository...}',
  protocol: 'git',
  upstream: 'git',
  pushOptions: ['ci.skip'],
  allow: {
    fetch: 'own:read',
    update: 'own:update',
    create: 'own:create',
    delete: 'own:delete',
    force: 'own:force',
  },
}

export type Workplace = {
  readonly web: GitServerWeb
  readonly upstream: GitServer
  readonly gateway: Gateway
  readonly client: GitClient
  readonly history: History
  /** A token with these scopes, made once. */
  tokenWith(scopes: readonly string[], ...args: readonly string[]): Promise<string>
  /** A token of its own, with its id. */
  revocable(scopes: readonly string[]): Promise<{ readonly id: string; readonly token: string }>
  /** A repository on the server with the seed of the history, and a clone with all of it. */
  repository(options?: RepositoryOptions): Promise<Repository>
  stop(): Promise<void>
}

export type RepositoryOptions = {
  readonly history?: History
  readonly objectFormat?: 'sha1' | 'sha256'
  /** The first segment of its name. Below `own` each action has a scope of its own. */
  readonly group?: 'acme' | 'own'
}

export type PushOptions = {
  /** Given with `-c`. */
  readonly settings?: readonly string[]
  /** A port that leads to the gateway. */
  readonly through?: number
}

export type Repository = {
  /** `acme/r1`. */
  readonly name: string
  /** The clone, below the client's folder; bare. */
  readonly clone: string
  /** `git push origin` from the clone with these further arguments. */
  push(token: string, args: readonly string[], options?: PushOptions): Promise<Finished>
  /** Runs git in the clone. */
  git(...args: readonly string[]): Promise<string>
  /** Runs git on the server. */
  server(...args: readonly string[]): Promise<string>
  /** The address through the gateway, or by another port that leads to it, with credentials in it. */
  url(token: string, through?: number): string
  /** Does something that must change nothing on either side and leave nothing behind. */
  unchanged<T>(t: Test, act: () => Promise<T>): Promise<T>
}

// What the workplaces of a test file have in common: their tokens are of one authority.
const common = prepare()
let repositories = 0

async function prepare() {
  const client = createGitClient()
  t.teardown(() => client.remove())
  return { client, history: await makeHistory(client), tokens: new Map<string, Promise<string>>() }
}

/** Starts all of it. `settings` are added to the gateway's configuration. */
export async function startWorkplace(
  web: GitServerWeb,
  settings: object = {},
  options: GatewayOptions = {},
): Promise<Workplace> {
  const upstream = await startGitServer({ web })
  const { client, history, tokens } = await common
  const nowhere = 'http://127.0.0.1:9'
  const configuration = {
    include: [join(projectFolder, 'config', 'routes', 'foundries.yaml')],
    upstreams: {
      api: { url: nowhere },
      hub: { url: nowhere },
      git: { url: upstream.url, identity: { subject: 'X-Remote-User' } },
    },
    tokens: { authority: `sqlite:${join(client.folder, 'tokens.db')}` },
    scopes: ownScopes,
    routes: [ownRoute],
    ...settings,
  }
  const gateway = await startGateway(configuration, options)
  return {
    web,
    upstream,
    gateway,
    client,
    history,
    tokenWith: (scopes, ...args) => {
      const all = ['--subject', 'ada', '--scope', scopes.join(), ...args]
      const made = tokens.get(all.join(' ')) ?? gateway.token(...all)
      tokens.set(all.join(' '), made)
      return made
    },
    revocable: async (scopes) => {
      const args = ['--subject', 'ada', '--scope', scopes.join(), '--json']
      const { stdout } = await gateway.command('token', 'create', ...args)
      return JSON.parse(stdout) as { id: string; token: string }
    },
    repository: async (options = {}) => {
      const name = `${options.group ?? 'acme'}/r${++repositories}`
      const { folder: cloned, seed } = options.history ?? history
      const { objectFormat = 'sha1' } = options
      const folder = await upstream.createRepository(name, { objectFormat })
      cpSync(join(seed, 'objects'), join(folder, 'objects'), { recursive: true })
      cpSync(join(seed, 'refs'), join(folder, 'refs'), { recursive: true })
      appendFileSync(join(folder, 'config'), serverSettings)
      const clone = `r${repositories}`
      cpSync(cloned, join(client.folder, clone), { recursive: true })
      return openRepository({ upstream, gateway, client }, name, clone)
    },
    stop: async () => {
      await gateway.stop()
      await upstream.stop()
    },
  }
}

type Servers = Pick<Workplace, 'upstream' | 'gateway' | 'client'>

function openRepository(servers: Servers, name: string, clone: string): Repository {
  const { upstream, gateway, client } = servers
  const gatewayPort = Number(new URL(gateway.url).port)
  const url: Repository['url'] = (token, through = gatewayPort) =>
    `http://user:${token}@127.0.0.1:${through}/${name}.git`
  const repository: Repository = {
    name,
    clone,
    url,
    push: (token, args, { settings = [], through } = {}) =>
      client.run(clone, [
        ...['-c', `remote.origin.pushurl=${url(token, through)}`],
        ...settings.flatMap((setting) => ['-c', setting]),
        ...['push', 'origin', ...args],
      ]),
    git: (...args) => client.git(clone, ...args),
    server: (...args) => upstream.git(name, ...args),
    unchanged: async (t, act) => {
      const folders = [join(upstream.root, `${name}.git`), join(client.folder, clone, 'refs')]
      const [server, believed] = folders.map(filesIn)
      const result = await act()
      await leavesNothing(t, servers, repository)
      const [serverThen, believedThen] = folders.map(filesIn)
      t.same(serverThen, server, 'the server has, byte for byte, what it had')
      t.same(believedThen, believed, 'the client believes what it believed')
      return result
    },
  }
  return repository
}

/**
 * Waits until no backend works for the server and nothing of a push is left, for a moment at least: the web
 * server may be about to start one. Fails when it takes too long.
 */
export async function leavesNothing(
  t: Test,
  { upstream }: Pick<Workplace, 'upstream'>,
  repository: Repository,
): Promise<void> {
  const left = async (): Promise<string> =>
    [...upstream.quarantines(repository.name), ...(await upstream.backends())].join()
  let last = ''
  let emptyLooks = 0
  const none = async (): Promise<true | undefined> => {
    last = await left()
    emptyLooks = last === '' ? emptyLooks + 1 : 0
    return emptyLooks === emptyLooksMin || undefined
  }
  await until('nothing is left', none, leftBehindMs).catch(() => {})
  t.equal(last, '', 'no backend and no quarantined pack is left')
}

/** Every file and folder below a folder, by its path, with a digest of what it holds. */
function filesIn(folder: string): Record<string, string> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  const digests = entries.map((entry): [string, string] => {
    const path = join(entry.parentPath, entry.name)
    return [path, entry.isFile() ? hash('sha256', readFileSync(path)) : 'a folder']
  })
  return Object.fromEntries(digests.sort(([one], [other]) => (one < other ? -1 : 1)))
}

/** The lines in which git says what became of each refused ref, without their padding. */
export function refusals({ stderr }: Finished): string[] {
  const lines = stderr.split('\n').filter((line) => line.startsWith(' ! '))
  return lines.map((line) => line.trim().replace(/ {2,}/g, ' '))
}
