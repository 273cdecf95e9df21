// What the tests of fetching share: git servers behind the web servers that there are, one gateway before
// all of them with the route map that the product brings, and repositories with a history to fetch.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Finished, mustRun, run } from '../servers/command.ts'
import { type Gateway, projectFolder, startGateway } from '../servers/gateway.ts'
import { createGitClient, type GitClient } from '../servers/git-client.ts'
import { type GitServer, startGitServer } from '../servers/git-server.ts'
import { type Recorder, startRecorder } from '../servers/recorder.ts'

/** Commits on main, one a day. */
export const commitsTotal = 60
/** Each commit changes the next of so many files. */
export const filesTotal = 10
/** Of the large history, in blobs that do not compress. */
export const largeBytes = 104 * 2 ** 20

/** What the server's log shows of a fetch. */
export const readsRefs = 'GET info/refs?service=git-upload-pack'
export const readsPost = 'POST git-upload-pack'
/** Type and body of a request in protocol version 2: `command=ls-refs` without arguments. */
export const requestType = 'Content-Type: application/x-git-upload-pack-request'
export const listRefs = '0014command=ls-refs\n0000'

const blobBytes = 2 ** 20
const nowhere = 'http://127.0.0.1:9'

/** When commit `number` (from 1) of the history was made, in seconds since the epoch. */
export const commitTime = (number: number): number => 1_700_000_000 + number * 86_400

const [nginx, streaming, apache] = await Promise.all([
  startGitServer(),
  startGitServer({ web: 'nginx-streaming' }),
  startGitServer({ web: 'apache' }),
])
/** The web servers before git, by name. */
export const webs = { nginx, 'nginx-streaming': streaming, apache } satisfies Record<
  string,
  GitServer
>
export type Web = keyof typeof webs
export const webNames = Object.keys(webs) as readonly Web[]

/** An upstream below `/recorded/` that keeps the bytes of what it gets. */
export const recorder: Recorder = await startRecorder()

const ownRoute = (name: string): object => ({
  name,
  path: `/${name}/{repository...}`,
  protocol: 'git',
  upstream: name,
  allow: { fetch: 'source:read' },
})

/** `/acme/…` leads to nginx by the shipped route, `/nginx-streaming/…` and `/apache/…` to these. */
export const gateway: Gateway = await startGateway({
  include: [join(projectFolder, 'config', 'routes', 'foundries.yaml')],
  upstreams: {
    api: { url: nowhere },
    hub: { url: nowhere },
    git: { url: nginx.url },
    'nginx-streaming': { url: streaming.url },
    apache: { url: apache.url },
    recorded: { url: recorder.url },
  },
  routes: ['nginx-streaming', 'apache', 'recorded'].map(ownRoute),
})

const maker = createGitClient()
/** A token that may fetch. */
export const reader = await gateway.token('--subject', 'ada', '--scope', 'source:read')
/** A token that may do much, but not fetch. */
export const stranger = await gateway.token('--scope', 'source:create,source:delete,devices:read')

t.teardown(async () => {
  maker.remove()
  await gateway.stop()
  await recorder.stop()
  await Promise.all(Object.values(webs).map((server) => server.stop()))
})

export type FetchPlace = {
  readonly client: GitClient
  /** `acme/r1`. */
  readonly name: string
  /** The folder of the repository on the server. */
  readonly folder: string
  /** Its address through the gateway; without a token, with one that may fetch. */
  url(token?: string): string
  /** Its address past the gateway. */
  readonly direct: string
  /** curl with the token for a path below the repository; `args` before it. */
  curl(path: string, args?: readonly string[], token?: string): Promise<Finished>
  /** Runs git on the server. */
  server(...args: readonly string[]): Promise<string>
  /** What the git server was asked for since the last call, as `POST git-upload-pack`. */
  seen(): Promise<string[]>
}

let places = 0

