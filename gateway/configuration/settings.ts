// The schema of everything but scopes and routes: listeners, limits, tokens, carriers, upstreams. Types,
// defaults and descriptions stand here once; the JSON Schema and the reference are made from them.

import { isIP } from 'node:net'
import * as z from 'zod'
import { parseRedisUrl } from './redis-url.ts'
import {
  absent,
  choice,
  duration,
  fields,
  list,
  notYet,
  pattern,
  size,
  text,
  timerMsMax,
  whole,
} from './schema.ts'

/** More processes than this are a slip of the pen, not a machine. */
export const workersMax = 256

const century = 36_500 * 86_400_000
const fieldName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/** A header field's name (RFC 9110 5.1). */
export function headerName() {
  return pattern(fieldName, 'the name of a header field')
}

const host = text('an IP address or host name').refine(
  (value) => isIP(value) !== 0 || /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(value),
  { error: 'expected an IP address (IPv6 without brackets) or host name' },
)

const addressRange = text('a CIDR range or an address').refine(isAddressRange, {
  error: 'expected a CIDR range or an address, as in 10.0.0.0/8',
})

const listener = fields({
  host: host.default('127.0.0.1').describe('Address to listen at; 0.0.0.0 or :: for every one.'),
  port: whole(0, 65_535).default(8080).describe('0 picks a free one.'),
  tls: notYet('listen.tls', 'end TLS in front of the gateway'),
  trustedProxies: fields({
    from: list(addressRange, 'a list of CIDR ranges').describe(
      'Addresses of the proxies whose forwarding fields are believed.',
    ),
    read: choice(['x-forwarded', 'forwarded', 'proxy-protocol'])
      .superRefine((value, context) => {
        if (value === 'proxy-protocol') {
          const message = absent(
            'trustedProxies.read: proxy-protocol',
            'use x-forwarded or forwarded',
          )
          context.addIssue({ code: 'custom', message })
        }
      })
      .describe('The kind of field that they write.'),
  })
    .optional()
    .describe(
      'Proxies in front of the gateway. None by default: forwarding fields are then removed.',
    ),
}).describe('Where the gateway listens.')

const management = z
  .union(
    [
      z.literal('off'),
      fields({
        host: host.default('127.0.0.1').describe('Address of /livez, /readyz and /metrics.'),
        port: whole(0, 65_535).default(9090).describe('0 picks a free one.'),
      }),
    ],
    { error: 'expected off, or a map with keys of: host, port' },
  )
  .prefault({})
  .describe('The management listener, never the public one; `off` for none.')

const workersForm = `expected a whole number from 1 to ${workersMax}, or auto`

const workers = z
  .union(
    [
      z.literal('auto'),
      z
        .int({ error: workersForm })
        .min(1, { error: workersForm })
        .max(workersMax, { error: workersForm }),
    ],
    { error: workersForm },
  )
  .default(1)

const server = fields({
  workers: workers.describe('Processes on one port; `auto`: one a processor.'),
  drain: fields({
    delay: duration().prefault('0s').describe('Between not being ready and closing the listeners.'),
    timeout: duration().prefault('30s').describe('What requests in flight get to finish.'),
  })
    .prefault({})
    .describe('How the gateway stops.'),
  limits: fields({
    headBytes: size(1024, 1024 ** 2)
      .prefault('16KiB')
      .describe('Longest head of a request.'),
    connectionsPerAddress: whole(0, 1_000_000)
      .default(1000)
      .describe('Open connections of one client address to each worker; 0 is no limit.'),
  })
    .prefault({})
    .describe('Bounds on what clients may ask of each process.'),
})
  .prefault({})
  .describe('The processes.')

const authority = z
  .union([z.string(), z.looseObject({})], {
    error: 'expected sqlite: and the path of a file, as in sqlite:var/tokens.db',
  })
  .superRefine((value, context) => {
    const known = typeof value !== 'string' || /^(postgres(ql)?|introspection):/.test(value)
    if (!known && /^sqlite:(?!\/\/|:)./.test(value)) return
    const message = known
      ? absent('an authority other than sqlite:', 'use sqlite:PATH').replaceAll('`', '')
      : 'expected sqlite: and the path of a file, as in sqlite:var/tokens.db'
    context.addIssue({ code: 'custom', message })
  })
  .transform(String)

const redis = z
  .unknown()
  .optional()
  .transform((value, context) => {
    if (value === undefined || value === null || value === '') return undefined
    const settings =
      typeof value === 'string'
        ? parseRedisUrl(value)
        : absent('tokens.redis` other than an address', 'write redis://HOST:PORT').replace(
            'address`',
            'address',
          )
    if (typeof settings !== 'string') return settings
    context.addIssue({ code: 'custom', message: settings })
    return z.NEVER
  })
  .meta({ anyOf: [{ type: 'null' }, { type: 'string', pattern: '^$|^rediss?://|\\$\\{' }] })

/** A value that may stand in a file of its own. */
export const secret = z.union([z.string(), fields({ file: text('the path of a file') })], {
  error: 'expected a string, or { file: PATH }',
})

