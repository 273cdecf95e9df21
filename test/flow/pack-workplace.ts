// What the tests of hand-made pushes share: a git server behind one of three web servers, the gateway
// before it, a token that may update and nothing else, repositories with a small history that tests know
// object by object, and pushes as bytes.

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { ObjectFormat } from '../../gateway/protocols/git/capabilities.ts'
import {
  commitText,
  type GitObject,
  makeObject,
  type PushOptions,
  packOf,
  treeContent,
  writePushBody,
} from '../protocols/git/pack-writer.ts'
import { mustRun } from '../servers/command.ts'
import { type Gateway, projectFolder, startGateway } from '../servers/gateway.ts'
import { gitEnvironment } from '../servers/git-client.ts'
import { type GitServer, type GitServerWeb, startGitServer } from '../servers/git-server.ts'
import { connect, wholeReplyBytes } from '../servers/raw-client.ts'
import { until } from '../servers/ready.ts'

/** What a push that ended may leave behind for so long. */
const leftBehindMs = 12_000
/** The longest that a push may take, bombs included. */
const replyTimeoutMs = 90_000

/** The history of every repository, and what may be pushed to it. */
export function makeObjects(format: ObjectFormat = 'sha1') {
  const make = (type: GitObject['type'], content: string | Buffer) =>
    makeObject(type, content, format)
  const blob = make('blob', 'text\n')
  const tree = make('tree', treeContent([{ name: 'file', id: blob.id }]))
  const commit = (message: string, ...parents: readonly GitObject[]) =>
    make('commit', commitText({ tree: tree.id, parents: parents.map(({ id }) => id), message }))
  const root = commit('root\n')
  const middle = commit('middle\n', root)
  const old = commit('old\n', middle)
  const side = commit('side\n', root)
  const tag = make(
    'tag',
    `object ${old.id}\ntype commit\ntag v1\ntagger Ada <ada@example.com> 1700000000 +0000\n\nv1\n`,
  )
  return {
    ...{ blob, tree, root, middle, old, side, tag },
    /** A descendant of `old`, which is on main. */
    honest: commit('honest\n', old),
    /** None. */
    forced: commit('forced\n', middle),
    commit,
    make,
  }
}

/** The objects of sha1 repositories. */
export const objects = makeObjects()

export type Reply = {
  /** 0: the connection ended without a reply. */
  readonly status: number
  /** The lines of the report, `unpack` first; empty where there is none. */
  readonly report: readonly string[]
  readonly text: string
}

export type Transport = {
  /** Sizes of the HTTP chunks in turn; undefined: Content-Length. */
  readonly chunks?: readonly number[]
  readonly encoding?: string
  /** Declared instead of the body's length. */
  readonly contentLength?: number
  /** The client leaves after the body. */
  readonly leave?: 'end' | 'cut'
  /** So many bytes at the end are sent when this has resolved. */
  readonly pause?: { readonly before: number; readonly until: () => Promise<unknown> }
}

export type Repository = {
  readonly name: string
  /** Sends the body of a push. */
  send(body: Buffer, transport?: Transport): Promise<Reply>
  /** Sends a push of these commands and pack. */
  push(
    commands: readonly string[],
    pack: Buffer,
    options?: PushOptions,
    transport?: Transport,
  ): Promise<Reply>
  /** Runs git on the server. */
  server(...args: readonly string[]): Promise<string>
  /** The refs, and the files of the objects. */
  state(): { readonly refs: readonly string[]; readonly objects: readonly string[] }
  /** Nothing is left of pushes, and git finds nothing wrong. */
  isSound(t: Test): Promise<void>
  /** A push of an honest commit takes effect; the next ones go on from there. */
  takesHonest(t: Test): Promise<void>
}

export type PackWorkplace = {
  readonly upstream: GitServer
  readonly gateway: Gateway
  repository(settings?: readonly string[], format?: ObjectFormat): Promise<Repository>
  stop(): Promise<void>
}

