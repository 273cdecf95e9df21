// The schema of scopes and routes. What needs more than one key to judge (a key on the wrong protocol, an
// undeclared scope, a tie) is judged in routes.ts.

import * as z from 'zod'
import type { ServiceName } from '../routes/route.ts'
import { absent, choice, duration, fields, flag, list, pattern, text } from './schema.ts'
import { carriers, headerName } from './settings.ts'

/** Words that stand for a requirement without a scope; no scope can be called so. */
export const requirementWords = ['public', 'optional', 'authenticated', 'path-scope'] as const

/** The names of a route's actions by protocol; REST routes have methods. */
export const actionsByProtocol = {
  git: ['fetch', 'update', 'create', 'delete', 'force'],
  registry: ['pull', 'push', 'delete', 'catalog'],
} as const

/** The methods that each service answers; HEAD goes with GET. */
export const methodsByService: Readonly<Record<ServiceName, readonly string[]>> = {
  'registry-token': ['GET', 'POST'],
}

const scopeList = list(text('the name of a scope'), 'at least one scope')

/** What a method or an action needs. */
export const requirement = z
  .union(
    [
      text('a scope'),
      fields({ any: scopeList.optional(), all: scopeList.optional() }).refine(
        (value) => (value.any === undefined) !== (value.all === undefined),
        { error: 'a requirement has exactly one of any and all, with a list of scopes' },
      ),
    ],
    {
      error:
        'expected a scope, { any: [SCOPE] }, { all: [SCOPE] }, public, optional, authenticated or path-scope',
    },
  )
  .describe('A scope, { any: [] }, { all: [] }, public, optional, authenticated or path-scope.')

/** What a route permits: one requirement for GET and HEAD, or one for each method or action. */
export const allow = z
  .union([text('a scope'), z.record(z.string(), requirement)], {
    error: 'expected a scope, or a map of methods (of actions, for git and registry) to scopes',
  })
  .describe(
    'By method (REST; HEAD follows GET, `*` is every other), or by action: fetch, update, create, delete, force (git); pull, push, delete, catalog (registry). A bare scope stands for GET and HEAD.',
  )

