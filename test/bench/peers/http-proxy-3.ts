// http-proxy-3 by itself, without a decision, a log or metrics.

import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { createProxyServer } from 'http-proxy-3'

const [upstream] = process.argv.slice(2)
const agent = new http.Agent({ keepAlive: true, maxSockets: 256 })
const proxy = createProxyServer({ target: `http://${upstream}`, agent })
proxy.on('error', (_error, _req, res) => void res.end())
const server = http.createServer((req, res) => proxy.web(req, res))
server.listen(0, '127.0.0.1', () => console.log(`port ${(server.address() as AddressInfo).port}`))
