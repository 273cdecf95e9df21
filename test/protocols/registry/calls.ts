// Requests to a registry route and the context in which its intents act, for the tests of this folder. The
// decision is the real one; the upstream's answers are given by the test.

import { Readable } from 'node:stream'
import type { Requirement, Rights } from '../../../gateway/decision/access.ts'
import { decide } from '../../../gateway/decision/decide.ts'
import { buildScopeCatalog } from '../../../gateway/decision/scope.ts'
import { readTarget } from '../../../gateway/listener/target.ts'
import type {
  AnswerContext,
  InspectContext,
  ProtocolRequest,
  UpstreamAnswer,
  UpstreamQuestion,
} from '../../../gateway/protocols/protocol.ts'
import type { Route } from '../../../gateway/routes/route.ts'

/** Every action and the scope that it needs here. */
export const scopes = {
  pull: 'containers:read',
  push: 'containers:read-update',
  delete: 'containers:delete',
} as const

export const catalog = buildScopeCatalog(
  Object.values(scopes).map((name) => ({
    name,
    description: name,
    implies: name === 'containers:read-update' ? ['containers:read'] : [],
    privileged: false,
  })),
)

export const route: Route = {
  name: 'hub',
  host: 'hub.example',
  pattern: {
    source: '/v2/{rest...}',
    segments: [
      { kind: 'literal', value: 'v2' },
      { kind: 'rest', name: 'rest' },
    ],
    trailingSlash: false,
  },
  protocol: 'registry',
  upstream: 'hub',
  allow: new Map<string, Requirement>([
    ...Object.entries(scopes).map(
      ([action, name]) => [action, { kind: 'any', scopes: [name] }] as const,
    ),
    ['catalog', { kind: 'authenticated' }] as const,
  ]),
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
  refs: [],
  pushOptions: [],
  service: undefined,
  challenge: 'basic',
  tokenRoute: undefined,
  publicUrl: undefined,
  place: 'routes.yaml:1:1',
}

/** A request to the route; `target` is path and query. */
export function request(
  method: string,
  target: string,
  fields: readonly string[] = [],
): ProtocolRequest {
  const match = { route, captures: new Map<string, string>() }
  return { method, target: readTarget(target, ['hub.example'], 'http'), match, fields }
}

/** Rights of a token with these scopes. */
export function rights(scopes: readonly string[], repository?: readonly string[]): Rights {
  return { scopes, resources: repository === undefined ? null : { repository }, allowedIps: null }
}

export type Answers = (question: UpstreamQuestion) => UpstreamAnswer

export type Recorded = AnswerContext & { readonly questions: readonly string[] }

/** What an intent may do, with these rights. `questions` are the method and path of what it asked. */
export function contextFor(granted: Rights, answers: Answers): Recorded {
  const questions: string[] = []
  return {
    questions,
    decide: (access) => decide(granted, access, '192.0.2.1', catalog),
    ask: async (question) => {
      questions.push(`${question.method} ${question.path}`)
      return answers(question)
    },
  }
}

/** An answer without a body. */
export function answer(status: number): UpstreamAnswer {
  return { status, fields: [], body: Buffer.alloc(0) }
}

/** The context with a request body that comes in these chunks; `taken` counts those handed out. */
export function withBody<Context extends AnswerContext>(
  context: Context,
  chunks: readonly (string | Buffer)[],
  length?: number,
): Context & InspectContext & { taken(): number } {
  const left = chunks.map((chunk) => Buffer.from(chunk))
  const body = {
    length,
    next: async () => left.shift(),
    rest: (first: readonly Buffer[]) => Readable.from([...first, ...left.splice(0)]),
  }
  const isLimited = (): boolean => false
  const refresh = async (): Promise<void> => {}
  return { ...context, body, isLimited, refresh, taken: () => chunks.length - left.length }
}
