// node:http without its face as an ES module: to make that, Node reads every name of it, and some of them load
// a whole fetch client, which takes a tenth of the start.

import type { IncomingMessage, ServerResponse } from 'node:http'

const http = process.getBuiltinModule('node:http')

export const { createServer, METHODS, STATUS_CODES } = http

export function makeServerResponse(request: IncomingMessage): ServerResponse {
  return new http.ServerResponse(request)
}