/** A repository with a history on main, and a client without a clone. */
export async function fetchPlace(
  t: Test,
  web: Web = 'nginx',
  history: Promise<string> = small(),
): Promise<FetchPlace> {
  const server = webs[web]
  const client = createGitClient()
  t.teardown(() => client.remove())
  const name = `${web === 'nginx' ? 'acme' : web}/r${++places}`
  const folder = await server.createRepository(name)
  await addTo(folder, history)
  let before = 0
  return {
    client,
    name,
    folder,
    direct: `${server.url}/${name}.git`,
    url: (token = reader) => `${gateway.url.replace('://', `://user:${token}@`)}/${name}.git`,
    curl: (path, args = [], token = reader) =>
      run('curl', ['-sS', '-u', `user:${token}`, ...args, `${gateway.url}/${name}.git/${path}`]),
    server: (...args) => server.git(name, ...args),
    seen: async () => {
      const own = `/${name}.git/`
      const all = (await server.requests()).filter(({ uri }) => uri.startsWith(own))
      const fresh = all.slice(before)
      before = all.length
      return fresh.map(({ method, uri }) => `${method} ${uri.slice(own.length)}`)
    },
  }
}

/** Adds objects and refs of a history to a bare repository. */
export async function addTo(folder: string, history: Promise<string>): Promise<void> {
  const seed = await history
  // Hard links: git replaces files and never writes into them.
  await mustRun('cp', ['-rl', join(seed, 'objects'), join(seed, 'refs'), `${folder}/`])
}

const made = new Map<string, Promise<string>>()

/** The folder of a repository with `commitsTotal` commits. */
function small(): Promise<string> {
  return makeOnce('small', () => [historyStream('main', commitsTotal)])
}

/** The same with commits on the branch `local`, which have nothing in common with main. */
export function local(commits: number): Promise<string> {
  return makeOnce(`local${commits}`, () => [historyStream('local', commits)])
}

/** The same with one commit of `largeBytes`. */
export function large(): Promise<string> {
  return makeOnce('large', () => {
    const files = Array.from({ length: largeBytes / blobBytes }, (_, i) => [
      `M 100644 inline noise${i}\ndata ${blobBytes}\n`,
      randomBytes(blobBytes),
      '\n',
    ])
    return [commitHead('main', 1), ...files.flat()]
  })
}

function historyStream(branch: string, commits: number): string {
  const lines: string[] = []
  for (let number = 1; number <= commits; number++) {
    const content = `${branch} ${number}\n`
    lines.push(commitHead(branch, number))
    lines.push(`M 100644 inline file${number % filesTotal}\ndata ${content.length}\n${content}\n`)
  }
  return lines.join('')
}

function commitHead(branch: string, number: number): string {
  const text = `${branch} ${number}`
  const who = `committer Ada <ada@example.com> ${commitTime(number)} +0000`
  return `commit refs/heads/${branch}\n${who}\ndata ${text.length}\n${text}\n`
}

function makeOnce(name: string, stream: () => readonly (string | Buffer)[]): Promise<string> {
  const make = async (): Promise<string> => {
    await maker.git('', 'init', '-q', '--bare', name)
    const input = Buffer.concat(stream().map((part) => Buffer.from(part)))
    const settings = ['-c', 'core.compression=0', '-c', 'fastimport.unpackLimit=1']
    const done = await maker.run(name, [...settings, 'fast-import', '--quiet', '--depth=0'], {
      input,
    })
    if (done.code !== 0) throw new Error(done.stderr)
    return join(maker.folder, name)
  }
  const folder = made.get(name) ?? make()
  made.set(name, folder)
  return folder
}

export type Files = {
  readonly url: string
  readonly authorizations: readonly (string | undefined)[]
}

/** A server that has one file. */
export async function startFiles(t: Test, file: string): Promise<Files> {
  const authorizations: (string | undefined)[] = []
  const server = createServer((request, reply) => {
    authorizations.push(request.headers.authorization)
    createReadStream(file).pipe(reply)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, authorizations }
}
