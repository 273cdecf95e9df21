// The report of a refused push (gitprotocol-pack, "Report Status"; gitprotocol-capabilities,
// "side-band-64k"), as git-receive-pack would write it, so that git shows a reason for each ref. Pure. It
// never says `ok`: a push is refused whole.

import type { Capabilities } from './capabilities.ts'
import { toOneLine } from './one-line.ts'
import { flushPkt, pktLineBytesMax, writePktLine } from './pkt-line.ts'

/** Why a ref was not changed. */
export type RefusedRef = { readonly ref: string; readonly reason: string }

/** Longest reason; git shows 800 bytes unshortened, and a report may have one for each of 10,000 refs. */
export const reasonBytesMax = 400
const messageBytesMax = 800

/** What a client that takes no report ends with; it shows one line of band 3. */
const refusedWhole = Buffer.from('scopegate: the push was refused\n')

/** Data of one side-band packet: a pkt-line without its length and band. */
const bandBytesMax = pktLineBytesMax - 5

/**
 * The body of a `git-receive-pack-result`. `messages` are lines for people, shown as `remote: …` by
 * clients that take a side band. Undefined for a client that takes neither a report nor a side band.
 */
export function writeReport(
  capabilities: Capabilities,
  refs: readonly RefusedRef[],
  messages: readonly string[],
): Buffer | undefined {
  const takesReport = capabilities.has('report-status') || capabilities.has('report-status-v2')
  const report = takesReport ? writeStatus(refs) : undefined
  if (!capabilities.has('side-band-64k')) return report
  const text = messages
    .map((message) => `scopegate: ${toOneLine(message, messageBytesMax)}\n`)
    .join('')
  const outcome = report === undefined ? writeBand(3, refusedWhole) : writeBand(1, report)
  return Buffer.concat([...writeBand(2, Buffer.from(text)), ...outcome, flushPkt])
}

function writeStatus(refs: readonly RefusedRef[]): Buffer {
  const lines = refs.map(({ ref, reason }) =>
    writePktLine(`ng ${ref} ${toOneLine(reason, reasonBytesMax)}\n`),
  )
  return Buffer.concat([writePktLine('unpack ok\n'), ...lines, flushPkt])
}

// Band 1 is the report, 2 is shown to the user, 3 is shown and ends the push.
function writeBand(band: 1 | 2 | 3, data: Buffer): Buffer[] {
  const packets: Buffer[] = []
  for (let start = 0; start < data.length; start += bandBytesMax) {
    const part = data.subarray(start, start + bandBytesMax)
    packets.push(writePktLine(Buffer.concat([Buffer.from([band]), part])))
  }
  return packets
}
