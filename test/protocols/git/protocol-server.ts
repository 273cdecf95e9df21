// The git protocol between a real git client and a real git server, without the rest of the gateway: reads
// each request with `git`, decides with `decide`, forwards what `git` says and keeps what went by.

import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import type { Access, Decision, Rights } from '../../../gateway/decision/access.ts'
import { decide } from '../../../gateway/decision/decide.ts'
import { buildScopeCatalog } from '../../../gateway/decision/scope.ts'
import { GatewayError } from '../../../gateway/errors.ts'
import { git } from '../../../gateway/protocols/git/git.ts'
import type {
  InspectContext,
  ProtocolRequest,
  Reply,
  RequestBody,
  UpstreamAnswer,
  UpstreamQuestion,
} from '../../../gateway/protocols/protocol.ts'
import { readGitService } from '../../../gateway/routes/git-service.ts'
import type { Match, Route } from '../../../gateway/routes/route.ts'

const address = '127.0.0.1'

/** A push as the client sent it and as it was forwarded. */
export type RecordedPush = {
  readonly received: Buffer
  readonly receivedLength: string | undefined
  readonly forwarded: Buffer
  readonly forwardedLength: string | undefined
  /** Undefined where the gateway answered by itself. */
  readonly reply: Reply | undefined
}

export type ProtocolServer = {
  readonly port: number
  /** What the token of the client may do. */
  rights: Rights
  route: Route
  /** Capabilities that are taken out of what the upstream offers to pushing clients. */
  withheld: readonly string[]
  /** Pushes since the last call. */
  pushes(): readonly RecordedPush[]
  stop(): Promise<void>
}

/** Every action and the scope that it needs here. */
export const scopes = {
  fetch: 'source:read',
  update: 'source:read-update',
  create: 'source:create',
  delete: 'source:delete',
  force: 'source:delete',
} as const

const catalog = buildScopeCatalog(
  [...new Set(Object.values(scopes))].map((name) => ({
    name,
    description: name,
    implies: name === 'source:read-update' ? ['source:read'] : [],
    privileged: false,
  })),
)

/** A route for `/{factory}/{repository...}` with the default refs. */
export function gitRoute(changes: Partial<Route> = {}): Route {
  return {
    name: 'source',
    host: undefined,
    pattern: {
      source: '/{factory}/{repository...}',
      segments: [
        { kind: 'one', name: 'factory' },
        { kind: 'rest', name: 'repository' },
      ],
      trailingSlash: false,
    },
    protocol: 'git',
    upstream: 'git',
    allow: new Map(
      Object.entries(scopes).map(([action, name]) => [action, { kind: 'any', scopes: [name] }]),
    ),
    resources: undefined,
    credentials: [{ kind: 'authorization', scheme: 'basic' }],
    trailingSlash: 'ignore',
    fallthrough: 'warn',
    pathParameters: 'refuse',
    encodedSlash: 'refuse',
    getBody: 'refuse',
    methodOverride: 'ignored',
    inject: false,
    cors: undefined,
    refs: ['refs/heads/**', 'refs/tags/**', 'refs/notes/**', 'refs/for/**'],
    pushOptions: [],
    service: undefined,
    challenge: 'basic',
    tokenRoute: undefined,
    publicUrl: undefined,
    place: 'routes.yaml:1:1',
    ...changes,
  }
}

/** A request for a git service below that route; `target` is path and query. */
export function gitRequest(
  method: string,
  target: string,
  fields: readonly string[] = [],
  route = gitRoute(),
): ProtocolRequest {
  const [path = '', ...queries] = target.split('?')
  const query = queries.length === 0 ? undefined : queries.join('?')
  const segments = path.slice(1).split('/')
  const service = readGitService(segments)
  const captures = new Map([
    ['factory', segments[0] ?? ''],
    ['repository', segments.slice(1, -(service?.length ?? 0)).join('/')],
  ])
  const match: Match = { route, captures, ...(service === undefined ? {} : { git: service }) }
  const host = 'localhost'
  return {
    method,
    target: {
      path,
      query,
      segments,
      host,
      authority: host,
      hasParameters: false,
      hasEncodedSlash: false,
    },
    match,
    fields,
  }
}

/** A body in these chunks. */
export function bodyOf(chunks: readonly Buffer[], length?: number): RequestBody {
  const queue = [...chunks]
  return {
    length,
    next: async () => queue.shift(),
    rest: (first) => Readable.from([...first, ...queue.splice(0)], { objectMode: false }),
  }
}

/** Decides as the gateway does, for a token with these rights. */
export function decideFor(rights: Rights): (access: Access) => Decision {
  return (access) => decide(rights, access, address, catalog)
}

