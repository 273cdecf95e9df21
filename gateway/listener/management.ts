// The management listener: liveness and readiness for supervisors and load balancers, never on the public
// address. Readiness says whether to send requests here; an outage behind the gateway is no reason not to.

import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, isIPv6 } from 'node:net'

const plainText = 'text/plain; charset=utf-8'

export type ManagementState = {
  isReady: boolean
  /** The page of metrics. */
  readonly metrics: () => Promise<{ readonly type: string; readonly text: string }>
  /** What `/readyz?verbose` lists, by name. */
  readonly checks: Map<string, 'ok' | 'unavailable'>
  /** Further lines of that list; `isReachable` is undefined where nobody has tried yet. */
  readonly upstreams: () => Iterable<{ readonly name: string; isReachable: boolean | undefined }>
}

/** Resolves with the URL once it accepts; rejects when the address is taken. */
export async function startManagement(
  settings: { readonly host: string; readonly port: number },
  state: ManagementState,
): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const server = http.createServer((req, res) => void answer(req, res, state))
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(settings.port, settings.host, resolve)
  })
  const { address, port } = server.address() as AddressInfo
  const shown = address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address
  return {
    url: `http://${isIPv6(shown) ? `[${shown}]` : shown}:${port}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function answer(
  req: IncomingMessage,
  res: ServerResponse,
  state: ManagementState,
): Promise<void> {
  const [path, query] = (req.url ?? '').split('?', 2)
  const isRead = req.method === 'GET' || req.method === 'HEAD'
  if (path === '/livez' && isRead) {
    send(res, 200, 'ok\n')
  } else if (path === '/readyz' && isRead) {
    const verdict = state.isReady ? 'ready\n' : 'not ready\n'
    send(
      res,
      state.isReady ? 200 : 503,
      query === 'verbose' ? listChecks(state) + verdict : verdict,
    )
  } else if (path === '/metrics' && isRead) {
    const { type, text } = await state.metrics()
    send(res, 200, text, type)
  } else {
    send(res, isRead ? 404 : 405, 'try /livez, /readyz?verbose or /metrics\n')
  }
}

function listChecks({ checks, upstreams }: ManagementState): string {
  const lines = [...checks].map(([name, value]) => `${name}: ${value}\n`)
  for (const { name, isReachable } of upstreams()) {
    const value = isReachable === undefined ? 'not asked yet' : isReachable ? 'ok' : 'unavailable'
    lines.push(`upstream ${name}: ${value}\n`)
  }
  return lines.join('')
}

function send(res: ServerResponse, status: number, body: string, type = plainText): void {
  res.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store' })
  res.end(body)
}
