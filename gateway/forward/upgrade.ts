// WebSocket upgrades (RFC 6455 4), through http-proxy-3: it makes the handshake and joins the sockets; it
// never carries a body, and sees only a head that was built here. Around it stands what it lacks: a limit
// on the wait, the check of the upstream's answer, ordinary replies as such, and a proper close.

import type { ClientRequest, IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createProxyServer } from 'http-proxy-3'
import type { GatewayError } from '../errors.ts'
import type { Exchange, Upgrade } from '../listener/exchange.ts'
import { fieldValue } from '../protocols/fields.ts'
import { badReply, checkReply, upstreamFailure } from './failure.ts'
import { replyFields } from './headers.ts'
import type { Upstream } from './upstreams.ts'
import { acceptOf, closeFrame, FrameFollower, goingAway, policyViolation } from './websocket.ts'

/** A peer whose permit has ended is cut off after so long. */
const closeGraceMs = 1_000
/** One that is told to go away may finish, unless it has taken nothing for so long. */
const finishGraceMs = 5_000

export type UpgradeRequest = {
  readonly path: string
  readonly fields: readonly string[]
  readonly headersTimeoutMs: number
  readonly servername: string | undefined
}

const attempts = new WeakMap<IncomingMessage, (request: ClientRequest) => void>()
const proxy = createProxyServer({ toProxy: true, prependPath: false })
proxy.on('proxyReqWs', (request, req) => attempts.get(req)?.(request))
proxy.on('error', () => {})

/** Resolves when the tunnel, or the upstream's refusal, has ended; rejects with a GatewayError before either began. */
export function tunnel(
  exchange: Exchange,
  upgrade: Upgrade,
  upstream: Upstream,
  request: UpgradeRequest,
): Promise<undefined> {
  return new Promise((resolve, reject) => {
    new Tunnel(exchange, upgrade, upstream, request, { resolve, reject }).open()
  })
}

type Outcome = { resolve: (nothing: undefined) => void; reject: (error: GatewayError) => void }

class Tunnel {
  #exchange: Exchange
  #upgrade: Upgrade
  #socket: Socket
  #upstream: Upstream
  #request: UpgradeRequest
  #outcome: Outcome
  #key: string
  #outgoing: ClientRequest | undefined
  #begun = false
  /** It failed, or was told to end, before the upstream switched protocols. */
  #isOver = false
  #stopListening: (() => void) | undefined

  constructor(
    exchange: Exchange,
    upgrade: Upgrade,
    upstream: Upstream,
    request: UpgradeRequest,
    outcome: Outcome,
  ) {
    this.#exchange = exchange
    this.#upgrade = upgrade
    this.#socket = exchange.req.socket
    this.#upstream = upstream
    this.#request = request
    this.#outcome = outcome
    this.#key = fieldValue(exchange.req.rawHeaders, 'sec-websocket-key') ?? ''
  }

  open(): void {
    const { req, head } = this.#upgrade
    this.#exchange.upstreamStartedAt = performance.now()
    this.#stopListening = this.#exchange.onAbort((error) => this.#fail(error))
    if (this.#isOver) return
    req.url = this.#request.path
    req.headers = this.#headers()
    attempts.set(req, (outgoing) => this.#prepare(outgoing))
    const { settings } = this.#upstream
    const origin = new URL(settings.origin)
    const target = {
      protocol: origin.protocol,
      host: origin.host,
      hostname: origin.hostname,
      port: Number(origin.port || (origin.protocol === 'https:' ? 443 : 80)),
      ...(settings.tls?.ca === undefined ? {} : { ca: settings.tls.ca }),
      ...(settings.tls?.cert === undefined ? {} : { cert: settings.tls.cert }),
      ...(settings.tls?.key === undefined ? {} : { key: settings.tls.key }),
    }
    const { servername } = this.#request
    proxy.ws(
      req,
      this.#socket,
      head,
      {
        target,
        connectTimeout: settings.timeouts.connectMs,
        ...(servername === undefined ? {} : { ssl: { servername } }),
      },
      (error) => this.#fail(error),
    )
  }

  /** Called by the proxy before its own listeners: they are replaced once it has set them. */
  #prepare(outgoing: ClientRequest): void {
    this.#outgoing = outgoing
    outgoing.path = this.#request.path
    const timer = setTimeout(() => {
      outgoing.destroy(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }))
    }, this.#request.headersTimeoutMs)
    const left = (): void => {
      outgoing.destroy()
    }
    const peek = (): void => {
      if (this.#socket.readableLength === 0) this.#socket.read()
    }
    this.#socket.on('close', left).on('end', left).on('readable', peek)
    this.#socket.read(0)
    const waited = (): void => {
      clearTimeout(timer)
      this.#socket.off('end', left).off('readable', peek)
    }
    outgoing.once('close', waited)
    queueMicrotask(() => {
      const [join] = outgoing.listeners('upgrade') as UpgradeListener[]
      outgoing.removeAllListeners('upgrade').removeAllListeners('response')
      outgoing.removeAllListeners('error').on('error', (error) => this.#fail(error))
      outgoing.on('response', (response) => {
        waited()
        this.#attempt(() => this.#refused(response))
      })
      outgoing.on('upgrade', (response: IncomingMessage, socket: Socket, head: Buffer) => {
        waited()
        this.#attempt(() => this.#join(response, socket, () => join?.(response, socket, head)))
      })
    })
  }

  #headers(): Record<string, string> {
    const headers: Record<string, string> = {}
    const { fields } = this.#request
    for (let i = 0; i + 1 < fields.length; i += 2) {
      const name = (fields[i] as string).toLowerCase()
      const before = headers[name]
      const value = fields[i + 1] as string
      headers[name] = before === undefined ? value : `${before}, ${value}`
    }
    headers.connection = 'Upgrade'
    headers.upgrade = 'websocket'
    return headers
  }

  /** A reply that cannot be passed on must not throw where nobody catches. */
  #attempt(pass: () => void): void {
    try {
      pass()
    } catch (error) {
      this.#fail(error)
    }
  }

