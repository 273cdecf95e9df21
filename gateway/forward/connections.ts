// The connections of our own to one HTTP/1.1 server: as many as there are requests under way, idle ones used
// again, the latest first. One timer looks after the time limits of all of them.

import { performance } from 'node:perf_hooks'
import type { Dispatcher } from 'undici'
import { Connection } from './connection.ts'
import type { ConnectionAware, SentRequest } from './transport.ts'

/** Time limits act up to so much late. */
const checkIntervalMs = 500

export type ServerAddress = {
  readonly host: string
  readonly port: number
  readonly connectMs: number
  readonly onConnected: (isConnected: boolean) => void
}

export class Connections {
  readonly #address: ServerAddress
  readonly #all = new Set<Connection>()
  #idle: Connection[] = []
  #isClosing = false
  #timer: NodeJS.Timeout | undefined

  constructor(address: ServerAddress) {
    this.#address = address
  }

  /** Sends a request on an idle connection, or a new one. */
  dispatch(request: SentRequest, handler: Dispatcher.DispatchHandler & ConnectionAware): void {
    const connection = this.#takeIdle() ?? this.#connect()
    handler.connection = connection
    connection.dispatch(request, handler)
  }

  /** Sends a request on a new connection, that serves nothing else. */
  dispatchFresh(request: SentRequest, handler: Dispatcher.DispatchHandler & ConnectionAware): void {
    const connection = this.#connect()
    handler.connection = connection
    connection.dispatch({ ...request, reset: true }, handler)
  }

  /** Closes idle connections, and the others when their requests have ended. */
  close(): void {
    this.#isClosing = true
    for (const connection of this.#idle.splice(0)) connection.socket.destroy()
  }

  destroy(): void {
    this.close()
    for (const connection of this.#all) connection.fail(new Error('the gateway ends'))
  }

  #takeIdle(): Connection | undefined {
    if (this.#idle.length === 0) return undefined
    const now = performance.now()
    for (let next = this.#idle.pop(); next !== undefined; next = this.#idle.pop()) {
      if (next.reusableUntil > now && next.socket.writable) return next
      next.socket.destroy()
    }
    return undefined
  }

  #connect(): Connection {
    const connection = new Connection({
      ...this.#address,
      onIdle: (idle) => {
        if (this.#isClosing) idle.socket.destroy()
        else this.#idle.push(idle)
      },
      onClosed: (closed) => this.#forget(closed),
    })
    this.#all.add(connection)
    this.#timer ??= setInterval(() => this.#check(), checkIntervalMs).unref()
    return connection
  }

  #forget(connection: Connection): void {
    this.#all.delete(connection)
    const place = this.#idle.indexOf(connection)
    if (place >= 0) this.#idle.splice(place, 1)
    if (this.#all.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #check(): void {
    const now = performance.now()
    const stays = (connection: Connection) => connection.reusableUntil > now
    const expired = this.#idle.filter((connection) => !stays(connection))
    if (expired.length > 0) this.#idle = this.#idle.filter(stays)
    for (const connection of expired) connection.socket.destroy()
    for (const connection of this.#all) connection.checkDeadline(now)
  }
}