const tokens = fields({
  authority: authority
    .optional()
    .describe(
      'Where tokens are kept: sqlite:PATH, beside this file. Default sqlite:var/tokens.db.',
    ),
  redis: redis.describe(
    'A cache that gateways share: redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// for TLS. Empty: none.',
  ),
  cache: fields({
    entries: whole(1, 10_000_000).default(100_000).describe('Records kept in memory.'),
    fresh: duration().prefault('30s').describe('How long a record is used without asking again.'),
    stale: duration().prefault('1m').describe('How much longer while the authority is away.'),
    absent: duration().prefault('5s').describe('How long an unknown token stays unknown.'),
  })
    .prefault({})
    .describe('Records in memory, and in Redis.'),
  lifetime: fields({
    default: duration(1000, century).prefault('90d').describe('Of a token made without an expiry.'),
    max: duration(1000, century).prefault('400d').describe('The longest that may be asked for.'),
  })
    .prefault({})
    .describe('How long tokens live.'),
  grantKey: secret
    .optional()
    .describe(
      "Signs the registry's grants: at least 32 characters, or { file: PATH }. Default: a key of the authority's own.",
    ),
  seal: notYet('tokens.seal', 'remove it: tokens are kept as digests only'),
})
  .prefault({})
  .describe('The tokens: where they are kept, cached, and for how long they are good.')

/** One place where a token may come from: exactly one key. */
export const carrier = fields({
  header: headerName().optional().describe('A field that holds the token.'),
  authorization: choice(['bearer', 'oauth2', 'basic'])
    .optional()
    .describe('A scheme of the Authorization field.'),
  query: pattern(/^[A-Za-z0-9._~-]+$/, 'the name of a query parameter')
    .optional()
    .describe('A query parameter that holds the token.'),
}).refine((value) => Object.values(value).filter((one) => one !== undefined).length === 1, {
  error: 'a carrier has exactly one of header, authorization and query',
})

/** Carriers in the order in which they are read. */
export const carriers = list(carrier, 'a list of carriers, such as { header: OSF-TOKEN }')

/** The carriers of a configuration that names none. */
export const defaultCarriers = [
  { header: 'OSF-TOKEN' },
  { header: 'X-Auth-Token' },
  { authorization: 'bearer' as const },
  { authorization: 'oauth2' as const },
  { authorization: 'basic' as const },
]

/** The name of an upstream. */
export const upstreamName = pattern(
  /^[A-Za-z0-9][A-Za-z0-9._-]*$/,
  'a name of letters, digits, `.`, `_` and `-`',
)

const timeout = () => duration(1, timerMsMax)

/** One upstream. */
export const upstream = fields({
  url: text('an address, as in http://127.0.0.1:9001').describe(
    'http:// or https://, host, port and, where it has one, the base path.',
  ),
  host: choice(['upstream', 'client'])
    .default('upstream')
    .describe("The Host that the upstream sees: its own, or the request's."),
  headers: z
    .record(headerName(), secret, { error: 'expected a map of header fields' })
    .default({})
    .describe('Set on every forwarded request of an authenticated route.'),
  identity: fields({
    subject: headerName().optional().describe("Field for the token's subject."),
    token: headerName().optional().describe("Field for the token's id."),
    scopes: headerName().optional().describe("Field for the token's scopes, joined by `, `."),
  })
    .default({})
    .describe('Fields that tell the upstream whose request it is.'),
  credentials: choice(['strip', 'forward'])
    .default('strip')
    .describe("Whether the client's own credentials are passed on."),
  timeouts: fields({
    connect: timeout().prefault('5s').describe('To connect.'),
    headers: timeout()
      .optional()
      .describe(
        'From the end of the request to the head of the reply. 60s; 15m for git, registry.',
      ),
    idle: timeout().prefault('10m').describe('Without a byte in either direction.'),
  })
    .prefault({})
    .describe('How long to wait.'),
  tls: fields({
    ca: text('the path of a PEM file').optional().describe('Certificates to trust.'),
    cert: text('the path of a PEM file').optional().describe('Client certificate.'),
    key: text('the path of a PEM file').optional().describe('Key of the client certificate.'),
    serverName: text('a host name').optional().describe('Name that the certificate must have.'),
  })
    .optional()
    .describe('TLS to an https upstream.'),
}).describe('A server that requests are forwarded to.')

/** The sections of a configuration but `scopes`, `routes` and `include`. */
export const settings = {
  version: z
    .literal(1, { error: 'expected 1, as in `version: 1`' })
    .describe('Version of this format.'),
  listen: z
    .union([listener, list(listener, 'a list of listeners')], {
      error: 'expected a listener such as { host: 127.0.0.1, port: 8080 }, or a list of them',
    })
    .prefault({})
    .describe('Where the gateway listens; one, or a list.'),
  server,
  management,
  tokens,
  credentials: carriers
    .default(defaultCarriers)
    .describe('Where a token may come from. A route may narrow the list.'),
  upstreams: z
    .record(upstreamName, upstream, { error: 'expected a map of upstreams by name' })
    .default({})
    .describe('The servers behind the gateway, by name.'),
  oauth: notYet('oauth', 'remove the section'),
  console: notYet('console', 'remove the section'),
}

function isAddressRange(value: string): boolean {
  const [address = '', bits, ...more] = value.split('/')
  const family = isIP(address)
  if (family === 0 || more.length > 0) return false
  return (
    bits === undefined ||
    (/^(0|[1-9]\d{0,2})$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
  )
}
