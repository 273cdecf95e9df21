// Proofs in a thread of their own, seen from the gateway's. The thread starts with the first push that
// needs one, and ends some time after the last; should it fail, nothing is proved.

import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { GatewayError } from '../../errors.ts'
import type { Question } from './ancestry.ts'
import { BoundExceeded } from './bound.ts'
import type { ObjectFormat } from './capabilities.ts'
import type { ProofProgress } from './proof.ts'
import type { ProofOrder, ProofReport } from './proof-messages.ts'

/** Pushes that are being proved at a time. */
export const proofsMax = 64
/** Heap of the thread; so many pushes at their bounds would not fit, and then none of them is proved. */
const heapMiBMax = 768
/** A push that sent nothing for so long gives way where no more fit. */
const silentMs = 5_000
/** The thread ends when it was not needed for so long, and gives its memory back. */
const idleMs = 30_000

/** The proof of one push. */
export type ProofSession = {
  /**
   * Sends the next bytes of the pack. The answers come in order. Rejects with GatewayError `bad_request`
   * where the pack is malformed, with BoundExceeded where it is too much.
   */
  write(chunk: Buffer): Promise<ProofProgress>
  settle(index: number): void
  close(): void
}

type Waiting = {
  readonly resolve: (progress: ProofProgress) => void
  readonly reject: (error: Error) => void
}

type Session = { readonly waiting: Waiting[]; readonly wroteAt: number }

let worker: Worker | undefined
let pushes = 0
let idle: NodeJS.Timeout | undefined
/** By the time of their last bytes, the one that was silent longest first. */
const sessions = new Map<number, Session>()

/** Throws BoundExceeded where as many pushes as may be are being proved already. */
export function openProof(
  format: ObjectFormat,
  questions: readonly Question[],
  shallow: readonly string[],
): ProofSession {
  const thread = startThread()
  if (sessions.size >= proofsMax && !dismissSilent(thread)) {
    throw new BoundExceeded(`${proofsMax} other pushes are being looked at: try again shortly`)
  }
  const push = ++pushes
  const waiting: Waiting[] = []
  sessions.set(push, { waiting, wroteAt: performance.now() })
  tell(thread, { order: 'open', push, format, questions, shallow })
  return {
    write: (bytes) =>
      new Promise((resolve, reject) => {
        if (!sessions.delete(push)) {
          reject(new BoundExceeded('the push was too slow while many others came: push again'))
          return
        }
        sessions.set(push, { waiting, wroteAt: performance.now() })
        waiting.push({ resolve, reject })
        // Copied: the buffer that it came in may be shared.
        const chunk = new Uint8Array(bytes)
        tell(thread, { order: 'write', push, chunk }, [chunk.buffer])
      }),
    settle: (index) => tell(thread, { order: 'settle', push, index }),
    close: () => {
      tell(thread, { order: 'close', push })
      forget(push)
    },
  }
}

/** Ends the proof of the push that was silent longest, if it was silent for long. */
function dismissSilent(thread: Worker): boolean {
  const [push, session] = sessions.entries().next().value ?? []
  if (push === undefined || session === undefined) return false
  if (session.waiting.length > 0 || performance.now() - session.wroteAt < silentMs) return false
  tell(thread, { order: 'close', push })
  return sessions.delete(push)
}

function startThread(): Worker {
  clearTimeout(idle)
  if (worker !== undefined) return worker
  const file = new URL(`./proof-worker${extname(import.meta.url)}`, import.meta.url)
  const thread = new Worker(file, { resourceLimits: { maxOldGenerationSizeMb: heapMiBMax } })
  thread.on('message', hear)
  thread.on('error', (error) => failed(thread, error))
  // Last: a listener for messages would keep the process alive again.
  thread.unref()
  worker = thread
  return thread
}

function hear(report: ProofReport): void {
  const waiting = sessions.get(report.push)?.waiting
  const next = waiting?.shift()
  if (report.report === 'progress') {
    next?.resolve(report.progress)
    return
  }
  const { failure, words } = report
  const error =
    failure === 'bound' ? new BoundExceeded(words) : new GatewayError('bad_request', words)
  next?.reject(error)
  for (const other of waiting?.splice(0) ?? []) other.reject(error)
  forget(report.push)
}

/** Out of memory, or a defect: what was under way is not proved, and the next push starts another thread. */
function failed(thread: Worker, cause: unknown): void {
  if (worker === thread) worker = undefined
  const error = new BoundExceeded('reading the pack took more than there is')
  error.cause = cause
  for (const { waiting } of sessions.values())
    for (const { reject } of waiting.splice(0)) reject(error)
  sessions.clear()
}

function forget(push: number): void {
  if (!sessions.delete(push) || sessions.size > 0) return
  idle = setTimeout(() => {
    void worker?.terminate()
    worker = undefined
  }, idleMs).unref()
}

function tell(thread: Worker, order: ProofOrder, transfer: ArrayBuffer[] = []): void {
  thread.postMessage(order, transfer)
}
