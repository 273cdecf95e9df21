// The management listener: liveness and readiness for supervisors and load balancers, never on the public
// address. Readiness says whether to send requests here; an outage behind the gateway is no reason not to.

import type { IncomingMessage, ServerResponse } from 'node:http'
import { type AddressInfo, isIPv6 } from 'node:net'
import { createServer } from '../node-http.ts'

const plainText = 'text/plain; charset=utf-8'

/** One line of `/readyz?verbose`: `name: value`. */
export type Check = { readonly name: string; readonly value: string }

/** What is told of. */
export type ManagementState = {
  isReady(): boolean
  /** The page of metrics, and its Content-Type. */
  metrics(): Promise<{ readonly type: string; readonly text: string }>
  checks(): Promise<readonly Check[]>
}

/** Resolves with the URL once it accepts; rejects when the address is taken. */
export async function startManagement(
  settings: { readonly host: string; readonly port: number },
  state: ManagementState,
): Promise<{ readonly url: string; stop(): Promise<void> }> {
  const server = createServer((req, res) => {
    // Whoever asks how the gateway does must not be what ends it.
    answer(req, res, state).catch((error: unknown) => send(res, 500, `${error}\n`))
  })
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
    const checks = query === 'verbose' ? await state.checks() : []
    const isReady = state.isReady()
    const lines = checks.map(({ name, value }) => `${name}: ${value}\n`).join('')
    send(res, isReady ? 200 : 503, `${lines}${isReady ? 'ready' : 'not ready'}\n`)
  } else if (path === '/metrics' && isRead) {
    const { type, text } = await state.metrics()
    send(res, 200, text, type)
  } else {
    send(res, isRead ? 404 : 405, 'try /livez, /readyz?verbose or /metrics\n')
  }
}

function send(res: ServerResponse, status: number, body: string, type = plainText): void {
  res.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store' })
  res.end(body)
}
