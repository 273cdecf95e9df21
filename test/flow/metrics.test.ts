// The page of metrics: what operators watch and alert on, in labels of closed sets. Never a path, a token
// or an address.

import t from 'tap'
import { Pool } from 'undici'
import { startGateway } from '../servers/gateway.ts'
import { startRecorder } from '../servers/recorder.ts'

t.test('the page of metrics', async (t) => {
  const upstream = await startRecorder()
  const gateway = await startGateway({
    upstreams: { api: { url: upstream.url } },
    scopes: { read: 'Read', write: 'Write' },
    routes: [{ name: 'things', path: '/things/{id}', upstream: 'api', allow: { GET: 'read' } }],
  })
  t.teardown(async () => {
    await gateway.stop()
    await upstream.stop()
  })
  const good = await gateway.token('--scope', 'read')
  const short = await gateway.token('--scope', 'write')
  const ask = async (path: string, token?: string): Promise<number> => {
    const response = await fetch(gateway.url + path, {
      headers: token === undefined ? {} : { 'OSF-TOKEN': token },
    })
    await response.arrayBuffer()
    return response.status
  }
  t.strictSame(
    [
      await ask('/things/secret-path', good),
      await ask('/things/secret-path', good),
      await ask('/things/1', short),
      await ask('/things/1', 'no-token'),
      await ask('/elsewhere'),
    ],
    [200, 200, 403, 401, 404],
  )

  const response = await fetch(`${gateway.managementUrl}/metrics`)
  const page = await response.text()
  t.match(response.headers.get('content-type'), /^text\/plain; version=0\.0\.4/)
  const value = (sample: string): number => {
    const line = page.split('\n').find((candidate) => candidate.startsWith(`${sample} `))
    return Number(line?.slice(sample.length + 1) ?? Number.NaN)
  }

  for (const [sample, expected, sentence] of [
    [
      'http_server_request_duration_seconds_count{route="things",method="GET",status="200"}',
      2,
      'requests by route, method and status',
    ],
    [
      'http_server_time_to_first_byte_seconds_count{route="things",method="GET",status="403"}',
      1,
      'time to first byte, of refusals too',
    ],
    ['scopegate_decisions_total{route="things",outcome="permit",reason="permitted"}', 2, 'permits'],
    [
      'scopegate_decisions_total{route="things",outcome="deny",reason="insufficient_scope"}',
      1,
      'denials by reason',
    ],
    [
      'scopegate_decisions_total{route="none",outcome="deny",reason="no_route"}',
      1,
      'what no route takes',
    ],
    ['scopegate_token_lookups_total{tier="authority",result="hit"}', 2, 'one question a token'],
    ['scopegate_token_lookups_total{tier="authority",result="absent"}', 1, 'unknown tokens'],
    ['scopegate_token_lookups_total{tier="memory",result="hit"}', 1, 'what memory answers'],
    ['scopegate_token_lookup_duration_seconds_count{tier="authority"}', 3, 'how long it took'],
    ['scopegate_dependency_up{name="authority"}', 1, 'the authority answers'],
    ['scopegate_open_streams', 0, 'nothing is under way'],
    ['scopegate_build_info{version="0.1.0"}', 1, 'the version'],
    ['scopegate_config_last_reload_successful', 1, 'the configuration is good'],
  ] as const) {
    t.equal(value(sample), expected, `${sentence}: ${sample}`)
  }
  t.match(page, /^process_resident_memory_bytes [0-9]/m, 'Node’s own')
  for (const secret of [good, short, 'secret-path', 'no-token', '127.0.0.1']) {
    t.notOk(page.includes(secret), 'nothing of tokens, paths and addresses')
  }
})

t.test('a request under way counts as an open stream', async (t) => {
  const upstream = await startRecorder()
  upstream.respond(() => ({ raw: 'HTTP/1.1 200 OK\r\n\r\nfirst', ending: 'stall' }))
  const gateway = await startGateway({
    upstreams: { api: { url: upstream.url } },
    routes: [{ path: '/{rest...}', upstream: 'api', allow: 'public' }],
  })
  t.teardown(async () => {
    await gateway.stop()
    await upstream.stop()
  })
  const client = new AbortController()
  const response = await fetch(gateway.url, { signal: client.signal })
  await response.body?.getReader().read()
  const page = await (await fetch(`${gateway.managementUrl}/metrics`)).text()
  t.match(page, /^scopegate_open_streams 1$/m)
  client.abort()
})

t.test('a thousand requests at once with one cold token ask the authority once', async (t) => {
  const upstream = await startRecorder()
  const gateway = await startGateway({
    server: { limits: { connectionsPerAddress: 0 } },
    upstreams: { api: { url: upstream.url } },
    scopes: { read: 'Read' },
    routes: [{ path: '/{rest...}', upstream: 'api', allow: 'read' }],
  })
  const clients = new Pool(gateway.url, { connections: 1000 })
  t.teardown(async () => {
    await clients.close()
    await gateway.stop()
    await upstream.stop()
  })
  const headers = { 'OSF-TOKEN': await gateway.token('--scope', 'read') }
  const replies = Array.from({ length: 1000 }, async () => {
    const { statusCode, body } = await clients.request({ method: 'GET', path: '/x', headers })
    await body.dump()
    return statusCode
  })
  t.strictSame([...new Set(await Promise.all(replies))], [200])
  const page = await (await fetch(`${gateway.managementUrl}/metrics`)).text()
  t.match(page, /^scopegate_token_lookups_total\{tier="authority",result="hit"\} 1$/m)
})
