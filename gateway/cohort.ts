// What is ready in one turn of the event loop is read first, then worked on, then written. Each system call
// leaves the processor's caches and address translations cold for what comes after it: one after the other,
// without system calls between, requests and replies take two thirds of the time (cohort scheduling: Larus
// and Parkes, USENIX 2002). Where they come one by one, each is worked on as soon as it was read: then the way
// over the end of the turn would cost more than it brings.

import type { Socket } from 'node:net'
import { performance } from 'node:perf_hooks'

/** Of so many events in a turn on average, what is ready is worked on together. */
const crowdEvents = 2
/** How many there are is looked at after so many cohorts; what is worked on alone is one too. */
const cohortsPerLook = 64

export type Worker = { work(): void }
export type Writer = {
  readonly socket: Socket
  /** The text was given to the socket, if that is open. */
  written(): void
}

let ready: Worker[] = []
let writers: Writer[] = []
let texts: string[] = []
/** Several are worked on: what they write waits until all are. */
let isTogether = false
let isCrowded = false
let cohorts = 0
/** Of the event loop, when it was looked around last. */
let events = 0
let turns = 0

/** Has it worked now, or after all that is ready in this turn of the event loop. */
export function workInTurn(worker: Worker): void {
  if (isCrowded) {
    if (ready.push(worker) === 1) setImmediate(workOnAll)
    return
  }
  countCohort()
  worker.work()
}

/** Writes one byte a character: when the rest of the cohort was worked on, or now where there is none. */
export function writeLater(writer: Writer, text: string): void {
  if (isTogether) {
    writers.push(writer)
    texts.push(text)
    return
  }
  write(writer, text)
  writer.written()
}

function workOnAll(): void {
  countCohort()
  const workers = ready
  ready = []
  isTogether = workers.length > 1
  for (const worker of workers) worker.work()
  isTogether = false
  const written = writers
  const all = texts
  writers = []
  texts = []
  for (let i = 0; i < written.length; i++) write(written[i] as Writer, all[i] as string)
  for (const writer of written) writer.written()
}

function countCohort(): void {
  cohorts += 1
  if (cohorts % cohortsPerLook === 0) lookAround()
}

/** The events of a turn are counted at its end: where there was no end in so many cohorts, it is a crowd. */
function lookAround(): void {
  const seen = performance.nodeTiming.uvMetricsInfo
  isCrowded = seen.events - events >= crowdEvents * (seen.loopCount - turns)
  events = seen.events
  turns = seen.loopCount
}

function write({ socket }: Writer, text: string): void {
  if (!socket.destroyed) socket.write(text, 'latin1')
}
