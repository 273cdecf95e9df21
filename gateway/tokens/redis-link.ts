// The connections to Redis (ioredis): one for commands, one for messages. Both come back by themselves.
// Nothing waits for a connection and nothing is sent twice: what cannot be sent now fails now. Errors leave
// this file as `RedisFailure`, with a word of reason and without what ioredis puts into its own: the
// command's arguments, the password's among them.

import type { Redis, RedisOptions } from 'ioredis'
import type { RedisSettings } from '../configuration/configuration.ts'
import { quickenTexts } from '../engine.ts'
import { dropScript, keepNewerScript } from './redis-script.ts'
import { sharedValueBytesMax } from './shared-value.ts'

/** The longest that a lookup waits for Redis. */
export const commandTimeoutMs = 50
const connectTimeoutMs = 1_000
const keepAliveMs = 10_000
const reconnectMsMin = 50
const reconnectMsMax = 1_000
const loadingRetryMs = 500

/** Why Redis did not do what it was asked; `silence`: it did not answer in time. */
export class RedisFailure extends Error {
  readonly kind: 'error' | 'silence'

  constructor(kind: 'error' | 'silence', reason: string) {
    super(reason)
    this.name = 'RedisFailure'
    this.kind = kind
  }
}

export type LinkEvents = {
  /** Commands can be sent, on a new connection. */
  ready(): void
  lost(reason: string): void
  /** A message on the channel; also `` when messages may have been missed. */
  message(text: string): void
}

/** What the cache asks of Redis. Every method rejects with a RedisFailure, at once where there is no connection. */
export type RedisLink = {
  readonly isReady: boolean
  open(channel: string, events: LinkEvents): void
  /** The value, cut at `sharedValueBytesMax` + 1; undefined: none. */
  read(key: string): Promise<Buffer | undefined>
  /** Writes unless a newer value stands there (redis-script.ts). */
  keepNewer(
    key: string,
    value: string,
    version: number,
    readAt: number,
    lifetimeMs: number,
  ): Promise<void>
  /** Deletes this very value. */
  drop(key: string, value: Buffer): Promise<void>
  publish(channel: string, text: string): Promise<void>
  /** Gives up a connection that is silent for a new one. */
  reconnect(): void
  close(): void
}

/** Connects when it is opened. */
export function createRedisLink(settings: RedisSettings): RedisLink {
  return new IoredisLink(settings)
}

class IoredisLink implements RedisLink {
  readonly #settings: RedisSettings
  /** Undefined until ioredis is loaded. */
  #commands: Redis | undefined
  #messages: Redis | undefined
  #reason = 'it closed the connection'
  #isClosed = false

  constructor(settings: RedisSettings) {
    this.#settings = settings
  }

  get isReady(): boolean {
    return this.#commands?.status === 'ready'
  }

  open(channel: string, events: LinkEvents): void {
    void import('ioredis').then(({ default: { Redis } }) => {
      quickenTexts()
      if (this.#isClosed) return
      this.#commands = new Redis(optionsOf(this.#settings))
      this.#messages = new Redis(optionsOf(this.#settings))
      this.#listen(this.#commands, this.#messages, channel, events)
    })
  }

  #listen(commands: Redis, messages: Redis, channel: string, events: LinkEvents): void {
    let wasReady = false
    commands.on('error', (error: unknown) => {
      this.#reason = reasonOf(error)
      if (!wasReady) events.lost(this.#reason)
    })
    commands.on('ready', () => {
      wasReady = true
      events.ready()
    })
    commands.on('close', () => {
      wasReady = false
      if (!this.#isClosed) events.lost(this.#reason)
    })
    messages.on('error', () => {})
    messages.on('message', (_channel: string, text: string) => events.message(text))
    messages.on('ready', () => {
      // Whoever does not hear the messages reads the change feed at its own pace.
      messages.subscribe(channel).then(
        () => events.message(''),
        () => this.#isClosed || messages.disconnect(true),
      )
    })
    for (const redis of [commands, messages]) this.#connect(redis)
  }

  async read(key: string): Promise<Buffer | undefined> {
    const value = await told(this.#connected.getrangeBuffer(key, 0, sharedValueBytesMax))
    return value.length === 0 ? undefined : value
  }

  async keepNewer(
    key: string,
    value: string,
    version: number,
    readAt: number,
    lifetimeMs: number,
  ): Promise<void> {
    await told(this.#connected.eval(keepNewerScript, 1, key, value, version, readAt, lifetimeMs))
  }

  async drop(key: string, value: Buffer): Promise<void> {
    await told(this.#connected.eval(dropScript, 1, key, value))
  }

  async publish(channel: string, text: string): Promise<void> {
    await told(this.#connected.publish(channel, text))
  }

  reconnect(): void {
    if (!this.#isClosed && this.isReady) this.#commands?.disconnect(true)
  }

  close(): void {
    this.#isClosed = true
    this.#commands?.disconnect()
    this.#messages?.disconnect()
  }

  get #connected(): Redis {
    if (this.#commands === undefined) throw new RedisFailure('error', 'there is no connection')
    return this.#commands
  }

  /** ioredis tries again after a lost connection, and gives up where one could not even be begun. */
  #connect(redis: Redis): void {
    redis.on('end', () => {
      if (this.#isClosed) return
      setTimeout(() => this.#isClosed || redis.connect().catch(() => {}), reconnectMsMax).unref()
    })
    redis.connect().catch(() => {})
  }
}

function optionsOf(settings: RedisSettings): RedisOptions & { replyMapping?: 'legacy' } {
  const { host, port, database, username, password, tls } = settings
  return {
    host,
    port,
    db: database,
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(tls && { tls: { servername: host } }),
    // RESP2: every server speaks it, and nothing here needs more.
    protocol: 2,
    lazyConnect: true,
    commandTimeout: commandTimeoutMs,
    connectTimeout: connectTimeoutMs,
    keepAlive: keepAliveMs,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    disableClientInfo: true,
    maxLoadingRetryTime: loadingRetryMs,
    retryStrategy: (tries) => {
      const delayMs = Math.min(reconnectMsMax, reconnectMsMin * 2 ** tries)
      return delayMs * (0.5 + Math.random() / 2)
    },
    // A primary that became a replica: its name leads to the new one.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
  }
}

async function told<T>(reply: Promise<T>): Promise<T> {
  try {
    return await reply
  } catch (error) {
    const isSilence = error instanceof Error && error.message === 'Command timed out'
    throw new RedisFailure(isSilence ? 'silence' : 'error', reasonOf(error))
  }
}

const replyCode = /^[A-Z]{3,}/

/** Never the message itself: it may repeat what was sent. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'it failed'
  if (error.message === 'Command timed out') return 'it did not answer in time'
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined
  return code ?? replyCode.exec(error.message)?.[0] ?? 'there is no connection'
}
