// The plain connections of one listener: who gets the socket that is none any more, and the time limits that
// node:http's timers have for its own connections.

import type { Socket } from 'node:net'
import { FieldBlocks } from '../http1/field-blocks.ts'
import { onePiece } from '../one-piece.ts'
import type { Exchange } from './exchange.ts'
import { PlainConnection, type PlainHost } from './plain-connection.ts'

/** Time limits act up to twice so much late. */
const checkIntervalMs = 500
/** What was read of requests is forgotten when it is unused for so long, and not later than after twice that. */
const blocksAgeMs = 10_000
/** A request may be on its way when the time that the client was told of ends. */
const keepAliveMarginMs = 1_000

export type PlainSettings = {
  readonly headBytesMax: number
  readonly fieldsMax: number
  /** Time for the first head. */
  readonly headMs: number
  /** Time between two requests; while draining it is `drainingMs`. */
  readonly keepAliveMs: number
  readonly drainingMs: number
}

export type PlainEvents = {
  serve(exchange: Exchange): void
  /** What came within the body of the request under way cannot be of one. */
  malformed(socket: Socket, error: Error): void
  /** The connection is node:http's from now on. */
  take(socket: Socket): void
  /** Nothing has passed for the idle time of the request under way. */
  idle(socket: Socket): void
  /** No head has come in time. */
  silent(socket: Socket): void
}

export class PlainConnections {
  readonly #settings: PlainSettings
  readonly #events: PlainEvents
  readonly #host: PlainHost
  readonly #all = new Map<Socket, PlainConnection>()
  readonly #blocks = new FieldBlocks()
  readonly #timers: readonly NodeJS.Timeout[]
  #isDraining = false

  constructor(settings: PlainSettings, events: PlainEvents) {
    this.#settings = settings
    this.#events = events
    const seconds = settings.keepAliveMs / 1000
    this.#host = {
      headBytesMax: settings.headBytesMax,
      fieldsMax: settings.fieldsMax,
      blocks: this.#blocks,
      keepAlive: onePiece(`Connection: keep-alive\r\nKeep-Alive: timeout=${seconds}\r\n`),
      serve: (exchange) => events.serve(exchange),
      malformed: (socket, error) => events.malformed(socket, error),
      handOver: (connection, bytes) => this.#handOver(connection, bytes),
    }
    this.#timers = [
      setInterval(() => this.#checkAll(performance.now()), checkIntervalMs).unref(),
      setInterval(() => this.#blocks.age(), blocksAgeMs).unref(),
    ]
  }

  /** Every connection is plain until its client sends something else. */
  add(socket: Socket): void {
    this.#all.set(socket, new PlainConnection(socket, this.#host))
    socket.once('close', () => this.#all.delete(socket))
  }

  has(socket: Socket): boolean {
    return this.#all.has(socket)
  }

  drain(): void {
    this.#isDraining = true
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer)
  }

  #handOver(connection: PlainConnection, bytes: Buffer): void {
    const { socket } = connection
    connection.leave()
    this.#all.delete(socket)
    socket.pause()
    // What waits inside of the socket goes with it in one piece: node:http reads past it as soon as it takes over.
    const waiting = socket.read() as Buffer | null
    this.#events.take(socket)
    socket.unshift(waiting === null ? bytes : Buffer.concat([bytes, waiting]))
    socket.resume()
  }

  #checkAll(now: number): void {
    const { headMs, keepAliveMs, drainingMs } = this.#settings
    for (const [socket, connection] of this.#all) {
      const { isBusy, wasUsed, idleMs, activeAt } = connection
      if (isBusy) {
        if (idleMs === 0 || !connection.isIdleFor(idleMs, now)) continue
        connection.activeAt = now
        this.#events.idle(socket)
      } else if (this.#isDraining) {
        if (now - activeAt >= drainingMs) socket.destroy()
      } else if (wasUsed) {
        if (now - activeAt >= keepAliveMs + keepAliveMarginMs) socket.destroy()
      } else if (now - activeAt >= headMs) {
        this.#events.silent(socket)
      }
    }
  }
}