/** Starts all of it. */
export async function startPackWorkplace(web: GitServerWeb): Promise<PackWorkplace> {
  const upstream = await startGitServer({ web })
  const nowhere = 'http://127.0.0.1:9'
  const gateway = await startGateway({
    include: [join(projectFolder, 'config', 'routes', 'foundries.yaml')],
    upstreams: { api: { url: nowhere }, hub: { url: nowhere }, git: { url: upstream.url } },
  })
  const token = await gateway.token('--subject', 'ada', '--scope', 'source:read-update')
  let repositories = 0
  return {
    upstream,
    gateway,
    repository: async (settings = [], format = 'sha1') => {
      const name = `acme/r${++repositories}`
      await upstream.createRepository(name, { objectFormat: format })
      for (const setting of settings) {
        const [key = '', value = ''] = setting.split('=')
        await upstream.git(name, 'config', key, value)
      }
      await seed(upstream, name, format)
      return openRepository({ upstream, gateway, token }, name)
    },
    stop: async () => {
      await gateway.stop()
      await upstream.stop()
    },
  }
}

async function seed(upstream: GitServer, name: string, format: ObjectFormat): Promise<void> {
  const { blob, tree, root, middle, old, side, tag } = makeObjects(format)
  const folder = join(upstream.root, `${name}.git`)
  const input = packOf([blob, tree, root, middle, old, side, tag], format)
  const env = gitEnvironment(folder)
  await mustRun('git', ['unpack-objects', '-q'], { cwd: folder, input, env })
  setRefs(upstream, name, {
    'refs/heads/main': old.id,
    'refs/heads/middle': middle.id,
    'refs/heads/side': side.id,
    'refs/notes/old': old.id,
    'refs/tags/v1': tag.id,
  })
}

/** Sets the refs of a repository that has no others. */
export function setRefs(
  upstream: GitServer,
  name: string,
  refs: Readonly<Record<string, string>>,
): void {
  const lines = Object.entries(refs).map(([ref, id]) => `${id} ${ref}\n`)
  writeFileSync(join(upstream.root, `${name}.git`, 'packed-refs'), lines.sort().join(''))
}

type Servers = {
  readonly upstream: GitServer
  readonly gateway: Gateway
  readonly token: string
}

function openRepository({ upstream, gateway, token }: Servers, name: string): Repository {
  let honest = 0
  const server: Repository['server'] = (...args) => upstream.git(name, ...args)
  const send: Repository['send'] = (body, transport = {}) =>
    post(gateway.url, { path: `/${name}.git/git-receive-pack`, token, body, transport })
  const repository: Repository = {
    name,
    send,
    push: (commands, pack, options, transport) =>
      send(writePushBody(commands, pack, options), transport),
    server,
    state: () => readState(join(upstream.root, `${name}.git`)),
    isSound: async (t) => {
      const left = async (): Promise<string> =>
        [...upstream.quarantines(name), ...(await upstream.backends())].join()
      const none = async (): Promise<true | undefined> => (await left()) === '' || undefined
      await until('nothing is left', none, leftBehindMs).catch(() => {})
      t.equal(await left(), '', 'no backend and no quarantined pack is left')
      t.equal(await server('fsck', '--no-dangling'), '', 'fsck is content')
    },
    takesHonest: async (t) => {
      const format = (await server('rev-parse', '--show-object-format')) as ObjectFormat
      const { tree, make } = makeObjects(format)
      const before = await server('rev-parse', 'refs/heads/main')
      const text = commitText({ tree: tree.id, parents: [before], message: `honest ${++honest}\n` })
      const commit = make('commit', text)
      const capabilities = ` report-status side-band-64k object-format=${format}`
      const command = `${before} ${commit.id} refs/heads/main`
      const { report, text: reply } = await repository.push([command], packOf([commit], format), {
        capabilities,
      })
      t.same(report, ['unpack ok', 'ok refs/heads/main'], `an honest push is taken ${reply}`)
      t.equal(await server('rev-parse', 'refs/heads/main'), commit.id)
    },
  }
  return repository
}

// Without git, which would take longer to start than the push takes.
function readState(folder: string): ReturnType<Repository['state']> {
  const list = (below: string): string[] =>
    readdirSync(join(folder, below), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name))
      .sort()
  const packed = join(folder, 'packed-refs')
  const refs = list('refs').map((file) => `${readFileSync(file, 'latin1').trim()} ${file}`)
  const all = existsSync(packed) ? readFileSync(packed, 'latin1').split('\n') : []
  return { refs: [...all, ...refs], objects: list('objects') }
}

type Post = {
  readonly path: string
  readonly token: string
  readonly body: Buffer
  readonly transport: Transport
}

