// Deltas of packs (gitformat-pack, "Deltified representation"): the sizes of base and result, then
// instructions that copy from the base or insert. Pure. It never makes a result that differs from the
// size which the delta declares, nor one over the caller's bound.

const copies = 0x80

/** The result; undefined where the delta does not fit this base, is malformed, or makes more than `bytesMax`. */
export function applyDelta(base: Buffer, delta: Buffer, bytesMax: number): Buffer | undefined {
  const cursor = { at: 0 }
  if (readSize(delta, cursor) !== base.length) return undefined
  const size = readSize(delta, cursor)
  if (size === undefined || size > bytesMax) return undefined
  const result = Buffer.alloc(size)
  let written = 0
  while (cursor.at < delta.length) {
    const code = delta[cursor.at++]!
    if (code === 0) return undefined
    const piece =
      (code & copies) === 0 ? readInsert(delta, cursor, code) : readCopy(base, delta, cursor, code)
    if (piece === undefined || written + piece.length > size) return undefined
    written += piece.copy(result, written)
  }
  return written === size ? result : undefined
}

type Cursor = { at: number }

function readSize(delta: Buffer, cursor: Cursor): number | undefined {
  let size = 0
  for (let unit = 1; unit <= 2 ** 42; unit *= 128) {
    const byte = delta[cursor.at++]
    if (byte === undefined) return undefined
    size += (byte & 0x7f) * unit
    if ((byte & 0x80) === 0) return size
  }
  return undefined
}

function readInsert(delta: Buffer, cursor: Cursor, length: number): Buffer | undefined {
  const start = cursor.at
  cursor.at += length
  return cursor.at > delta.length ? undefined : delta.subarray(start, cursor.at)
}

// Bits 0 to 3 say which bytes of the offset follow, bits 4 to 6 which of the size; a size of 0 is 64 KiB.
function readCopy(base: Buffer, delta: Buffer, cursor: Cursor, code: number): Buffer | undefined {
  let offset = 0
  let size = 0
  for (let bit = 0; bit < 7; bit++) {
    if ((code & (1 << bit)) === 0) continue
    const byte = delta[cursor.at++]
    if (byte === undefined) return undefined
    if (bit < 4) offset += byte * 2 ** (8 * bit)
    else size += byte * 2 ** (8 * (bit - 4))
  }
  if (size === 0) size = 0x10000
  return offset + size > base.length ? undefined : base.subarray(offset, offset + size)
}
