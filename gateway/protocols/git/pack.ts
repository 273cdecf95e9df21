// A pack as it streams by (gitformat-pack): header, entries, trailer. It finds where each entry and the
// pack itself end, and hands out the content of the entries that its reader wants; the others are inflated
// and dropped. The end comes from the entries alone, never from the end of the stream, and where it finds
// an entry's end is where git's own zlib finds it. It keeps no object, and never repairs: what git does
// not write is refused.

import { inflateSync } from 'node:zlib'
import { BoundExceeded } from './bound.ts'
import { idDigits, type ObjectFormat } from './capabilities.ts'
import { type InflateStream, inflateStream } from './inflate-stream.ts'
import { refuse } from './pkt-line.ts'

/** Entries of one pack. */
export const entriesMax = 20_000_000
/** Content of all entries together, inflated. */
export const inflatedBytesMax = 64 * 2 ** 30
/** Longest content that is handed out; longer ones are dropped. */
export const contentBytesMax = 2 ** 20

/** Inflated in one piece where the whole entry is there already. */
const atOnceBytesMax = 128 * 1024
const headerBytes = 12
const signature = 'PACK'
/** The one that git writes; git reads 3 too, which nobody writes. */
const version = 2

export type EntryKind = 'commit' | 'tree' | 'blob' | 'tag' | 'ofs-delta' | 'ref-delta'

const kinds: readonly (EntryKind | undefined)[] = [
  undefined,
  'commit',
  'tree',
  'blob',
  'tag',
  undefined,
  'ofs-delta',
  'ref-delta',
]

export type PackEntry = {
  /** Where the entry begins, in bytes of the pack. */
  readonly offset: number
  readonly kind: EntryKind
  /** Bytes of the content, inflated: of the object, or of the delta. */
  readonly size: number
  /** Of an ofs-delta: where the base's entry begins. */
  readonly baseOffset?: number
  /** Of a ref-delta: the base's id in hex. */
  readonly baseId?: string
}

export type EntryReader = {
  /** Is the content of the entry wanted? Asked before it is inflated. */
  wants(entry: PackEntry): boolean
  /** The content of an entry that was wanted, unless it is longer than `contentBytesMax`. */
  take(entry: PackEntry, content: Buffer): void
}

type State =
  | { readonly kind: 'header' | 'entry' | 'trailer' | 'end' }
  | { readonly kind: 'content'; readonly entry: PackEntry; readonly stream?: InflateStream }

export class PackParser {
  readonly #idBytes: number
  readonly #reader: EntryReader
  #state: State = { kind: 'header' }
  #held: Buffer = Buffer.alloc(0)
  #parsed = 0
  #entriesLeft = 0
  #inflatedBytes = 0

  constructor(format: ObjectFormat, reader: EntryReader) {
    this.#idBytes = idDigits[format] / 2
    this.#reader = reader
  }

  /** Bytes of the pack that were understood; more of an entry that is still open. */
  get parsed(): number {
    return this.#parsed
  }

  /** The trailer was read: the pack has `parsed` bytes. */
  get isWhole(): boolean {
    return this.#state.kind === 'end'
  }