/** A scope by name: a sentence, or a map. */
export const scopeName = pattern(
  /^[A-Za-z][!#-+\--[\]-~]*$/,
  'a scope name such as source:read, without spaces and commas',
)

/** What is declared of a scope. */
export const scope = z.union(
  [
    text('a sentence that describes the scope'),
    fields({
      description: text('a sentence that describes the scope').describe('One sentence for people.'),
      implies: z
        .array(text('the name of a scope'), { error: 'expected a list of scopes' })
        .default([])
        .describe('Scopes that this one also grants.'),
      privileged: flag().default(false).describe('Held by name only: `all` does not cover it.'),
    }),
  ],
  { error: 'expected a sentence, or a map with keys of: description, implies, privileged' },
)

const origin = text('an origin').refine(
  (value) => value === '*' || (URL.canParse(value) && new URL(value).origin === value),
  { error: 'expected an origin, as in https://app.example.com, or *' },
)

const cors = z
  .union(
    [
      z.literal('*'),
      fields({
        origins: z.union([z.literal('*'), list(origin, 'a list of origins')], {
          error: 'expected a list of origins, or *',
        }),
        headers: z
          .array(headerName(), { error: 'expected a list of header fields' })
          .optional()
          .describe('Fields that scripts may send. Default: the carriers and Content-Type.'),
        maxAge: duration().prefault('10m').describe('How long a browser keeps the answer.'),
      }),
    ],
    { error: "expected '*', or a map with keys of: origins, headers, maxAge" },
  )
  .describe('Answers to browsers: preflights are answered by the gateway, without a token.')

const sourceName = pattern(/^(query\.)?[A-Za-z0-9._~-]+$/, 'the name of a capture, or query.NAME')

const publicUrlForm = 'expected an address without query, as in https://hub.example.com'

function isPublicUrl(value: string): boolean {
  const isPlain = /^https?:\/\/[!#-'*-;=?-[\]_a-z~]+$/i.test(value) && !/[?#]/.test(value)
  if (!isPlain || !URL.canParse(value)) return false
  const { username, password } = new URL(value)
  return username === '' && password === ''
}

/** One route. */
export const route = fields({
  name: pattern(/^[ -~]{1,100}$/, 'a name of at most 100 printable characters')
    .optional()
    .describe('For logs, metrics and explain. Default: host and path.'),
  host: z
    .union([z.string(), z.null()], { error: 'expected a host name' })
    .optional()
    .describe('Host name, or *.example.com; empty or absent: any host without routes of its own.'),
  path: text('a path, as in /devices/{device}/')
    .optional()
    .describe('{name} is one segment, {name...} the rest. A registry has none: it is /v2/.'),
  protocol: choice(['rest', 'git', 'registry']).default('rest').describe('What is spoken.'),
  upstream: text('the name of an upstream').optional().describe('Who serves it.'),
  allow,
  resources: z
    .record(z.string(), sourceName, { error: 'expected a map of resource keys to captures' })
    .optional()
    .describe('Resources by key: a capture, or query.NAME. Default: every capture by its name.'),
  credentials: carriers.optional().describe('The carriers that are read here, of the global list.'),
  trailingSlash: choice(['ignore', 'strict'])
    .default('ignore')
    .describe('Does it make a difference?'),
  pathParameters: choice(['refuse', 'allow']).default('refuse').describe('`;` in the path.'),
  encodedSlash: choice(['refuse', 'allow']).default('refuse').describe('`%2F` in the path.'),
  getBody: choice(['refuse', 'allow']).default('refuse').describe('A body on GET and HEAD.'),
  methodOverride: choice(['refuse', 'effective', 'ignored'])
    .default('refuse')
    .describe(
      'X-HTTP-Method-Override, `_method`; `ignored` of an upstream that does not honour it.',
    ),
  fallthrough: choice(['warn', 'accepted'])
    .default('warn')
    .describe('`accepted`: more specific routes inside of this weaker one are meant so.'),
  inject: flag().default(false).describe("Set the upstream's headers on public requests too."),
  cors: cors.optional(),
  refs: list(
    pattern(/^refs\/./, 'a full ref name or glob, as in refs/heads/**'),
    'a list of ref globs',
  )
    .optional()
    .describe('Git: full ref names that a push may touch.'),
  pushOptions: z
    .array(text('a push option'), { error: 'expected a list of push options' })
    .optional()
    .describe('Git: the push options that may be sent.'),
  challenge: choice(['basic', 'bearer'])
    .default('basic')
    .describe(
      'Registry: how a client is asked for its token: as a password, or sent to the token service for a grant.',
    ),
  errors: choice(['problem', 'foundries', 'arvados', 'insight'])
    .optional()
    .superRefine((value, context) => {
      if (value === undefined || value === 'problem') return
      context.addIssue({ code: 'custom', message: absent(`errors: ${value}`, 'use problem') })
    })
    .describe('The form of refusals: RFC 9457 problems.'),
  service: choice([
    'registry-token',
    'tokens',
    'arvados-tokens',
    'insight-tokens',
    'oauth',
    'console',
  ])
    .optional()
    .transform((value, context) => {
      if (value === undefined || value === 'registry-token') return value
      const message = absent(`service: ${value}`, 'it has registry-token')
      context.addIssue({ code: 'custom', message })
      return z.NEVER
    })
    .describe('What the gateway answers itself, in place of an upstream.'),
  publicUrl: z
    .union([z.null(), z.string()], { error: publicUrlForm })
    .refine((value) => !value || isPublicUrl(value), { error: publicUrlForm })
    .optional()
    .describe(
      'Registry and registry-token: where clients reach the route, if not where they ask. An origin, or all of the address of the service. Empty: none.',
    ),
  examples: z
    .array(text('an example'), { error: 'expected a list of examples' })
    .default([])
    .describe('`METHOD TARGET (with SCOPE[, SCOPE]… | without token) -> STATUS`, run by lint.'),
}).describe('Who may do what below one host and path.')

/** The sections `scopes` and `routes`. */
export const routeMap = {
  scopes: z
    .record(scopeName, scope, { error: 'expected a map of scopes by name' })
    .default({})
    .describe('Every scope, with a sentence and what it implies.'),
  routes: z
    .array(route, { error: 'expected a list of routes' })
    .default([])
    .describe('The routes; their order never matters.'),
}
