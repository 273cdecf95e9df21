// A push on its way: reads the command list from the body, has every command judged, and then either
// forwards the list as it was understood with the rest of the body behind it, or answers as git's own
// server would (gitprotocol-pack, gitprotocol-http "Smart Service git-receive-pack"). It never forwards a
// byte of a push that was not understood or not permitted whole.

import { GatewayError } from '../../errors.ts'
import { fieldValue } from '../fields.ts'
import type { InspectContext, Inspected, ProtocolRequest, RequestBody } from '../protocol.ts'
import { GunzipBody } from './gunzip-body.ts'
import { judgePush } from './judge-push.ts'
import { flushPkt, PktLineReader, refuse } from './pkt-line.ts'
import { commandListBytesMax, isZeroId, type Push, parsePush, writePush } from './receive-pack.ts'
import { writeReport } from './report.ts'

/** The Content-Encodings of a push; git's server would take any other for none. */
export const pushEncodings: readonly string[] = ['identity', 'gzip', 'x-gzip']

const packSignature = 'PACK'

/** Inspects `POST …/git-receive-pack`; its fields were checked already. */
export async function inspectPush(
  request: ProtocolRequest,
  context: InspectContext,
): Promise<Inspected> {
  if (!fieldValue(request.fields, 'content-encoding')?.includes('gzip')) {
    return await inspectBody(request, context, context.body)
  }
  const decoded = new GunzipBody(context.body)
  let forwarded = false
  try {
    const inspected = await inspectBody(request, context, decoded)
    forwarded = inspected.kind === 'forward'
    return inspected
  } finally {
    if (!forwarded) decoded.close()
  }
}

async function inspectBody(
  request: ProtocolRequest,
  context: InspectContext,
  body: RequestBody,
): Promise<Inspected> {
  const drop = ['content-encoding']
  const packets = new PktLineReader(body, commandListBytesMax)
  if (await isProbe(packets)) {
    return { kind: 'forward', body: flushPkt, length: flushPkt.length, drop }
  }
  const push = await parsePush(packets)
  const hasPack = push.commands.some(({ newId }) => !isZeroId(newId))
  await checkPack(packets, hasPack)
  const judged = judgePush(request, push, context.decide)
  if (judged.kind === 'refused') return deny(push, judged)
  const written = writePush(push)
  if (!hasPack) return { kind: 'forward', body: written, length: written.length, drop }
  const length =
    body.length === undefined ? undefined : body.length - packets.consumed + written.length
  return { kind: 'forward', body: body.rest([written, ...packets.unread()]), length, drop }
}

// git asks with a lone flush-pkt whether it may push before it sends a long body chunked.
async function isProbe(packets: PktLineReader): Promise<boolean> {
  return (await packets.peek(flushPkt.length + 1)).equals(flushPkt)
}

// git sends a pack if and only if a command sets a ref; the server ignores bytes behind a list of deletes.
async function checkPack(packets: PktLineReader, hasPack: boolean): Promise<void> {
  const start = await packets.peek(hasPack ? packSignature.length : 1)
  if (hasPack && start.toString('latin1') !== packSignature) {
    refuse('a pack, which begins with PACK, follows commands that create or update')
  }
  if (!hasPack && start.length > 0) refuse('nothing follows a list of deletes')
}

function deny(
  push: Push,
  refused: Extract<ReturnType<typeof judgePush>, { kind: 'refused' }>,
): Inspected {
  const { denial, refs, advice } = refused
  const body = writeReport(push.capabilities, refs, advice)
  if (body === undefined) throw new GatewayError(denial.reason, advice.join('; '))
  const fields = [
    'Content-Type',
    'application/x-git-receive-pack-result',
    'Cache-Control',
    'no-cache',
  ]
  return { kind: 'denied', reply: { status: 200, fields, body }, denial }
}
