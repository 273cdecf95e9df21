// A REST upstream that writes down the exact bytes of every request and answers as a test scripts it,
// good manners or bad. Reads with the strict parser: what a lenient server would swallow is a violation.

import { createHash, type Hash } from 'node:crypto'
import net from 'node:net'
import { until } from './ready.ts'
import { type ParsedHead, StrictParser, Violation, valuesOf } from './strict-parser.ts'

/** Of longer bodies only the number of bytes and the digest are kept. */
const bodyKeptBytesMax = 1024 * 1024

export type Recorded = ParsedHead & {
  /** Number of the connection, from 1. */
  readonly connection: number
  /** The body's first MiB. */
  readonly body: Buffer
  readonly bodyBytes: number
  /** Hexadecimal, of the whole body; of what came so far while `state` is not `complete`. */
  readonly bodySha256: string
  readonly trailers: readonly string[]
  readonly state: 'reading' | 'complete' | 'cut'
  /** The values of a field, in order; `name` in lower case. */
  values(name: string): string[]
}

/** What to answer, in the order in which it is written. */
export type Script = {
  /** 1xx replies first: status line's rest (`103 Early Hints`) and fields. */
  readonly interim?: readonly { readonly status: string; readonly fields?: readonly string[] }[]
  /** Status and reason; default `200 OK`. */
  readonly status?: string
  readonly fields?: readonly string[]
  /** Sent with Content-Length. */
  readonly body?: string | Buffer
  /** Sent chunked, instead of `body`; an iterable is read as fast as the reader takes it. */
  readonly chunks?: Iterable<string | Buffer> | AsyncIterable<string | Buffer>
  readonly trailers?: readonly string[]
  /** Exact bytes instead of all of the above. */
  readonly raw?: string | Buffer
  /** What happens instead of a clean end: FIN, RST, or silence with the connection open. */
  readonly ending?: 'close' | 'reset' | 'stall'
  /** The ending waits for it. */
  readonly after?: Promise<unknown>
}

/** `undefined` answers with the echo. */
export type Responder = (request: Recorded) => Script | undefined | Promise<Script | undefined>

export type Recorder = {
  readonly url: string
  readonly port: number
  /** Every request whose head has been read, in order. */
  readonly requests: readonly Recorded[]
  /** What strict reading objected to, ever. A test of a gateway expects none. */
  readonly violations: readonly string[]
  /** Connections accepted so far. */
  readonly connections: number
  /** Connections that are open now. */
  readonly open: number
  /** Sets how to answer from now on. `at: 'head'` answers before the body is read, which then goes on. */
  respond(responder: Responder, at?: 'head' | 'body'): void
  /** Stops, or goes on, reading from every connection. */
  reading(go: boolean): void
  /** Resolves with the first request that fulfils the condition, now or later. */
  request(what: string, condition: (request: Recorded) => boolean): Promise<Recorded>
  stop(): Promise<void>
}