async function post(url: string, { path, token, body, transport }: Post): Promise<Reply> {
  const { chunks, encoding, contentLength = body.length, leave, pause } = transport
  const head = [
    `POST ${path} HTTP/1.1`,
    `Host: ${new URL(url).host}`,
    `Authorization: Basic ${Buffer.from(`user:${token}`).toString('base64')}`,
    'Content-Type: application/x-git-receive-pack-request',
    ...(encoding === undefined ? [] : [`Content-Encoding: ${encoding}`]),
    chunks === undefined ? `Content-Length: ${contentLength}` : 'Transfer-Encoding: chunked',
    // Who cuts must know that the request has been read.
    ...(leave === 'cut' ? ['Expect: 100-continue'] : []),
  ]
  const connection = await connect(url)
  try {
    connection.write(`${head.join('\r\n')}\r\n\r\n`)
    if (leave === 'cut') await connection.receive('100', (text) => text.startsWith('HTTP/1.1 100 '))
    const first = body.subarray(0, body.length - (pause?.before ?? 0))
    const write = (part: Buffer, isWhole: boolean): void =>
      connection.write(chunks === undefined ? part : writeChunks(part, chunks, isWhole))
    write(first, leave === undefined && pause === undefined)
    await pause?.until()
    if (pause !== undefined) write(body.subarray(first.length), leave === undefined)
    if (leave === 'end') connection.socket.end()
    if (leave === 'cut') {
      await new Promise<void>((resolve) => connection.socket.write('', () => resolve()))
      connection.socket.resetAndDestroy()
      return { status: 0, report: [], text: '' }
    }
    await until(
      'a reply to a push',
      () =>
        connection.closed() || wholeReplyBytes(connection.received()) !== undefined || undefined,
      replyTimeoutMs,
    )
    return readReply(connection.received())
  } finally {
    connection.close()
  }
}

function writeChunks(body: Buffer, sizes: readonly number[], isWhole: boolean): Buffer {
  const parts: Buffer[] = []
  for (let at = 0, i = 0; at < body.length; i++) {
    const size = sizes[i % sizes.length] ?? 1
    const part = body.subarray(at, at + size)
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'))
    at += size
  }
  return Buffer.concat([...parts, Buffer.from(isWhole ? '0\r\n\r\n' : '')])
}

function readReply(received: string): Reply {
  const end = received.indexOf('\r\n\r\n')
  if (end === -1) return { status: 0, report: [], text: received }
  const head = received.slice(0, end)
  const isChunked = /\r\ntransfer-encoding: *chunked/i.test(head)
  const body = isChunked ? joinChunks(received.slice(end + 4)) : received.slice(end + 4)
  const status = Number(head.slice(9, 12))
  const isReport = /\r\ncontent-type: *application\/x-git-receive-pack-result/i.test(head)
  return { status, report: isReport ? readReport(body) : [], text: received }
}

function joinChunks(text: string): string {
  const length = Number.parseInt(text, 16)
  const start = text.indexOf('\r\n') + 2
  if (!(length > 0)) return ''
  return text.slice(start, start + length) + joinChunks(text.slice(start + length + 2))
}

/** The report's lines, out of a side band where there is one. */
function readReport(body: string): string[] {
  const lines = readPktLines(body)
  if (lines.every((line) => line.charCodeAt(0) > 3)) return lines.map((line) => line.trimEnd())
  const inner = lines.filter((line) => line.startsWith('\x01')).map((line) => line.slice(1))
  return readPktLines(inner.join('')).map((line) => line.trimEnd())
}

function readPktLines(text: string): string[] {
  const lines: string[] = []
  for (let at = 0; at + 4 <= text.length; ) {
    const length = Number.parseInt(text.slice(at, at + 4), 16)
    if (Number.isNaN(length)) throw new Error(`no pkt-line: ${JSON.stringify(text.slice(at))}`)
    if (length > 4) lines.push(text.slice(at + 4, at + length))
    at += Math.max(length, 4)
  }
  return lines
}

/** Did the push fail in every ref? A server's own refusal and the gateway's are alike in this. */
export function isRefused({ status, report }: Reply): boolean {
  if (status === 400 || status === 403) return true
  if (status !== 200 || report.length < 2) return false
  return report.slice(1).every((line) => line.startsWith('ng '))
}

/** Memory of a process in MiB, and the most that it had since `resetPeak`. */
export function memory(pid: number): { readonly now: number; readonly peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const mebibytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) / 1024
  return { now: mebibytes('VmRSS'), peak: mebibytes('VmHWM') }
}

/** The peak is measured from now on (proc(5), clear_refs). */
export function resetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
}
