// Packs for tests, byte by byte (gitformat-pack): entries of every type, right and wrong ones, deltas by a
// simple writer, zlib streams of every shape, and pushes around them. It checks nothing: what is asked for
// is written.

import { createHash } from 'node:crypto'
import { crc32, deflateRawSync, deflateSync, constants as zlib } from 'node:zlib'
import type { ObjectFormat } from '../../../gateway/protocols/git/capabilities.ts'
import { flushPkt, writePktLine } from '../../../gateway/protocols/git/pkt-line.ts'

export type ObjectType = 'commit' | 'tree' | 'blob' | 'tag'

/** Type bits of an entry's header; 0 and 5 are none. */
export const typeBits = { commit: 1, tree: 2, blob: 3, tag: 4, ofsDelta: 6, refDelta: 7 } as const

/** An object as a pack may hold it. */
export type GitObject = { readonly type: ObjectType; readonly content: Buffer; readonly id: string }

/** An object with its id. */
export function makeObject(
  type: ObjectType,
  content: string | Buffer,
  format: ObjectFormat = 'sha1',
): GitObject {
  const bytes = Buffer.from(content)
  const id = createHash(format).update(`${type} ${bytes.length}\0`).update(bytes).digest('hex')
  return { type, content: bytes, id }
}

export type CommitParts = {
  readonly tree: string
  readonly parents?: readonly string[]
  readonly message?: string
  /** Header lines behind the committer, each with its LF. */
  readonly extra?: string
}

export const person = 'Ada <ada@example.com> 1700000000 +0000'

/** A commit's content as git writes it. */
export function commitText({
  tree,
  parents = [],
  message = 'm\n',
  extra = '',
}: CommitParts): string {
  const lines = parents.map((parent) => `parent ${parent}\n`).join('')
  return `tree ${tree}\n${lines}author ${person}\ncommitter ${person}\n${extra}\n${message}`
}

/** A tree's content; entries in the order given. */
export function treeContent(
  entries: readonly { readonly mode?: string; readonly name: string; readonly id: string }[],
): Buffer {
  return Buffer.concat(
    entries.flatMap(({ mode = '100644', name, id }) => [
      Buffer.from(`${mode} ${name}\0`),
      Buffer.from(id, 'hex'),
    ]),
  )
}

export type EntryOptions = {
  /** Declared instead of the content's length. */
  readonly size?: bigint | number
  /** The zlib stream instead of the content deflated. */
  readonly stream?: Buffer
  /** Needless groups of zeros behind the size. */
  readonly padding?: number
}

/** A pack as it grows. `finish` gives it a trailer. */
export class PackWriter {
  readonly format: ObjectFormat
  readonly #head: { readonly signature: string; readonly version: number; readonly count?: number }
  readonly #parts: Buffer[] = []
  #bytes = 12
  #entries = 0

  constructor(
    options: {
      readonly format?: ObjectFormat
      readonly signature?: string
      readonly version?: number
      /** In the header, instead of the number of entries written. */
      readonly count?: number
    } = {},
  ) {
    const { format = 'sha1', signature = 'PACK', version = 2, count } = options
    this.format = format
    this.#head = { signature, version, ...(count === undefined ? {} : { count }) }
  }

  /** Where the next entry begins. */
  get offset(): number {
    return this.#bytes
  }

  /** A whole object. Returns where its entry begins. */
  object({ type, content }: Omit<GitObject, 'id'>, options: EntryOptions = {}): number {
    return this.entry(typeBits[type], content, options)
  }

  /** A delta whose base's entry begins at `base`. Returns where its entry begins. */
  ofsDelta(base: number, delta: Buffer, options: EntryOptions = {}): number {
    const distance = writeOffset(BigInt(this.offset - base))
    return this.entry(typeBits.ofsDelta, delta, options, distance)
  }

  /** A delta whose base has the id. Returns where its entry begins. */
  refDelta(base: string, delta: Buffer, options: EntryOptions = {}): number {
    return this.entry(typeBits.refDelta, delta, options, Buffer.from(base, 'hex'))
  }

  /** Any entry: type bits, what stands between header and zlib stream, and what is deflated. */
  entry(
    type: number,
    content: Buffer,
    { size = content.length, stream = deflateSync(content), padding }: EntryOptions = {},
    between: Buffer = Buffer.alloc(0),
  ): number {
    const at = this.offset
    this.#entries++
    return this.bytes(
      Buffer.concat([writeEntryHead(type, BigInt(size), padding), between, stream]),
      at,
    )
  }

  /** Bytes as they are, counted as no entry. Returns where they begin. */
  bytes(bytes: Buffer, at: number = this.offset): number {
    this.#parts.push(bytes)
    this.#bytes += bytes.length
    return at
  }

