// A flood of unknown tokens from one address: it is told to wait, in each protocol's own words, and
// nobody who has a token notices.

import http from 'node:http'
import t, { type Test } from 'tap'
import { makeSecret } from '../../gateway/tokens/token.ts'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import { startRecorder } from '../servers/recorder.ts'

const pathOf = {
  rest: '/api/things',
  git: '/git/acme/hello/info/refs?service=git-upload-pack',
  registry: '/v2/acme/app/manifests/latest',
} as const
const requestsOfFlood = 700

type Answer = {
  readonly status: number | undefined
  readonly fields: http.IncomingHttpHeaders
  readonly body: string
}

async function open(t: Test): Promise<Gateway> {
  const upstream = await startRecorder()
  const gateway = await startGateway({
    upstreams: { api: { url: upstream.url } },
    scopes: { read: 'Read' },
    routes: [
      { path: '/api/{rest...}', upstream: 'api', allow: { GET: 'read' } },
      { path: '/git/{repository...}', protocol: 'git', upstream: 'api', allow: { fetch: 'read' } },
      { path: '/v2/', protocol: 'registry', upstream: 'api', allow: { pull: 'read' } },
    ],
  })
  t.teardown(async () => {
    await gateway.stop()
    await upstream.stop()
  })
  return gateway
}

function ask(
  gateway: Gateway,
  token: string | undefined,
  path: string = pathOf.rest,
  localAddress = '127.0.0.1',
): Promise<Answer> {
  const headers: Record<string, string> =
    token === undefined ? {} : { authorization: `Basic ${btoa(`user:${token}`)}` }
  return new Promise((resolve, reject) => {
    http
      .get(gateway.url + path, { headers, localAddress }, (reply) => {
        let body = ''
        reply.setEncoding('utf8').on('data', (text: string) => {
          body += text
        })
        reply.on('end', () => resolve({ status: reply.statusCode, fields: reply.headers, body }))
        reply.on('error', reject)
      })
      .on('error', reject)
  })
}

/** The number of answers of each status. */
function counted(answers: readonly Answer[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { status } of answers) counts[String(status)] = (counts[String(status)] ?? 0) + 1
  return counts
}

function flood(gateway: Gateway): Promise<Answer[]> {
  return Promise.all(
    Array.from({ length: requestsOfFlood }, () => ask(gateway, makeSecret(), pathOf.rest)),
  )
}

t.test('an address that sends many unknown tokens', async (t) => {
  const gateway = await open(t)
  const warm = await gateway.token('--scope', 'read')
  await ask(gateway, warm)
  const cold = await gateway.token('--scope', 'read')
  const ended = await gateway.command('token', 'create', '--scope', 'read', '--json')
  const { id, token: revoked } = JSON.parse(ended.stdout) as { id: string; token: string }
  await gateway.command('token', 'revoke', id)

  const unasked = ask(gateway, cold)
  t.strictSame(counted(await flood(gateway)), { 401: 600, 429: requestsOfFlood - 600 })
  t.match(await unasked, { status: 200 }, 'a known one passes in the middle of it')

  const rows: [sentence: string, token: string | undefined, status: number][] = [
    ['a token in memory', warm, 200],
    ['a token that was made meanwhile', await gateway.token('--scope', 'read'), 200],
    ['a revoked one, which its holder is told', revoked, 401],
    ['none at all', undefined, 401],
    ['a mistyped one, by its checksum', `${makeSecret().slice(0, -1)}_`, 401],
    ['a further unknown one', makeSecret(), 429],
  ]
  for (const [sentence, token, status] of rows) {
    t.equal((await ask(gateway, token)).status, status, sentence)
  }
  const { status } = await ask(gateway, makeSecret(), pathOf.rest, '127.0.0.2')
  t.equal(status, 401, 'from elsewhere an unknown token is simply unknown')
  const line = await gateway.logged('a refusal', ({ reason }) => reason === 'too_many_requests')
  t.match(line, { outcome: 'deny', status: 429, audit: true, tokenId: null })
})

t.test('each protocol says it in its own words', async (t) => {
  const gateway = await open(t)
  await flood(gateway)
  const rows: [protocol: keyof typeof pathOf, expected: object][] = [
    ['rest', { fields: { 'content-type': 'application/problem+json' }, body: /too_many_requests/ }],
    ['git', { fields: { 'content-type': /^text\/plain/ }, body: /^.*the token is unknown, and/ }],
    [
      'registry',
      {
        fields: { 'docker-distribution-api-version': 'registry/2.0' },
        body: /"TOOMANYREQUESTS"/,
      },
    ],
  ]
  for (const [protocol, expected] of rows) {
    const answer = await ask(gateway, makeSecret(), pathOf[protocol])
    t.match(answer, { status: 429, ...expected }, protocol)
    const wait = Number(answer.fields['retry-after'])
    t.ok(wait >= 1 && wait <= 60, `${protocol}: Retry-After: ${wait}`)
    t.equal(answer.fields['www-authenticate'], undefined, `${protocol}: no challenge`)
  }
})

t.test('one wrong token locks nobody out, as a client retries it', async (t) => {
  const gateway = await open(t)
  const wrong = makeSecret()
  const retries = Array.from({ length: 12 * 6 }, () => ask(gateway, wrong, pathOf.registry))
  t.strictSame(counted(await Promise.all(retries)), { 401: 72 })
  t.match(await ask(gateway, makeSecret()), { status: 401 })
})
