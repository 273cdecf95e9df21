// A push on its way: reads the command list from the body, has every command judged, and then either
// forwards the list as it was understood with the rest of the body behind it, or answers as git's own
// server would (gitprotocol-pack, gitprotocol-http "Smart Service git-receive-pack"). It never forwards a
// byte of a push that was not understood or not permitted whole.

import { GatewayError } from '../../errors.ts'
import { fieldValue } from '../fields.ts'
import type {
  InspectContext,
  Inspected,
  ProtocolRequest,
  Refused,
  RequestBody,
} from '../protocol.ts'
import { objectFormat } from './capabilities.ts'
import { GunzipBody } from './gunzip-body.ts'
import { judgePush, type PushFacts, updatesToProve } from './judge-push.ts'
import { flushPkt, PktLineReader, refuse } from './pkt-line.ts'
import { PushGuard } from './push-guard.ts'
import { notProved, PushProof } from './push-proof.ts'
import { commandListBytesMax, isZeroId, type Push, parsePush, writePush } from './receive-pack.ts'
import { type RefusedRef, writeReport } from './report.ts'
import { readTargets } from './symbolic-refs.ts'

/** The Content-Encodings of a push; git's server would take any other for none. */
export const pushEncodings: readonly string[] = ['identity', 'gzip', 'x-gzip']

const packSignature = 'PACK'
const pushService = 'git-receive-pack'

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

/** What a push is read from. */
type PushBody = Pick<RequestBody, 'length' | 'next'> & { close?(): void }

async function inspectBody(
  request: ProtocolRequest,
  context: InspectContext,
  body: PushBody,
): Promise<Inspected> {
  const drop = ['content-encoding']
  const packets = new PktLineReader(body, commandListBytesMax)
  if (await isProbe(packets)) {
    return { kind: 'forward', body: flushPkt, length: flushPkt.length, drop }
  }
  const push = await parsePush(packets)
  const hasPack = push.commands.some(({ newId }) => !isZeroId(newId))
  const ended = await checkEnd(packets, push, hasPack)
  if (ended !== undefined) return ended
  // The last bytes of a list of deletes are these.
  if (!hasPack) await context.refresh()
  const asked: AskedPush = { request, push, context }
  const early = judge(asked, { targets: none, forced: none })
  if (early !== undefined) return early
  const targets = await findTargets(asked)
  if ('kind' in targets) return targets
  const refused = judge(asked, { targets, forced: none })
  if (refused !== undefined) return refused
  const commands = writePush(push)
  if (!hasPack) return { kind: 'forward', body: commands, length: commands.length, drop }
  const length =
    body.length === undefined ? undefined : body.length - packets.consumed + commands.length
  const proof = proofOf(asked, targets)
  const guard = new PushGuard({
    commands,
    start: packets.unread(),
    body,
    length,
    proof,
    decideAgain: async () => {
      await context.refresh()
      const forced = new Map([...unforeseen(asked, targets, proof), ...(proof?.forced ?? none)])
      return judge(asked, { targets, forced })
    },
    refuse: (error) => refusal(push, error, [error.message]),
  })
  return { kind: 'forward', body: guard.readable(), length, drop, guard }
}

/** A push that was understood, and all that its decision needs. */
type AskedPush = {
  readonly request: ProtocolRequest
  readonly push: Push
  readonly context: InspectContext
}

const none: ReadonlyMap<string, string> = new Map()

/** Undefined: permitted. */
function judge({ request, push, context }: AskedPush, facts: PushFacts): Refused | undefined {
  const judged = judgePush(request, push, context.decide, facts)
  if (judged.kind === 'permitted') return undefined
  const { denial, refs, advice } = judged
  const error = new GatewayError(denial.reason, advice.join('; '))
  return { ...report(push, error, refs, advice), denial }
}

/** The targets of symbolic refs, where the token is limited to refs. */
async function findTargets({
  request,
  push,
  context,
}: AskedPush): Promise<PushFacts['targets'] | Refused> {
  if (!context.isLimited('ref')) return new Map()
  const refs = push.commands.map(({ ref }) => ref)
  const format = objectFormat(push.capabilities)
  try {
    return await readTargets(context.ask, repositoryPath(request), format, refs)
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error
    return refusal(push, error, [error.message])
  }
}

/** Undefined where every update is permitted even where it is forced. */
function proofOf(
  { request, push, context }: AskedPush,
  targets: PushFacts['targets'],
): PushProof | undefined {
  const updates = updatesToProve(request, push, context.decide, targets)
  if (updates.length === 0) return undefined
  return new PushProof({
    format: objectFormat(push.capabilities),
    updates,
    shallow: push.shallow,
    ask: context.ask,
    path: `${repositoryPath(request)}git-upload-pack`,
  })
}

/** Updates that need a proof now, and did not when the push began. */
function unforeseen(
  { request, push, context }: AskedPush,
  targets: PushFacts['targets'],
  proof: PushProof | undefined,
): PushFacts['forced'] {
  const begun = new Set(proof?.updates.map(({ ref }) => ref))
  const needed = updatesToProve(request, push, context.decide, targets)
  const words = notProved('the token has changed during the push; push again')
  return new Map(needed.filter(({ ref }) => !begun.has(ref)).map(({ ref }) => [ref, words]))
}

/** The repository's path as the upstream sees it, with a slash at its end. */
function repositoryPath({ target }: ProtocolRequest): string {
  return target.path.slice(0, target.path.lastIndexOf(pushService))
}

// git asks with a lone flush-pkt whether it may push before it sends a long body chunked.
async function isProbe(packets: PktLineReader): Promise<boolean> {
  return (await packets.peek(flushPkt.length + 1)).equals(flushPkt)
}

/** What ends a push here is said in git's words, unless it is no push that git makes. */
async function checkEnd(
  packets: PktLineReader,
  push: Push,
  hasPack: boolean,
): Promise<Refused | undefined> {
  try {
    await checkPack(packets, hasPack)
    return undefined
  } catch (error) {
    if (!(error instanceof GatewayError) || error.code === 'bad_request') throw error
    return refusal(push, error, [error.message])
  }
}

// git sends a pack if and only if a command sets a ref; the server ignores bytes behind a list of deletes.
async function checkPack(packets: PktLineReader, hasPack: boolean): Promise<void> {
  const start = await packets.peek(hasPack ? packSignature.length : 1)
  if (hasPack && start.toString('latin1') !== packSignature) {
    refuse('a pack, which begins with PACK, follows commands that create or update')
  }
  if (!hasPack && start.length > 0) refuse('nothing follows a list of deletes')
}

/** Every ref is refused for the same reason, which is none of the token's scopes. */
function refusal(push: Push, error: GatewayError, advice: readonly string[]): Refused {
  const refs = push.commands.map(({ ref }) => ({ ref, reason: error.message }))
  return report(push, error, refs, advice)
}

function report(
  push: Push,
  error: GatewayError,
  refs: readonly RefusedRef[],
  advice: readonly string[],
): Refused {
  const body = writeReport(push.capabilities, refs, advice)
  if (body === undefined) return { kind: 'refused', error }
  const fields = [
    'Content-Type',
    'application/x-git-receive-pack-result',
    'Cache-Control',
    'no-cache',
  ]
  return { kind: 'refused', error, reply: { status: 200, fields, body } }
}
