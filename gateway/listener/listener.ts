// One listening address: connections, heads and early ends, as HTTP/1.1 (RFC 9112). It hands whole heads to
// the pipeline and answers by itself only what the parser refuses. It decides nothing.

import type { Server as HttpServer, IncomingMessage, ServerResponse } from 'node:http'
import net, { type AddressInfo, type Socket } from 'node:net'
import type { ListenSettings, ServerSettings } from '../configuration/configuration.ts'
import { GatewayError } from '../errors.ts'
import { createServer, makeServerResponse } from '../node-http.ts'
import { fieldValue } from '../protocols/fields.ts'
import { buildTrustedProxies, type TrustedProxies } from './address.ts'
import { type BodySource, clientLeft } from './body.ts'
import { Exchange } from './exchange.ts'
import { noHead, readParserError } from './parser-error.ts'
import { PlainConnections } from './plain-connections.ts'

/** Time for a whole head, for a connection without one, and between two requests. */
const headTimeoutMs = 10_000
const keepAliveTimeoutMs = 60_000
const checkIntervalMs = 1_000
const fieldsMax = 100
/** Requests that a client may send ahead on one connection, while an earlier one is served. */
const requestsAheadMax = 100
/** What a client gets, after a last reply, to end the connection itself. */
const closeGraceMs = 2_000

export type ListenerEvents = {
  /** A head has come. */
  readonly serve: (exchange: Exchange, trusted: TrustedProxies | undefined) => void
  /** The head was refused by the parser, or by the connection's rules. */
  readonly refuse: (exchange: Exchange, error: GatewayError) => void
  /** A head that never became a request: the reply's bytes. */
  readonly refuseUnread: (error: GatewayError, address: string) => string
}

type Connection = {
  /** The one under way. */
  exchange: Exchange | undefined
  /** What to do once that has ended. */
  ahead: (() => void)[] | undefined
}

export class Listener {
  readonly settings: ListenSettings
  #server: HttpServer
  #events: ListenerEvents
  #trusted: TrustedProxies | undefined
  #connections = new Map<Socket, Connection>()
  #perAddress = new Map<string, number>()
  #connectionsMax: number
  #draining = false
  #emptied: (() => void) | undefined
  #plain: PlainConnections

