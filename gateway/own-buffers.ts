// Buffers of their own for long bodies, which are read into them and written from there. They cost no copy and no
// garbage, and the bytes are still in the processor's cache when they are written: half of the time. Others are read
// into buffers that all connections of a kind share, and copied from there.

const bufferBytes = 256 * 1024
/** 16 MiB: slow transfers keep theirs for long, and beyond it all others are copied. */
const inUseMax = 64
const sparesMax = 16
/** A body of which so much is read at once is quick enough to be worth one. */
export const quickReadBytes = 64 * 1024

const spares: Buffer[] = []
let inUse = 0

/** Undefined where too many are in use. */
export function takeOwnBuffer(): Buffer | undefined {
  if (inUse >= inUseMax) return undefined
  inUse += 1
  return spares.pop() ?? Buffer.allocUnsafeSlow(bufferBytes)
}

/**
 * `isLent`: what was read into it last is still to be written, so nobody may read into it any more. It counts no
 * longer, and is freed when that is done: a client that is slow at the end of its download holds one besides.
 */
export function returnOwnBuffer(buffer: Buffer, isLent: boolean): void {
  inUse -= 1
  if (!isLent && spares.length < sparesMax) spares.push(buffer)
}
