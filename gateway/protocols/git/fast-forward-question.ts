// The question to the git server whether an id is an ancestor of others, at the price of a few bytes
// (gitprotocol-pack, "Packfile Negotiation", stateless): who wants OLD and has FRONTIER gets a pack without
// objects exactly if OLD is one of FRONTIER's commits or their ancestors. The count stands in the pack's
// first 12 bytes; the rest is not waited for. It never takes an acknowledgement for an answer: a server
// acknowledges parents of what it was told, too.

import type { InspectContext, UpstreamQuestion } from '../protocol.ts'
import type { ObjectFormat } from './capabilities.ts'
import { flushPkt, writePktLine } from './pkt-line.ts'

/** The push waits for the answer with its last bytes held back. */
const questionTimeoutMs = 30_000
const answerBytesMax = 64 * 1024
const packHeadBytes = 12

export type AncestryQuestion = {
  /** Path of the repository's git-upload-pack, as the upstream sees it. */
  readonly path: string
  readonly format: ObjectFormat
  readonly oldId: string
  /** Never empty. Ids that the server does not know count for nothing. */
  readonly frontier: readonly string[]
}

/** True: proved. False: not so. Rejects where the server does not say. */
export async function isAncestor(
  ask: InspectContext['ask'],
  question: AncestryQuestion,
): Promise<boolean> {
  const { status, body } = await ask(writeQuestion(question))
  const count = status === 200 ? readObjectCount(body) : undefined
  if (count === undefined) throw new Error(`it answered ${status} and no pack`)
  return count === 0
}

function writeQuestion({ path, format, oldId, frontier }: AncestryQuestion): UpstreamQuestion {
  const capabilities = format === 'sha1' ? 'no-progress' : `no-progress object-format=${format}`
  return {
    method: 'POST',
    path,
    fields: [
      'Content-Type',
      'application/x-git-upload-pack-request',
      'Accept',
      'application/x-git-upload-pack-result',
    ],
    body: Buffer.concat([
      writePktLine(`want ${oldId} ${capabilities}\n`),
      flushPkt,
      ...frontier.map((id) => writePktLine(`have ${id}\n`)),
      writePktLine('done\n'),
    ]),
    bodyBytesMax: answerBytesMax,
    isEnough: (body) => readObjectCount(body) !== undefined,
    timeoutMs: questionTimeoutMs,
  }
}

/** Objects of the pack behind the acknowledgements; undefined where its head is not there. */
export function readObjectCount(answer: Buffer): number | undefined {
  let at = 0
  while (answer.length >= at + packHeadBytes) {
    const start = answer.toString('latin1', at, at + 4)
    if (start === 'PACK') return answer.readUInt32BE(at + 8)
    if (!/^[0-9a-f]{4}$/.test(start)) return undefined
    const length = Number.parseInt(start, 16)
    if (
      length > 0 &&
      !/^(NAK|ACK [0-9a-f]+)\n$/.test(answer.toString('latin1', at + 4, at + length))
    ) {
      return undefined
    }
    at += Math.max(length, flushPkt.length)
  }
  return undefined
}
