// What is ready in one turn of the event loop is read first, then worked on, then written. Each system call
// leaves the processor's caches and address translations cold for what comes after it: one after the other,
// without system calls between, requests and replies take two thirds of the time (cohort scheduling: Larus
// and Parkes, USENIX 2002). A request that comes alone is in a cohort of one, and waits for nothing.

import type { Socket } from 'node:net'

export type Worker = { work(): void }
export type Writer = {
  readonly socket: Socket
  /** The text was given to the socket, if that is open. */
  written(): void
}

let ready: Worker[] = []
let writers: Writer[] = []
let texts: string[] = []
let isWorking = false

/** Has it worked after all that is ready in this turn of the event loop was read. */
export function workLater(worker: Worker): void {
  if (ready.push(worker) === 1) setImmediate(workOnAll)
}

/** Writes one byte a character: when the rest of the cohort was worked on, or now where there is none. */
export function writeLater(writer: Writer, text: string): void {
  if (isWorking) {
    writers.push(writer)
    texts.push(text)
    return
  }
  write(writer, text)
  writer.written()
}

function workOnAll(): void {
  const workers = ready
  ready = []
  isWorking = true
  for (const worker of workers) worker.work()
  isWorking = false
  const written = writers
  const all = texts
  writers = []
  texts = []
  for (let i = 0; i < written.length; i++) write(written[i] as Writer, all[i] as string)
  for (const writer of written) writer.written()
}

function write({ socket }: Writer, text: string): void {
  if (!socket.destroyed) socket.write(text, 'latin1')
}