  constructor(settings: ListenSettings, server: ServerSettings, events: ListenerEvents) {
    this.settings = settings
    this.#events = events
    this.#trusted = buildTrustedProxies(settings.trustedProxies)
    this.#connectionsMax = server.limits.connectionsPerAddress
    this.#server = createServer({
      requireHostHeader: false,
      insecureHTTPParser: false,
      maxHeaderSize: server.limits.headBytes,
      headersTimeout: headTimeoutMs,
      requestTimeout: 0,
      connectionsCheckingInterval: checkIntervalMs,
      keepAliveTimeout: keepAliveTimeoutMs,
      shouldUpgradeCallback: isWebSocketHandshake,
      noDelay: true,
    })
    this.#server.maxHeadersCount = fieldsMax
    // node:http gets a connection when something else than a plain request comes on it.
    const [take] = this.#server.listeners('connection') as [(socket: Socket) => void]
    this.#server.removeAllListeners('connection')
    this.#plain = new PlainConnections(
      {
        headBytesMax: server.limits.headBytes,
        fieldsMax,
        headMs: headTimeoutMs,
        keepAliveMs: keepAliveTimeoutMs,
        drainingMs: checkIntervalMs,
      },
      {
        serve: (exchange) => this.#serve(exchange),
        malformed: (socket, error) => this.#clientError(error, socket),
        take: (socket) => take.call(this.#server, socket),
        idle: (socket) => this.#idle(socket),
        silent: (socket) => this.#refuseUnread(noHead(), socket),
      },
    )
    this.#listenToServer()
  }

  /** Resolves with the URL: `scheme://host:port`, a wildcard shown as the loopback address. */
  async listen(): Promise<string> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      const { host, port, reusePort = false } = this.settings
      this.#server.listen({ host, port, reusePort }, () => {
        this.#server.off('error', reject)
        resolve()
      })
    })
    const { address, family, port } = this.#server.address() as AddressInfo
    const shown = address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address
    return `http://${family === 'IPv6' ? `[${shown}]` : shown}:${port}`
  }

  /** Stops accepting; replies from now on close their connections. Resolves when all connections are gone. */
  drain(): Promise<void> {
    this.#draining = true
    // http.Server.close() would also reset idle connections whose next request is on its way.
    net.Server.prototype.close.call(this.#server)
    for (const { exchange } of this.#connections.values()) {
      if (exchange === undefined) continue
      if (exchange.upgrade === undefined) exchange.closing = true
      else exchange.abort(new GatewayError('overloaded', 'going away'))
    }
    this.#plain.drain()
    for (const [socket, { exchange }] of this.#connections) {
      const isServed = exchange !== undefined || this.#plain.has(socket)
      if (!isServed) socket.setTimeout(checkIntervalMs)
    }
    return new Promise((resolve) => {
      this.#emptied = resolve
      if (this.#connections.size === 0) resolve()
    })
  }

  /** Has requests end that must not be cut (git pushes). Resolves when their connections are gone. */
  async endInOrder(error: GatewayError): Promise<void> {
    const ending: Promise<unknown>[] = []
    for (const { exchange } of this.#connections.values()) {
      if (!exchange?.endsInOrder) continue
      ending.push(new Promise<void>((resolve) => exchange.res.once('close', resolve)))
      exchange.withdraw(error)
    }
    await Promise.all(ending)
  }

  /** Ends what is left, at once. */
  destroy(): void {
    this.#server.close()
    this.#plain.close()
    for (const { exchange } of this.#connections.values()) exchange?.cut()
    for (const socket of this.#connections.keys()) socket.destroy()
  }

  #listenToServer(): void {
    const server = this.#server
    server.on('connection', (socket) => this.#admit(socket))
    server.on('request', (req, res) => this.#begin(req, res, false))
    server.on('checkContinue', (req, res) => this.#begin(req, res, true))
    server.on('checkExpectation', (req, res) => this.#begin(req, res, false))
    server.on('upgrade', (req, socket, head) => this.#upgrade(req, socket as Socket, head))
    server.on('connect', (req, socket) => this.#connect(req, socket as Socket))
    server.on('clientError', (error, socket) => this.#clientError(error, socket as Socket))
    server.on('timeout', (socket) => this.#idle(socket))
  }

  #admit(socket: Socket): void {
    const address = socket.remoteAddress
    const open = (this.#perAddress.get(address ?? '') ?? 0) + 1
    // Without an address the client has left already.
    if (address === undefined || (this.#connectionsMax > 0 && open > this.#connectionsMax)) {
      socket.destroy()
      return
    }
    this.#perAddress.set(address, open)
    this.#connections.set(socket, freshConnection())
    socket.once('close', () => {
      this.#connections.delete(socket)
      const left = (this.#perAddress.get(address) ?? 1) - 1
      if (left > 0) this.#perAddress.set(address, left)
      else this.#perAddress.delete(address)
      if (this.#connections.size === 0) this.#emptied?.()
    })
    this.#plain.add(socket)
  }

  #begin(req: IncomingMessage, res: ServerResponse, awaitsContinue: boolean): void {
    this.#inTurn(req.socket, () => {
      const exchange = new Exchange(req, res)
      exchange.incoming = sourceOf(req)
      exchange.awaitsContinue = awaitsContinue
      this.#serve(exchange)
    })
  }

  /** One exchange at a time on a connection: requests that were sent ahead wait (RFC 9112 9.3.2). */
  #inTurn(socket: Socket, serve: () => void): void {
    const connection = this.#connections.get(socket)
    if (connection?.exchange === undefined) {
      serve()
      return
    }
    connection.ahead ??= []
    if (connection.ahead.push(serve) > requestsAheadMax) socket.destroy()
  }

  #serve(exchange: Exchange): void {
    const { req, res } = exchange
    // One that has closed meanwhile is in no list any more.
    const connection = this.#connections.get(req.socket) ?? freshConnection()
    exchange.closing = this.#draining
    connection.exchange = exchange
    res.on('close', () => {
      ended(connection, exchange)
      if (!res.writableFinished && exchange.status !== 101) {
        exchange.gone = true
        exchange.abort(clientLeft())
      }
      if (this.#draining && !req.socket.destroyed) exchange.limitIdle(checkIntervalMs)
    })
    this.#events.serve(exchange, this.#trusted)
  }

  #upgrade(req: IncomingMessage, socket: Socket, head: Buffer): void {
    this.#detach(req, socket, (exchange, res) => {
      exchange.upgrade = { head, req, res }
      this.#serve(exchange)
    })
  }

  #connect(req: IncomingMessage, socket: Socket): void {
    const error = new GatewayError('method_not_allowed', 'CONNECT is never forwarded', {
      allow: 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS',
    })
    this.#detach(req, socket, (exchange) => {
      exchange.address = socket.remoteAddress ?? ''
      this.#events.refuse(exchange, error)
    })
  }

  /** The socket is out of the parser's hands: a reply is written through a response of our own. */
  #detach(
    req: IncomingMessage,
    socket: Socket,
    serve: (exchange: Exchange, res: ServerResponse) => void,
  ): void {
    socket.on('error', () => socket.destroy())
    this.#inTurn(socket, () => {
      const res = makeServerResponse(req)
      res.shouldKeepAlive = false
      res.assignSocket(socket)
      res.on('finish', () => leave(socket))
      const exchange = new Exchange(req, res)
      exchange.closing = true
      serve(exchange, res)
    })
  }

  #clientError(error: NodeJS.ErrnoException, socket: Socket): void {
    const refusal = readParserError(error)
    const exchange = this.#connections.get(socket)?.exchange
    if (refusal === undefined || !socket.writable) {
      socket.destroy()
      return
    }
    if (exchange === undefined) {
      this.#refuseUnread(refusal, socket)
      return
    }
    exchange.closing = true
    if (exchange.res.headersSent) {
      if (exchange.res.writableEnded) socket.destroySoon()
      else exchange.cut()
      return
    }
    // A whole request whose reply is due: what cannot be parsed is the one behind it.
    if (!exchange.req.complete) exchange.abort(refusal)
  }

  #refuseUnread(refusal: GatewayError, socket: Socket): void {
    socket.end(this.#events.refuseUnread(refusal, socket.remoteAddress ?? ''))
    socket.destroySoon()
  }

  /** The side that is due has sent, or taken, nothing for the exchange's idle time. */
  #idle(socket: Socket): void {
    const exchange = this.#connections.get(socket)?.exchange
    if (exchange === undefined || socket.writableLength > 0) {
      socket.destroy()
    } else if (exchange.body?.due === true) {
      if (exchange.res.headersSent) exchange.cut()
      else exchange.abort(new GatewayError('request_timeout', 'the request body stalled'))
    } else {
      // The event comes once: the wait is the upstream's, which has its own limit.
      socket.setTimeout(socket.timeout ?? 0)
    }
  }
}