/** Starts the server in front of an upstream. */
export async function startProtocolServer(upstream: string): Promise<ProtocolServer> {
  const recorded: RecordedPush[] = []
  const listener = http.createServer((req, res) => {
    serve(req, res).catch((error: unknown) => res.destroy(error as Error))
  })
  await new Promise<void>((resolve) => listener.listen(0, address, resolve))
  const server: ProtocolServer = {
    port: (listener.address() as AddressInfo).port,
    rights: { scopes: ['all'], resources: null, allowedIps: null },
    route: gitRoute(),
    withheld: [],
    pushes: () => recorded.splice(0),
    stop: async () => {
      await new Promise((resolve) => {
        listener.close(resolve)
        listener.closeAllConnections()
      })
    },
  }
  return server

  async function serve(req: http.IncomingMessage, res: http.ServerResponse): Promise<void> {
    const received = await buffer(req)
    const request = gitRequest(req.method ?? '', req.url ?? '', req.rawHeaders, server.route)
    try {
      const intent = git.read(request)
      if (req.headers.authorization === undefined) throw new GatewayError('token_required', 'none')
      const decisions = intent.accesses.map(decideFor(server.rights))
      const permits = decisions.filter(({ outcome }) => outcome === 'permit').length
      const denial = decisions.find((decision) => decision.outcome === 'deny')
      if (denial !== undefined && (intent.quantifier === 'all' || permits === 0)) {
        const context = { requestId: 'test', presented: true, denial, request }
        send(res, git.refuse(new GatewayError(denial.reason, 'denied'), context))
        return
      }
      const length = req.headers['content-length']
      const body = bodyOf([received], length === undefined ? undefined : Number(length))
      const inspected = await intent.inspect?.({
        body,
        decide: decideFor(server.rights),
        ask: (question) => ask(question),
        isLimited: (key) => server.rights.resources?.[key] !== undefined,
        refresh: async () => {},
      } satisfies InspectContext)
      if (inspected === undefined) {
        await forward(req, res, received)
        return
      }
      if (inspected.kind === 'refused') {
        const { reply, error } = inspected
        if (reply === undefined) throw error
        const forwarded = Buffer.alloc(0)
        const forwardedLength = undefined
        recorded.push({ received, receivedLength: length, forwarded, forwardedLength, reply })
        send(res, reply)
        return
      }
      const forwarded = Buffer.isBuffer(inspected.body)
        ? inspected.body
        : await buffer(inspected.body)
      recorded.push({
        received,
        receivedLength: length,
        forwarded,
        forwardedLength: inspected.length?.toString(),
        reply: undefined,
      })
      await forward(req, res, forwarded, inspected.drop)
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error
      const presented = req.headers.authorization !== undefined
      send(res, git.refuse(error, { requestId: 'test', presented, request }))
    }
  }

  async function ask(question: UpstreamQuestion): Promise<UpstreamAnswer> {
    const headers: [string, string][] = []
    const fields = question.fields ?? []
    for (let i = 0; i < fields.length; i += 2) headers.push([fields[i]!, fields[i + 1]!])
    const { method, body = null } = question
    const answer = await fetch(`${upstream}${question.path}`, { method, headers, body })
    const answered = Buffer.from(await answer.arrayBuffer())
    return { status: answer.status, fields: [], body: answered }
  }

  async function forward(
    req: http.IncomingMessage,
    res: http.ServerResponse,
    body: Buffer,
    drop: readonly string[] = [],
  ): Promise<void> {
    const headers: http.OutgoingHttpHeaders = { ...req.headers, 'content-length': `${body.length}` }
    for (const name of ['transfer-encoding', ...drop]) delete headers[name]
    const answer = await new Promise<http.IncomingMessage>((resolve, reject) => {
      const asked = http.request(`${upstream}${req.url}`, { method: req.method, headers }, resolve)
      asked.on('error', reject)
      asked.end(body)
    })
    if (server.withheld.length === 0) {
      res.writeHead(answer.statusCode!, answer.rawHeaders)
      await pipeline(answer, res)
      return
    }
    res.writeHead(answer.statusCode!, { 'content-type': answer.headers['content-type'] })
    res.end(withhold(await buffer(answer), server.withheld))
  }
}

function send(res: http.ServerResponse, reply: Reply): void {
  res.writeHead(reply.status, [...reply.fields])
  res.end(reply.body)
}

// The first line with a NUL loses the capabilities, and its length says so.
function withhold(advertised: Buffer, withheld: readonly string[]): Buffer {
  const text = advertised.toString('latin1')
  const nul = text.indexOf('\0')
  if (nul === -1) return advertised
  const start = text.slice(0, nul).search(/[0-9a-f]{4}[0-9a-f]{40} [^ ]*$/)
  const end = start + Number.parseInt(text.slice(start, start + 4), 16)
  const [refs, capabilities] = text.slice(start + 4, end).split('\0')
  const kept = capabilities!
    .trim()
    .split(' ')
    .filter((name) => !withheld.includes(name))
  const line = `${refs}\0${kept.join(' ')}\n`
  const length = (line.length + 4).toString(16).padStart(4, '0')
  return Buffer.from(text.slice(0, start) + length + line + text.slice(end), 'latin1')
}
