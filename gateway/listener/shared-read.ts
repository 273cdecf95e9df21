// One buffer that all plain connections read into, one after the other, as net.connect's `onread` has it for
// sockets that connect: a buffer for each read costs more than what a small request is read for. Node has no
// such option for accepted sockets; what its option sets is set here. A Node that keeps it elsewhere is told by
// `canShareReads`, and its sockets are read as usual.

import net, { type Socket } from 'node:net'
import { Duplex } from 'node:stream'

/** So many bytes were read into that buffer. False: read no more for now. */
type Taken = (bytes: number, buffer: Buffer) => boolean
/** Called after each read: what to read into from now on, if not into the same. */
type Next = () => Buffer | undefined

export const sharedBuffer = Buffer.allocUnsafeSlow(64 * 1024)

const probe = new net.Socket({ onread: { buffer: sharedBuffer, callback: () => true } })
const bufferSymbol = symbolOf('kBuffer')
const callbackSymbol = symbolOf('kBufferCb')
const nextSymbol = symbolOf('kBufferGen')

type Handle = { useUserBuffer?(buffer: Buffer): void }
type Inside = { _handle?: Handle | null; [symbol: symbol]: unknown }

export const canShareReads =
  bufferSymbol !== undefined &&
  callbackSymbol !== undefined &&
  nextSymbol !== undefined &&
  (probe as unknown as Inside)[bufferSymbol] === sharedBuffer

/** From now on the socket emits no `data`: what comes is told to `taken`. False where that cannot be. */
export function shareReads(socket: Socket, taken: Taken, next: Next): boolean {
  const inside = socket as unknown as Inside
  const handle = inside._handle
  if (!canShareReads || handle?.useUserBuffer === undefined) return false
  inside[bufferSymbol as symbol] = sharedBuffer
  inside[callbackSymbol as symbol] = taken
  inside[nextSymbol as symbol] = next
  handle.useUserBuffer(sharedBuffer)
  return true
}

/** Ends that: the socket is a stream again, as one that was never shared. */
export function unshareReads(socket: Socket): void {
  const inside = socket as unknown as Inside
  if (callbackSymbol === undefined || inside[callbackSymbol] == null) return
  const push: Taken = (bytes, buffer) => socket.push(Buffer.from(buffer.subarray(0, bytes)))
  inside[callbackSymbol] = push
  inside[nextSymbol as symbol] = null
  // Those of net.Socket stop and start a socket with a buffer at once: one that is paused would not see its end.
  const { pause, resume, read } = Duplex.prototype
  Object.assign(socket, { pause, resume, read })
}

function symbolOf(description: string): symbol | undefined {
  return Object.getOwnPropertySymbols(probe).find((symbol) => symbol.description === description)
}
