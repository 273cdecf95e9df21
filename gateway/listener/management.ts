// The management listener: liveness and readiness for supervisors and load balancers, never on the public
// address. Readiness says whether to send requests here; an outage behind the gateway is no reason not to.

import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, isIPv6 } from 'node:net'

export type ManagementState = {
  isReady: boolean
  /** What `/readyz?verbose` lists, by name. */
  readonly checks: Map<string, 'ok' | 'unavailable'>
}

/** Resolves with the URL once it accepts; rejects when the address is taken. */
export async function startManagement(
  settings: { readonly host: string; readonly port: number },
  state: ManagementState,
): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const server = http.createServer((req, res) => answer(req, res, state))
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

function answer(req: IncomingMessage, res: ServerResponse, state: ManagementState): void {
  const [path, query] = (req.url ?? '').split('?', 2)
  const isRead = req.method === 'GET' || req.method === 'HEAD'
  if (path === '/livez' && isRead) {
    send(res, 200, 'ok\n')
  } else if (path === '/readyz' && isRead) {
    const verdict = state.isReady ? 'ready\n' : 'not ready\n'
    const names = query === 'verbose' ? [...state.checks] : []
    const list = names.map(([name, value]) => `${name}: ${value}\n`).join('')
    send(res, state.isReady ? 200 : 503, list + verdict)
  } else {
    send(res, isRead ? 404 : 405, 'try /livez or /readyz?verbose\n')
  }
}

function send(res: ServerResponse, status: number, body: string): void {
  res.writeHead(status, {
    'Content-Type': 'text/plain; charset=utf-8',
    'Cache-Control': 'no-store',
  })
  res.end(body)
}