  /** The pack; with another trailer than its digest where one is given. */
  finish(trailer?: Buffer): Buffer {
    const { signature, version, count = this.#entries } = this.#head
    const head = Buffer.alloc(12)
    head.write(signature, 'latin1')
    head.writeUInt32BE(version, 4)
    head.writeUInt32BE(count, 8)
    const body = Buffer.concat([head, ...this.#parts])
    return Buffer.concat([body, trailer ?? createHash(this.format).update(body).digest()])
  }
}

/** A pack of whole objects. */
export function packOf(objects: readonly GitObject[], format: ObjectFormat = 'sha1'): Buffer {
  const pack = new PackWriter({ format })
  for (const object of objects) pack.object(object)
  return pack.finish()
}

/** Type and size in front of an entry. */
export function writeEntryHead(type: number, size: bigint, padding = 0): Buffer {
  const bytes = [(type << 4) | Number(size & 15n)]
  for (let rest = size >> 4n; rest > 0n; rest >>= 7n) bytes.push(Number(rest & 127n))
  for (let i = 0; i < padding; i++) bytes.push(0)
  return continued(bytes)
}

/** A delta's sizes: seven bits a byte, the lowest first. */
export function writeSize(size: bigint, padding = 0): Buffer {
  const bytes = [Number(size & 127n)]
  for (let rest = size >> 7n; rest > 0n; rest >>= 7n) bytes.push(Number(rest & 127n))
  for (let i = 0; i < padding; i++) bytes.push(0)
  return continued(bytes)
}

/** The distance back to a base: seven bits a byte, the highest first, each further byte worth one more. */
export function writeOffset(distance: bigint): Buffer {
  const bytes = [Number(distance & 127n)]
  for (let rest = distance >> 7n; rest > 0n; rest = (rest - 1n) >> 7n) {
    bytes.unshift(Number((rest - 1n) & 127n) | 128)
  }
  return Buffer.from(bytes)
}

function continued(bytes: readonly number[]): Buffer {
  return Buffer.from(bytes.map((byte, i) => (i === bytes.length - 1 ? byte : byte | 128)))
}

/** Part of a delta: bytes of the base, or bytes of its own. */
export type Instruction =
  | { readonly copy: readonly [offset: number, size: number] }
  | { readonly insert: Buffer }

/** A delta of exactly these instructions. */
export function writeDelta(
  baseSize: bigint | number,
  resultSize: bigint | number,
  instructions: readonly Instruction[],
): Buffer {
  return Buffer.concat([
    writeSize(BigInt(baseSize)),
    writeSize(BigInt(resultSize)),
    ...instructions.map((instruction) => writeInstruction(instruction)),
  ])
}

const insertBytesMax = 127
const copyBytesMax = 0xffffff

/** One instruction; an insert of more than 127 bytes becomes several. `padded` spells every byte of a copy out. */
export function writeInstruction(instruction: Instruction, padded = false): Buffer {
  if ('insert' in instruction) {
    const { insert } = instruction
    const parts: Buffer[] = []
    for (let at = 0; at < insert.length; at += insertBytesMax) {
      const part = insert.subarray(at, at + insertBytesMax)
      parts.push(Buffer.from([part.length]), part)
    }
    return Buffer.concat(parts)
  }
  const [offset, size] = instruction.copy
  // A size of zero means this one.
  const sized = size === 0x10000 && !padded ? 0 : size
  const bytes: number[] = []
  let bits = 128
  const add = (value: number, index: number): void => {
    if (value === 0 && !padded) return
    bits |= 1 << index
    bytes.push(value)
  }
  for (let i = 0; i < 4; i++) add(Math.floor(offset / 256 ** i) & 255, i)
  for (let i = 0; i < 3; i++) add(Math.floor(sized / 256 ** i) & 255, 4 + i)
  return Buffer.from([bits, ...bytes])
}

const blockBytes = 8

/** A delta that makes the target from the base: copies where the base has the same blocks, inserts elsewhere. */
export function deltaBetween(base: Buffer, target: Buffer): Buffer {
  const blocks = new Map<string, number>()
  for (let at = 0; at + blockBytes <= base.length; at += blockBytes) {
    blocks.set(base.toString('latin1', at, at + blockBytes), at)
  }
  const instructions: Instruction[] = []
  let inserted = 0
  let at = 0
  while (at < target.length) {
    const from = blocks.get(target.toString('latin1', at, at + blockBytes))
    if (from === undefined) {
      at++
      continue
    }
    let size = 0
    while (
      size < copyBytesMax &&
      at + size < target.length &&
      target[at + size] === base[from + size]
    ) {
      size++
    }
    if (inserted < at) instructions.push({ insert: target.subarray(inserted, at) })
    instructions.push({ copy: [from, size] })
    at += size
    inserted = at
  }
  if (inserted < at) instructions.push({ insert: target.subarray(inserted, at) })
  return writeDelta(base.length, target.length, instructions)
}

/** A delta that takes nothing from its base. */
export function insertAll(baseSize: number, target: Buffer): Buffer {
  return writeDelta(baseSize, target.length, [{ insert: target }])
}

/** What a delta makes of its base, without any check. */
export function readDelta(base: Buffer, delta: Buffer): Buffer {
  const parts: Buffer[] = []
  let at = 0
  for (let sizes = 0; sizes < 2; sizes++) while ((delta[at++] ?? 0) & 128);
  while (at < delta.length) {
    const code = delta[at++] ?? 0
    if (code < 128) {
      parts.push(delta.subarray(at, at + code))
      at += code
      continue
    }
    const values = [0, 0]
    for (let i = 0; i < 7; i++) {
      if ((code >> i) & 1) values[i < 4 ? 0 : 1]! += (delta[at++] ?? 0) * 256 ** (i % 4)
    }
    const [offset = 0, size = 0] = values
    parts.push(base.subarray(offset, offset + (size || 0x10000)))
  }
  return Buffer.concat(parts)
}

/** Zlib streams (RFC 1950) that deflate to a content, and some that do not. */
export const streams = {
  level: (content: Buffer, level: number): Buffer => deflateSync(content, { level }),
  /** Stored blocks of so many bytes. */
  stored: (content: Buffer, blockSize = 0xffff): Buffer => {
    const blocks: Buffer[] = []
    for (let at = 0; at < content.length; at += blockSize) {
      blocks.push(storedBlock(content.subarray(at, at + blockSize), false))
    }
    return zlibStream([...blocks, storedBlock(Buffer.alloc(0), true)], content)
  },
  /** So many empty stored blocks before the content. */
  emptyBlocks: (content: Buffer, count: number): Buffer => {
    const empty = Array.from({ length: count }, () => storedBlock(Buffer.alloc(0), false))
    return zlibStream([...empty, deflateRawSync(content)], content)
  },
  /** A flush behind every `step` bytes, as a program writes that has its content piece by piece. */
  flushed: (content: Buffer, step: number): Buffer => {
    const blocks: Buffer[] = []
    for (let at = 0; at < content.length; at += step) {
      const part = content.subarray(at, at + step)
      blocks.push(deflateRawSync(part, { finishFlush: zlib.Z_SYNC_FLUSH }))
    }
    return zlibStream([...blocks, storedBlock(Buffer.alloc(0), true)], content)
  },
  /** No compression window to speak of: the smallest that a header can name. */
  smallWindow: (content: Buffer): Buffer => deflateSync(content, { windowBits: 9 }),
  wrongAdler: (content: Buffer): Buffer => {
    const bytes = deflateSync(content)
    bytes.writeUInt8((bytes.at(-1) ?? 0) ^ 1, bytes.length - 1)
    return bytes
  },
  /** Without the checksum at its end. */
  noAdler: (content: Buffer): Buffer => deflateSync(content).subarray(0, -4),
  /** Needs a dictionary (FDICT). */
  dictionary: (content: Buffer): Buffer =>
    deflateSync(content, { dictionary: Buffer.from('parent tree author committer') }),
  /** Without zlib's header and checksum. */
  raw: (content: Buffer): Buffer => deflateRawSync(content),
  /** Gzip's header and trailer instead of zlib's. */
  gzip: (content: Buffer): Buffer => {
    const tail = Buffer.alloc(8)
    tail.writeUInt32LE(crc32(content), 0)
    tail.writeUInt32LE(content.length, 4)
    const head = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])
    return Buffer.concat([head, deflateRawSync(content), tail])
  },
  /** A block of the type that is none. */
  badBlock: (): Buffer => Buffer.from([0x78, 0x9c, 0x07]),
} as const

function zlibStream(blocks: readonly Buffer[], content: Buffer): Buffer {
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32BE(adler32(content))
  return Buffer.concat([Buffer.from([0x78, 0x9c]), ...blocks, checksum])
}

function storedBlock(content: Buffer, last: boolean): Buffer {
  const head = Buffer.alloc(5)
  head[0] = last ? 1 : 0
  head.writeUInt16LE(content.length, 1)
  head.writeUInt16LE(content.length ^ 0xffff, 3)
  return Buffer.concat([head, content])
}

function adler32(content: Buffer): number {
  let a = 1
  let b = 0
  for (const byte of content) {
    a = (a + byte) % 65_521
    b = (b + a) % 65_521
  }
  return b * 65_536 + a
}

/** The id of no object. */
export const zeroId = { sha1: '0'.repeat(40), sha256: '0'.repeat(64) } as const

/** What git says of itself in a push. */
export const pushCapabilities =
  ' report-status-v2 side-band-64k object-format=sha1 agent=git/2.39.5'

export type PushOptions = {
  readonly capabilities?: string
  /** Lines before the commands. */
  readonly shallow?: readonly string[]
}

/** The body of a push: commands as `OLD NEW REF`, and what stands behind the flush-pkt. */
export function writePushBody(
  commands: readonly string[],
  pack: Buffer,
  { capabilities = pushCapabilities, shallow = [] }: PushOptions = {},
): Buffer {
  return Buffer.concat([
    ...shallow.map((id) => writePktLine(`shallow ${id}\n`)),
    ...commands.map((command, i) =>
      writePktLine(i === 0 ? `${command}\0${capabilities}` : command),
    ),
    flushPkt,
    pack,
  ])
}
