// Reads HTTP/1.1 requests as RFC 9112 writes them and nothing more lenient, so that a request that was
// smuggled through a gateway shows as a violation or as a request too many. Pure: bytes in, events out.

const headBytesMax = 256 * 1024
const tokenPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/** What a request's head says. */
export type ParsedHead = {
  /** The head as received, with its empty line (latin1). */
  readonly head: string
  readonly method: string
  readonly target: string
  /** Names and values in turn, as on the wire. */
  readonly fields: readonly string[]
}

export type ParserEvents = {
  head(parsed: ParsedHead): void
  body(bytes: Buffer): void
  /** The body's last byte has been read; trailers are in `fields` form. */
  end(trailers: readonly string[]): void
}

/** What is wrong with the bytes, in the words of the grammar. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

/** Feed it the bytes of one connection, cut anywhere. Throws `Violation`; is of no use after that. */
export class StrictParser {
  readonly #events: ParserEvents
  #buffer: Buffer = Buffer.alloc(0)
  #state: 'head' | 'body' | 'chunk-size' | 'chunk-data' | 'chunk-end' | 'trailers' = 'head'
  #remaining = 0

  constructor(events: ParserEvents) {
    this.#events = events
  }

  /** No request is half read. */
  get idle(): boolean {
    return this.#state === 'head' && this.#buffer.length === 0
  }

  feed(bytes: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? bytes : Buffer.concat([this.#buffer, bytes])
    while (this.#step()) {}
  }

  #step(): boolean {
    if (this.#state === 'head') return this.#readHead()
    if (this.#state === 'body' || this.#state === 'chunk-data') return this.#readData()
    if (this.#state === 'trailers') return this.#readTrailers()
    return this.#readChunkLine()
  }

  #readHead(): boolean {
    const end = this.#buffer.indexOf('\r\n\r\n')
    const head = this.#buffer.toString('latin1', 0, end < 0 ? undefined : end + 4)
    if (/(^|[^\r])\n/.test(head)) throw new Violation('bare LF in the head')
    if (end < 0) {
      if (head.length > headBytesMax) throw new Violation('head without an end')
      return false
    }
    this.#buffer = this.#buffer.subarray(end + 4)
    const [line = '', ...lines] = head.slice(0, -4).split('\r\n')
    const parts = /^(\S+) (\S+) HTTP\/1\.1$/.exec(line)
    if (parts === null || !tokenPattern.test(parts[1]!))
      throw new Violation(`request line: ${line}`)
    const fields = parseFields(lines)
    const framing = parseFraming(fields)
    this.#events.head({ head, method: parts[1]!, target: parts[2]!, fields })
    if (framing === 'chunked') this.#state = 'chunk-size'
    else if (framing === 0) this.#finish([])
    else {
      this.#state = 'body'
      this.#remaining = framing
    }
    return true
  }

  #readData(): boolean {
    if (this.#buffer.length === 0) return false
    const bytes = this.#buffer.subarray(0, this.#remaining)
    this.#buffer = this.#buffer.subarray(bytes.length)
    this.#remaining -= bytes.length
    this.#events.body(bytes)
    if (this.#remaining > 0) return false
    if (this.#state === 'body') this.#finish([])
    else this.#state = 'chunk-end'
    return true
  }

  #readChunkLine(): boolean {
    const end = this.#buffer.indexOf('\r\n')
    if (end < 0) {
      if (this.#buffer.length > 32) throw new Violation('chunk line without an end')
      return false
    }
    const line = this.#buffer.toString('latin1', 0, end)
    this.#buffer = this.#buffer.subarray(end + 2)
    if (this.#state === 'chunk-end') {
      if (line !== '') throw new Violation('bytes after the end of a chunk')
      this.#state = 'chunk-size'
      return true
    }
    if (!/^[0-9a-fA-F]{1,12}$/.test(line)) throw new Violation(`chunk size: ${line}`)
    this.#remaining = Number.parseInt(line, 16)
    this.#state = this.#remaining === 0 ? 'trailers' : 'chunk-data'
    return true
  }

  #readTrailers(): boolean {
    const empty = this.#buffer.subarray(0, 2).toString('latin1') === '\r\n'
    const end = empty ? 0 : this.#buffer.indexOf('\r\n\r\n')
    if (end < 0) return false
    const lines = empty ? [] : this.#buffer.toString('latin1', 0, end).split('\r\n')
    this.#buffer = this.#buffer.subarray(empty ? 2 : end + 4)
    this.#finish(parseFields(lines))
    return true
  }

  #finish(trailers: readonly string[]): void {
    this.#state = 'head'
    this.#events.end(trailers)
  }
}

function parseFields(lines: readonly string[]): string[] {
  return lines.flatMap((line) => {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon)
    if (colon < 1 || !tokenPattern.test(name)) throw new Violation(`field line: ${line}`)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
    if (/[\x00-\x08\x0a-\x1f\x7f]/.test(line)) throw new Violation(`control character: ${line}`)
    return [name, line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')]
  })
}

// RFC 9112 6.3, without what it lets a recipient repair.
function parseFraming(fields: readonly string[]): number | 'chunked' {
  const lengths = valuesOf(fields, 'content-length')
  const codings = valuesOf(fields, 'transfer-encoding')
  const hosts = valuesOf(fields, 'host')
  if (hosts.length !== 1 || hosts[0] === '') throw new Violation(`Host: ${hosts.join(' | ')}`)
  if (codings.length > 0) {
    if (lengths.length > 0) throw new Violation('Content-Length with Transfer-Encoding')
    if (codings.join() !== 'chunked') throw new Violation(`Transfer-Encoding: ${codings.join()}`)
    return 'chunked'
  }
  if (lengths.length > 1 || (lengths.length === 1 && !/^\d{1,15}$/.test(lengths[0]!))) {
    throw new Violation(`Content-Length: ${lengths.join(' | ')}`)
  }
  return Number(lengths[0] ?? 0)
}

/** The values of a field, in order; `name` in lower case. */
export function valuesOf(fields: readonly string[], name: string): string[] {
  return fields.filter((_, at) => at % 2 === 1 && fields[at - 1]!.toLowerCase() === name)
}
