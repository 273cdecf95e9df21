// The thread that reads packs, so that no push costs other requests more than a share of a processor. It
// serves all pushes that are being proved, chunk by chunk in turn.

import { parentPort } from 'node:worker_threads'
import { GatewayError } from '../../errors.ts'
import { BoundExceeded } from './bound.ts'
import { Proof } from './proof.ts'
import type { ProofOrder, ProofReport } from './proof-messages.ts'

/** Time spent on one push. */
const timeMsMax = 120_000

type Work = { readonly proof: Proof; spentMs: number }

const works = new Map<number, Work>()
let last: Promise<void> = Promise.resolve()

parentPort?.on('message', (order: ProofOrder) => {
  last = last.then(() => obey(order))
})

async function obey(order: ProofOrder): Promise<void> {
  const { push } = order
  const work = works.get(push)
  switch (order.order) {
    case 'open':
      works.set(push, {
        proof: new Proof(order.format, order.questions, order.shallow),
        spentMs: 0,
      })
      return
    case 'settle':
      work?.proof.settle(order.index)
      return
    case 'close':
      work?.proof.close()
      works.delete(push)
      return
    case 'write':
      if (work !== undefined) await write(push, work, order.chunk)
  }
}

async function write(push: number, work: Work, chunk: Uint8Array): Promise<void> {
  const startedAt = performance.now()
  try {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    const progress = await work.proof.write(bytes)
    work.spentMs += performance.now() - startedAt
    if (work.spentMs > timeMsMax) {
      throw new BoundExceeded(`reading the pack takes more than ${timeMsMax / 1000} s`)
    }
    tell({ push, report: 'progress', progress })
  } catch (error) {
    if (!(error instanceof BoundExceeded || error instanceof GatewayError)) throw error
    work.proof.close()
    works.delete(push)
    const failure = error instanceof BoundExceeded ? 'bound' : 'malformed'
    tell({ push, report: 'failed', failure, words: error.message })
  }
}

function tell(report: ProofReport): void {
  parentPort?.postMessage(report)
}