  /** Takes the next bytes. One call at a time. Throws GatewayError `bad_request`, or BoundExceeded. */
  async write(chunk: Buffer): Promise<void> {
    this.#held = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    for (;;) {
      const went = this.#step()
      if (!(typeof went === 'boolean' ? went : await went)) return
    }
  }

  /** Frees what an entry that is still open holds. */
  close(): void {
    if (this.#state.kind === 'content') this.#state.stream?.close()
  }

  /** False: more bytes are needed. */
  #step(): boolean | Promise<boolean> {
    const state = this.#state
    switch (state.kind) {
      case 'header':
        return this.#readHeader()
      case 'entry':
        return this.#readEntry()
      case 'content':
        return state.stream === undefined
          ? this.#readAtOnce(state.entry)
          : this.#readOn(state.entry, state.stream)
      case 'trailer':
        return this.#readTrailer()
      case 'end':
        if (this.#held.length > 0) refuse('bytes follow the end of its pack')
        return false
    }
  }

  #consume(bytes: number): void {
    this.#held = this.#held.subarray(bytes)
    this.#parsed += bytes
  }

  #readHeader(): boolean {
    if (this.#held.length < headerBytes) return false
    if (
      this.#held.toString('latin1', 0, 4) !== signature ||
      this.#held.readUInt32BE(4) !== version
    ) {
      refuse(`its pack does not begin with ${signature} and version ${version}`)
    }
    this.#entriesLeft = this.#held.readUInt32BE(8)
    if (this.#entriesLeft > entriesMax) {
      throw new BoundExceeded(`the pack has more than ${entriesMax} objects`)
    }
    this.#consume(headerBytes)
    this.#next()
    return true
  }

  #next(): void {
    this.#state = { kind: this.#entriesLeft === 0 ? 'trailer' : 'entry' }
  }

  #readEntry(): boolean {
    const head = readEntryHead(this.#held, this.#parsed, this.#idBytes)
    if (head === undefined) return false
    this.#entriesLeft -= 1
    this.#inflatedBytes += head.entry.size
    if (this.#inflatedBytes > inflatedBytesMax) {
      throw new BoundExceeded(`the pack has more than ${inflatedBytesMax / 2 ** 30} GiB inflated`)
    }
    this.#consume(head.bytes)
    this.#state = { kind: 'content', entry: head.entry }
    return true
  }

  // Most entries are small and here whole; an inflater for each in turn costs far less than a stream.
  #readAtOnce(entry: PackEntry): boolean {
    if (this.#held.length === 0) return false
    const isWanted = this.#reader.wants(entry) && entry.size <= contentBytesMax
    const whole = entry.size <= atOnceBytesMax ? inflateWhole(this.#held, entry.size) : undefined
    if (whole === undefined) {
      this.#state = { kind: 'content', entry, stream: inflateStream(entry.size, isWanted) }
      return true
    }
    this.#consume(whole.bytes)
    this.#next()
    if (isWanted) this.#reader.take(entry, whole.content)
    return true
  }

  async #readOn(entry: PackEntry, stream: InflateStream): Promise<boolean> {
    if (this.#held.length === 0) return false
    const result = await stream.write(this.#held)
    this.#consume(result.bytes)
    if (!result.isWhole) return false
    this.#next()
    if (result.content !== undefined) this.#reader.take(entry, result.content)
    return true
  }

  // Whether it is the hash of all before it is the server's to check.
  #readTrailer(): boolean {
    if (this.#held.length < this.#idBytes) return false
    this.#consume(this.#idBytes)
    this.#state = { kind: 'end' }
    return true
  }
}

/** Undefined where the head is not here whole. */
function readEntryHead(
  bytes: Buffer,
  offset: number,
  idBytes: number,
): { readonly entry: PackEntry; readonly bytes: number } | undefined {
  let at = 0
  let byte = bytes[at++]
  if (byte === undefined) return undefined
  const kind = kinds[(byte >> 4) & 7]
  if (kind === undefined) refuse('its pack has an entry of no known kind')
  let size = byte & 0x0f
  for (let unit = 16; byte & 0x80; unit *= 128) {
    byte = bytes[at++]
    if (byte === undefined) return undefined
    size += (byte & 0x7f) * unit
    if (!Number.isSafeInteger(size)) refuse('its pack has an entry of no possible size')
  }
  if (kind === 'ref-delta') {
    if (bytes.length < at + idBytes) return undefined
    const baseId = bytes.toString('hex', at, at + idBytes)
    return { entry: { offset, kind, size, baseId }, bytes: at + idBytes }
  }
  if (kind !== 'ofs-delta') return { entry: { offset, kind, size }, bytes: at }
  byte = bytes[at++]
  if (byte === undefined) return undefined
  let distance = byte & 0x7f
  while (byte & 0x80) {
    byte = bytes[at++]
    if (byte === undefined) return undefined
    distance = (distance + 1) * 128 + (byte & 0x7f)
    if (!Number.isSafeInteger(distance)) break
  }
  if (distance === 0 || distance > offset) refuse('its pack has a delta without a base before it')
  return { entry: { offset, kind, size, baseOffset: offset - distance }, bytes: at }
}

/** Undefined where the end is not here yet. */
function inflateWhole(
  bytes: Buffer,
  size: number,
): { readonly content: Buffer; readonly bytes: number } | undefined {
  try {
    const { buffer, engine } = inflateSync(bytes, {
      info: true,
      chunkSize: Math.max(size + 1, 64),
      maxOutputLength: Math.max(size, 1),
    }) as unknown as { buffer: Buffer; engine: { bytesWritten: number } }
    if (buffer.length !== size) refuse('its pack has an entry that is not as long as it says')
    return { content: buffer, bytes: engine.bytesWritten }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'Z_BUF_ERROR') return undefined
    if (code === 'ERR_BUFFER_TOO_LARGE') refuse('its pack has an entry that is longer than it says')
    if (code?.startsWith('Z_')) refuse('its pack has an entry that is not zlib data')
    throw error
  }
}