/** Starts the upstream on a port of the system's choice. */
export async function startRecorder(): Promise<Recorder> {
  const requests: MutableRecord[] = []
  const violations: string[] = []
  const sockets = new Set<net.Socket>()
  let connections = 0
  let paused = false
  let responder: Responder = () => undefined
  let answersAt: 'head' | 'body' = 'body'

  const server = net.createServer({ allowHalfOpen: false, noDelay: true }, (socket) => {
    const connection = ++connections
    let current: MutableRecord | undefined
    let last: Promise<unknown> = Promise.resolve()
    const answer = (request: MutableRecord): void => {
      last = last.then(() => reply(socket, request, responder)).catch(() => socket.destroy())
    }
    const parser = new StrictParser({
      head(parsed) {
        current = new MutableRecord(parsed, connection)
        requests.push(current)
        if (answersAt === 'head') answer(current)
      },
      body: (bytes) => current?.take(bytes),
      end(trailers) {
        const request = current!
        request.finish('complete', trailers)
        if (answersAt === 'body') answer(request)
        current = undefined
      },
    })
    sockets.add(socket)
    if (paused) socket.pause()
    socket.on('data', (bytes: Buffer) => {
      try {
        parser.feed(bytes)
      } catch (error) {
        if (!(error instanceof Violation)) throw error
        violations.push(`connection ${connection}: ${error.message}`)
        socket.destroy()
      }
    })
    socket.on('error', () => {})
    socket.on('close', () => {
      current?.finish('cut', [])
      sockets.delete(socket)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as net.AddressInfo

  return {
    url: `http://127.0.0.1:${port}`,
    port,
    requests,
    violations,
    get connections() {
      return connections
    },
    get open() {
      return sockets.size
    },
    respond: (next, at = 'body') => {
      responder = next
      answersAt = at
    },
    reading: (go) => {
      paused = !go
      for (const socket of sockets) go ? socket.resume() : socket.pause()
    },
    request: (what, condition) => until(`a request: ${what}`, () => requests.find(condition)),
    stop: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

class MutableRecord implements Recorded {
  readonly connection: number
  readonly head: string
  readonly method: string
  readonly target: string
  readonly fields: readonly string[]
  bodyBytes = 0
  trailers: readonly string[] = []
  state: Recorded['state'] = 'reading'
  readonly #kept: Buffer[] = []
  readonly #hash: Hash = createHash('sha256')

  constructor(parsed: ParsedHead, connection: number) {
    this.head = parsed.head
    this.method = parsed.method
    this.target = parsed.target
    this.fields = parsed.fields
    this.connection = connection
  }

  get body(): Buffer {
    return Buffer.concat(this.#kept)
  }

  get bodySha256(): string {
    return this.#hash.copy().digest('hex')
  }

  values(name: string): string[] {
    return valuesOf(this.fields, name)
  }

  take(bytes: Buffer): void {
    const room = bodyKeptBytesMax - this.bodyBytes
    if (room > 0) this.#kept.push(Buffer.from(bytes.subarray(0, room)))
    this.bodyBytes += bytes.length
    this.#hash.update(bytes)
  }

  finish(state: 'complete' | 'cut', trailers: readonly string[]): void {
    this.state = state
    this.trailers = trailers
  }
}

async function reply(socket: net.Socket, request: Recorded, responder: Responder): Promise<void> {
  const script = (await responder(request)) ?? echo(request)
  for (const { status, fields = [] } of script.interim ?? []) {
    await write(socket, headText(status, fields))
  }
  if (script.raw !== undefined) await write(socket, script.raw)
  else await writeReply(socket, request, script)
  await script.after
  if (script.ending === 'close') socket.end()
  else if (script.ending === 'reset') socket.resetAndDestroy()
}

async function writeReply(socket: net.Socket, request: Recorded, script: Script): Promise<void> {
  const { status = '200 OK', fields = [], body = '', chunks, trailers = [] } = script
  // An unclean end follows a head that promises more than is written.
  const broken = script.ending !== undefined
  if (chunks === undefined) {
    const length = Buffer.byteLength(body) + (broken ? 1 : 0)
    const framing = /^(1|204|304)/.test(status) ? [] : ['Content-Length', `${length}`]
    await write(socket, headText(status, [...fields, ...framing]))
    if (request.method !== 'HEAD') await write(socket, body)
    return
  }
  await write(socket, headText(status, [...fields, 'Transfer-Encoding', 'chunked']))
  if (request.method === 'HEAD') return
  for await (const chunk of chunks) {
    await write(socket, `${Buffer.byteLength(chunk).toString(16)}\r\n`)
    await write(socket, chunk)
    await write(socket, '\r\n')
  }
  if (!broken) await write(socket, `0\r\n${fieldText(trailers)}\r\n`)
}

/** Small, and enough to see what arrived. */
function echo(request: Recorded): Script {
  const { method, target, bodyBytes, bodySha256 } = request
  const body = `${JSON.stringify({ method, target, bodyBytes, bodySha256 })}\n`
  return { fields: ['Content-Type', 'application/json'], body }
}

function headText(status: string, fields: readonly string[]): string {
  return `HTTP/1.1 ${status}\r\n${fieldText(fields)}\r\n`
}

function fieldText(fields: readonly string[]): string {
  let text = ''
  for (let at = 0; at < fields.length; at += 2) text += `${fields[at]}: ${fields[at + 1]}\r\n`
  return text
}

// Waits while the reader takes nothing; ends quietly when it has gone.
async function write(socket: net.Socket, bytes: string | Buffer): Promise<void> {
  if (socket.destroyed) throw new Error('the reader has gone')
  if (bytes.length === 0) return
  if (typeof bytes === 'string') bytes = Buffer.from(bytes, 'latin1')
  if (socket.write(bytes)) return
  await new Promise<void>((resolve, reject) => {
    const done = (): void => {
      socket.off('drain', done)
      socket.off('close', gone)
      resolve()
    }
    const gone = (): void => {
      socket.off('drain', done)
      reject(new Error('the reader has gone'))
    }
    socket.once('drain', done)
    socket.once('close', gone)
  })
}
