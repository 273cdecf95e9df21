// The service that nginx's auth_request and Caddy's forward_auth ask: answers 200 or a refusal.

import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { tokenField } from '../scene.ts'
import { makeCheck } from './token-check.ts'

const [, redisPort] = process.argv.slice(2)
const check = makeCheck(Number(redisPort))
const server = http.createServer(async (req, res) => {
  const { headers } = req
  const method = headers['x-original-method'] ?? headers['x-forwarded-method'] ?? 'GET'
  const path = headers['x-original-uri'] ?? headers['x-forwarded-uri'] ?? ''
  const token = headers[tokenField.toLowerCase()]
  res.writeHead(await check(token as string | undefined, String(method), String(path)))
  res.end()
})
server.keepAliveTimeout = 0
server.listen(0, '127.0.0.1', () => console.log(`port ${(server.address() as AddressInfo).port}`))