  /** The upstream answered with an ordinary reply. */
  #refused(response: IncomingMessage): void {
    const { res, requestId } = this.#exchange
    const { settings } = this.#upstream
    const status = response.statusCode ?? 0
    checkReply(settings, status, response.rawHeaders)
    res.writeHead(status, [
      ...replyFields(status, response.rawHeaders, requestId),
      'Connection',
      'close',
    ])
    this.#begun = true
    this.#exchange.status = status
    this.#socket.setTimeout(settings.timeouts.idleMs, () => this.#exchange.cut())
    response.on('data', (chunk: Buffer) => {
      this.#exchange.bytesOut += chunk.length
      if (res.write(chunk)) return
      response.pause()
      res.once('drain', () => response.resume())
    })
    response.on('end', () => {
      res.end()
      this.#outcome.resolve(undefined)
    })
    response.on('error', () => {
      this.#exchange.cut()
      this.#outcome.resolve(undefined)
    })
  }

  /** The upstream switched protocols; RFC 6455 4.1 says what of its answer must hold. */
  #join(response: IncomingMessage, upstreamSocket: Socket, join: () => void): void {
    const accept = response.headers['sec-websocket-accept']
    const upgrade = response.headers.upgrade
    if (upgrade?.toLowerCase() !== 'websocket' || accept !== acceptOf(this.#key)) {
      upstreamSocket.destroy()
      throw badReply('switched to something else than this WebSocket')
    }
    this.#begun = true
    this.#exchange.status = 101
    response.headers['x-request-id'] = this.#exchange.requestId
    this.#upgrade.res.detachSocket(this.#socket)
    const follower = new FrameFollower()
    const client = this.#socket
    const { head } = this.#upgrade
    const readBefore = client.bytesRead - client.readableLength - head.length
    const writtenBefore = client.bytesWritten
    join()
    upstreamSocket.unpipe(client)
    upstreamSocket.pipe(follower).pipe(client)
    let isClosing = false
    const end = (code: number, reason: string): void => {
      if (isClosing) return
      isClosing = true
      cutLate(client, code === goingAway)
      close(client, upstreamSocket, follower, closeFrame(code, reason))
    }
    this.#exchange.isEndless = true
    this.#exchange.firstByteAt = performance.now()
    this.#stopListening?.()
    this.#exchange.onAbort((error) => {
      if (error.status >= 500) {
        end(goingAway, error.message)
        return
      }
      this.#exchange.reason = error.code
      end(policyViolation, error.message)
    })
    client.setTimeout(this.#upstream.settings.timeouts.idleMs, () => end(goingAway, 'idle'))
    client.once('close', () => {
      this.#exchange.framesIn = client.bytesRead - readBefore
      this.#exchange.bytesOut = client.bytesWritten - writtenBefore
      this.#outcome.resolve(undefined)
    })
  }

  #fail(error: unknown): void {
    this.#isOver = true
    this.#outgoing?.destroy()
    if (this.#begun) return
    this.#exchange.cause = error
    this.#outcome.reject(upstreamFailure(this.#upstream.settings.name, error))
  }
}

type UpgradeListener = (response: IncomingMessage, socket: Socket, head: Buffer) => void

/** Says goodbye between two frames (RFC 6455 7.1.2) and ends both sides. */
function close(client: Socket, upstream: Duplex, follower: FrameFollower, goodbye: Buffer): void {
  follower.atBoundary(() => {
    queueMicrotask(() => {
      upstream.unpipe(follower)
      follower.unpipe(client)
      client.unpipe(upstream)
      client.end(goodbye)
      upstream.destroy()
      // What it still sends is dropped: unread, it would hide the end, and a reset could overtake the goodbye.
      client.on('end', () => client.destroy())
      client.resume()
    })
  })
}

/** `mayFinish`: a client that still takes the message under way is waited for, as long as it does. */
function cutLate(client: Socket, mayFinish: boolean): void {
  let taken = client.bytesWritten - client.writableLength
  const timer = setInterval(
    () => {
      const before = taken
      taken = client.bytesWritten - client.writableLength
      if (!mayFinish || taken === before) client.destroy()
    },
    mayFinish ? finishGraceMs : closeGraceMs,
  )
  client.once('close', () => clearInterval(timer))
}
