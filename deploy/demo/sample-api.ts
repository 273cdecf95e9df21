// A REST API as a factory of devices has one: devices, targets and builds, in memory. It asks for no token
// and shows whom the gateway says it serves.

import http from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Upstream } from './sample-git.ts'

type Json = Record<string, unknown>
type Answer = { readonly status: number; readonly body?: unknown }
type Handler = (names: readonly string[], query: URLSearchParams, body: Json) => Answer

const bodyBytesMax = 64 * 1024

/** Starts the API with two devices, three targets and a build of the factory `acme`. */
export async function startApi(): Promise<Upstream> {
  const endpoints = makeEndpoints()
  const server = http.createServer((req, res) => {
    void answer(endpoints, req).then(({ status, body }) => {
      const text = body === undefined ? '' : `${JSON.stringify(body)}\n`
      const seenAs = String(req.headers['x-remote-user'] ?? 'nobody')
      res.writeHead(status, {
        ...(text !== '' && { 'Content-Type': 'application/json' }),
        ...(status !== 204 && { 'Content-Length': Buffer.byteLength(text) }),
        'X-Served-For': encodeURIComponent(seenAs),
      })
      res.end(text)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

type Endpoint = readonly [method: string, path: RegExp, handler: Handler]

function makeEndpoints(): readonly Endpoint[] {
  const devices = new Map<string, Json>(
    ['camera-1', 'gateway-2'].map((name) => [name, { name, factory: 'acme', target: 2 }]),
  )
  const targets = [1, 2, 3].map((version) => ({ version, tags: [version < 3 ? 'main' : 'devel'] }))
  const builds: Json[] = [{ build_id: 1, status: 'PASSED' }]
  const device = (name: string, act: (found: Json) => Answer): Answer => {
    const found = devices.get(name)
    return found === undefined ? missing : act(found)
  }

  return [
    ['GET', /^\/ota\/devices$/, () => ok({ devices: [...devices.values()] })],
    [
      'POST',
      /^\/ota\/devices$/,
      (_names, _query, body) => {
        const name = String(body.name ?? `device-${devices.size + 1}`)
        devices.set(name, { factory: 'acme', target: 3, ...body, name })
        return { status: 201, body: devices.get(name) }
      },
    ],
    ['GET', /^\/ota\/devices\/([^/]+)$/, ([name]) => device(name!, (found) => ok(found))],
    [
      'DELETE',
      /^\/ota\/devices\/([^/]+)$/,
      ([name]) => (devices.delete(name!) ? { status: 204 } : missing),
    ],
    [
      'GET',
      /^\/ota\/devices\/([^/]+)\/config$/,
      ([name]) => device(name!, ({ config }) => ok(config ?? {})),
    ],
    [
      'PATCH',
      /^\/ota\/devices\/([^/]+)\/config$/,
      ([name], _query, body) =>
        device(name!, (found) => ok(Object.assign(found, { config: body }))),
    ],
    ['GET', /^\/ota\/factories\/acme\/targets$/, () => ok({ targets })],
    [
      'PATCH',
      /^\/ota\/factories\/acme\/targets$/,
      (_names, _query, body) => ok({ targets: targets.map((one) => Object.assign(one, body)) }),
    ],
    ['GET', /^\/projects\/acme\/lmp\/builds$/, () => ok({ data: { builds } })],
    [
      'POST',
      /^\/projects\/acme\/lmp\/builds$/,
      () => {
        builds.push({ build_id: builds.length + 1, status: 'QUEUED' })
        return { status: 201, body: builds.at(-1) }
      },
    ],
  ]
}

const missing: Answer = { status: 404, body: { error: 'not found' } }

function ok(body: unknown): Answer {
  return { status: 200, body }
}

async function answer(endpoints: readonly Endpoint[], req: http.IncomingMessage): Promise<Answer> {
  const body = await readJson(req)
  if (body === undefined) return { status: 400, body: { error: 'a JSON object is expected' } }
  const { pathname, searchParams } = new URL(req.url ?? '/', 'http://api')
  const path = pathname.replace(/\/$/, '')
  const method = req.method === 'HEAD' ? 'GET' : req.method
  for (const [allowed, pattern, handler] of endpoints) {
    const found = allowed === method ? pattern.exec(path) : null
    if (found !== null) return handler(found.slice(1), searchParams, body)
  }
  return missing
}

async function readJson(req: http.IncomingMessage): Promise<Json | undefined> {
  let text = ''
  for await (const chunk of req.setEncoding('utf8')) {
    text += chunk
    if (text.length > bodyBytesMax) return undefined
  }
  try {
    const value: unknown = text === '' ? {} : JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Json) : undefined
  } catch {
    return undefined
  }
}
