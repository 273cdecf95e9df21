// Which accesses the commands of a push are, whether each is permitted, and the words for those that are
// not. Pure. It never permits a part: one refused command refuses the push, because commands cannot be
// taken out of what a client has sent.

import type { Access, Decision, Denial } from '../../decision/access.ts'
import { describeDenial } from '../../decision/decide.ts'
import { matchGlob } from '../../decision/resource-limits.ts'
import type { ProtocolRequest } from '../protocol.ts'
import { gitAccess } from './accesses.ts'
import { adviseDenied } from './advice.ts'
import { quote } from './one-line.ts'
import { isZeroId, type Push, type RefUpdate } from './receive-pack.ts'
import type { RefusedRef } from './report.ts'

/** What became of a push. */
export type JudgedPush =
  | { readonly kind: 'permitted' }
  | {
      readonly kind: 'refused'
      /** The first command's that was refused. */
      readonly denial: Denial
      /** Every ref of the push with its reason. */
      readonly refs: readonly RefusedRef[]
      /** Lines for people: what to do next. */
      readonly advice: readonly string[]
    }

/** What a command does to its ref. A move of an existing tag is never a fast-forward. */
export type Change = 'create' | 'update' | 'delete' | 'tag move'

const actions = {
  create: 'create',
  update: 'update',
  delete: 'delete',
  'tag move': 'force',
} as const satisfies Record<Change, string>

/** Words for an update that is no fast-forward. */
export const forcedUpdate = 'forced update'

/** What the git server and the pack say of a push, beyond its command list. */
export type PushFacts = {
  /** Targets of the refs that the git server lists as symbolic. */
  readonly targets: ReadonlyMap<string, string>
  /** Refs whose update is no fast-forward, or was not proved to be one, with the words for it. */
  readonly forced: ReadonlyMap<string, string>
}

type Refusal = { readonly denial: Denial; readonly reason: string; readonly advice: string }

/** Judges every command and push option of a push. */
export function judgePush(
  request: ProtocolRequest,
  push: Push,
  decide: (access: Access) => Decision,
  facts: PushFacts,
): JudgedPush {
  const access = gitAccess(request)
  const option = refuseOption(push, request, access)
  const refusals = new Map<string, Refusal>()
  const judged: Judged = { match: request.match, accessOf: access, decide, facts }
  for (const command of push.commands) {
    const refusal = option ?? refuseCommand(command, judged)
    if (refusal !== undefined) refusals.set(command.ref, refusal)
  }
  const [first] = refusals
  if (first === undefined) return { kind: 'permitted' }
  const [firstRef, { denial }] = first
  const refs = push.commands.map(({ ref }) => ({
    ref,
    reason: refusals.get(ref)?.reason ?? `not attempted because ${firstRef} was refused`,
  }))
  const repository = access('update').resources?.get('repository') ?? request.target.path
  return { kind: 'refused', denial, refs, advice: advise(repository, [...refusals.values()]) }
}

/** The updates that are permitted as fast-forwards alone: these are to be proved. */
export function updatesToProve(
  request: ProtocolRequest,
  { commands }: Push,
  decide: (access: Access) => Decision,
  targets: PushFacts['targets'],
): readonly RefUpdate[] {
  const accessOf = gitAccess(request)
  return commands.filter((command) => {
    if (classify(command) !== 'update' || command.oldId === command.newId) return false
    return !refsOf(command.ref, targets).every(
      (ref) => decide(accessOf('force', ref)).outcome === 'permit',
    )
  })
}

/** What the command does; an old id is not looked at for a delete, as the server does not compare it. */
export function classify({ oldId, newId, ref }: RefUpdate): Change {
  if (isZeroId(newId)) return 'delete'
  if (isZeroId(oldId)) return 'create'
  return oldId !== newId && ref.startsWith('refs/tags/') ? 'tag move' : 'update'
}

type AccessOf = ReturnType<typeof gitAccess>

type Judged = {
  readonly match: ProtocolRequest['match']
  readonly accessOf: AccessOf
  readonly decide: (access: Access) => Decision
  readonly facts: PushFacts
}

/** The refs that a command moves: a symbolic ref's target with it. */
function refsOf(ref: string, targets: PushFacts['targets']): readonly string[] {
  const target = targets.get(ref)
  return target === undefined ? [ref] : [ref, target]
}

function refuseCommand(command: RefUpdate, judged: Judged): Refusal | undefined {
  const { match, accessOf, facts } = judged
  const { ref } = command
  const change = classify(command)
  if (!match.route.refs.some((glob) => matchGlob(glob, ref))) {
    return {
      denial: denyByRoute(accessOf(actions[change], ref), 'ref', ref),
      reason: `the route takes no push to this ref (${change})`,
      advice: `this route takes pushes to ${match.route.refs.join(', ') || 'no ref'}`,
    }
  }
  const forced = facts.forced.get(ref)
  for (const moved of refsOf(ref, facts.targets)) {
    const denial = deniedMove(moved, change, forced !== undefined, judged)
    if (denial === undefined) continue
    const details: string[] = []
    if (moved !== ref) details.push(`${ref} is a symbolic ref to it`)
    if (forced !== undefined) details.push(forced)
    else if (change !== 'update') details.push(change)
    const words = describeDenial(denial)
    return {
      denial,
      reason: details.length === 0 ? words : `${words} (${details.join('; ')})`,
      advice: `${forced === forcedUpdate ? forcedAdvice : ''}${adviseDenied(denial)}`,
    }
  }
  return undefined
}

const forcedAdvice = 'fetch and rebase onto what is there, or '

/** Who may force may also fast-forward, and move tags. */
function deniedMove(
  ref: string,
  change: Change,
  isForced: boolean,
  { accessOf, decide }: Judged,
): Denial | undefined {
  const decision = decide(accessOf(isForced ? 'force' : actions[change], ref))
  if (decision.outcome === 'permit') return undefined
  const mayForce = change === 'update' && decide(accessOf('force', ref)).outcome === 'permit'
  return mayForce ? undefined : decision
}

// The first push option that the route does not list refuses every command.
function refuseOption(
  { commands, pushOptions }: Push,
  { match }: ProtocolRequest,
  accessOf: AccessOf,
): Refusal | undefined {
  const option = pushOptions.find((candidate) => !match.route.pushOptions.includes(candidate))
  if (option === undefined) return undefined
  const { ref } = commands[0]!
  return {
    denial: denyByRoute(accessOf(actions[classify(commands[0]!)], ref), 'push-option', option),
    reason: `push option ${quote(option)} is not allowed here`,
    advice: `push without the option ${quote(option)}, or have it listed in pushOptions of the route`,
  }
}

function denyByRoute(access: Access, key: string, value: string): Denial {
  const resource = { key, value }
  return {
    outcome: 'deny',
    reason: 'resource_not_allowed',
    access,
    required: [],
    granted: [],
    resource,
  }
}

const adviceMax = 3

function advise(repository: string, refusals: readonly Refusal[]): readonly string[] {
  const different = [...new Set(refusals.map(({ advice }) => advice))].slice(0, adviceMax)
  return [`the push was refused whole, nothing changed in ${repository}`, ...different]
}
