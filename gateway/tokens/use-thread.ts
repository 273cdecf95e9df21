// Last uses are written in a thread of their own: a transaction waits for the lock that other processes may
// hold, and now and then moves what was written to its place in a file of any size, which takes as long as
// hundreds of requests. The thread starts with the first use.

import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { TokenUse } from './store.ts'

export type UseWorkerData = { readonly file: string; readonly busyMs: number }
/** Uses for one transaction, or the end. */
export type UseOrder = readonly TokenUse[] | 'close'
/** The answer to each transaction, in their order. */
export type UseReport = { readonly failure: string | undefined }

type Waiting = { readonly resolve: () => void; readonly reject: (error: Error) => void }

/** One for each open database. */
export class UseThread {
  readonly #data: UseWorkerData
  readonly #waiting: Waiting[] = []
  #worker: Worker | undefined

  constructor(data: UseWorkerData) {
    this.#data = data
  }

  /** One transaction; rejects with an Error where nothing was written. The process lives on until then. */
  async write(uses: readonly TokenUse[]): Promise<void> {
    const worker = this.#start()
    worker.ref()
    try {
      await new Promise<void>((resolve, reject) => {
        this.#waiting.push({ resolve, reject })
        worker.postMessage(uses satisfies UseOrder)
      })
    } finally {
      if (this.#waiting.length === 0) worker.unref()
    }
  }

  /** Resolves when the connection is closed. */
  async close(): Promise<void> {
    const worker = this.#worker
    if (worker === undefined) return
    const { promise, resolve } = Promise.withResolvers<void>()
    worker.once('exit', () => resolve())
    worker.ref()
    worker.postMessage('close' satisfies UseOrder)
    await promise
  }

  #start(): Worker {
    if (this.#worker !== undefined) return this.#worker
    const file = new URL(`./use-worker${extname(import.meta.url)}`, import.meta.url)
    const worker = new Worker(file, { workerData: this.#data })
    worker.on('message', ({ failure }: UseReport) => {
      const next = this.#waiting.shift()
      if (failure === undefined) next?.resolve()
      else next?.reject(new Error(failure))
    })
    let reason = new Error('the thread that writes last uses has ended')
    worker.on('error', (error) => {
      reason = error as Error
    })
    // What it was asked for is not written; the next write starts another.
    worker.on('exit', () => {
      this.#worker = undefined
      for (const { reject } of this.#waiting.splice(0)) reject(reason)
    })
    this.#worker = worker
    return worker
  }
}