function freshConnection(): Connection {
  return { exchange: undefined, ahead: undefined }
}

/** The next one has its turn. */
function ended(connection: Connection, exchange: Exchange): void {
  const { socket } = exchange.req
  if (connection.exchange === exchange) connection.exchange = undefined
  const next = connection.ahead?.shift()
  if (!socket.destroyed && socket.writable) next?.()
}

/** The body that node:http reads. */
function sourceOf(request: IncomingMessage): BodySource {
  return {
    start: (body) => {
      request.pause()
      request.on('data', (chunk: Buffer) => body.take(chunk))
      request.on('end', () => body.end())
      request.on('error', (error) => body.fail(error))
      request.on('close', () => {
        if (!body.complete) body.fail(clientLeft())
      })
    },
    pause: () => request.pause(),
    resume: () => request.resume(),
  }
}

/** Ends a connection without a reset, which could cost the client its reply (RFC 9112 9.6). */
function leave(socket: Socket): void {
  const late = setTimeout(() => socket.destroy(), closeGraceMs)
  socket.once('close', () => clearTimeout(late))
  socket.on('end', () => socket.destroy())
  socket.end()
  // What else the client sends is dropped; unread, it would also hide that the client has left.
  socket.resume()
}

/** RFC 6455 4.2.1; any other Upgrade field is dropped and the request served without it. */
function isWebSocketHandshake(request: IncomingMessage): boolean {
  const { headers } = request
  return (
    request.method === 'GET' &&
    request.httpVersion === '1.1' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['sec-websocket-version'] === '13' &&
    fieldValue(request.rawHeaders, 'sec-websocket-key') !== undefined &&
    headers['content-length'] === undefined &&
    headers['transfer-encoding'] === undefined
  )
}
