// @fastify/http-proxy with the decision in a preHandler, without a log or metrics.

import type { AddressInfo } from 'node:net'
import proxy from '@fastify/http-proxy'
import fastify from 'fastify'
import { tokenField } from '../scene.ts'
import { makeCheck } from './token-check.ts'

const [upstream, redisPort] = process.argv.slice(2)
const field = tokenField.toLowerCase()
const check = makeCheck(Number(redisPort))
const server = fastify({ keepAliveTimeout: 0 })
await server.register(proxy, {
  upstream: `http://${upstream}`,
  undici: { connections: 128, pipelining: 1 },
  preHandler: async (request, reply) => {
    const token = request.headers[field] as string | undefined
    const status = await check(token, request.method, request.url)
    if (status !== 200) return reply.code(status).send()
  },
  replyOptions: {
    rewriteRequestHeaders: (_request, { [field]: _token, ...headers }) => headers,
  },
})
await server.listen({ port: 0, host: '127.0.0.1' })
console.log(`port ${(server.server.address() as AddressInfo).port}`)
