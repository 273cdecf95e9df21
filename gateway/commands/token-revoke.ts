// `token revoke`: by id, by subject, or by a secret that someone found. What was revoked already stays
// so and is no failure; what is unknown is one, so that a mistyped id never passes for a revocation.

import type { Revocation, TokenChoice } from '../tokens/store.ts'
import {
  digestSecret,
  isWellFormed,
  secretLengthMax,
  writeRecord,
  writeTime,
} from '../tokens/token.ts'
import { withStore } from './authority.ts'
import { type CommandIo, readConfiguration } from './command.ts'
import { CommandFailure } from './failure.ts'
import { describe, unknownId, writeJson } from './token-text.ts'

const revokedBy = 'command line'

export type CommonOptions = { readonly config?: string; readonly json?: boolean }

export type RevokeOptions = CommonOptions & {
  readonly subject?: string
  readonly stdin?: boolean
}

/** Revokes what the arguments choose and says so; fails with 1 where a choice names no token. */
export async function revoke(
  io: CommandIo,
  ids: readonly string[],
  options: RevokeOptions,
): Promise<void> {
  const ways = [ids.length > 0, options.subject !== undefined, options.stdin === true]
  if (ways.filter(Boolean).length !== 1) {
    throw new CommandFailure(2, 'name what to revoke: one of ID…, --subject USER or --stdin')
  }
  const choices = await readChoices(io, ids, options)
  const configuration = await readConfiguration(io, options.config)
  const outcomes = await withStore(configuration, async (store) => {
    const made: Revocation[] = []
    for (const { choice } of choices) {
      made.push(await store.revoke(choice, { at: Date.now(), by: revokedBy }))
    }
    return made
  })
  const records = outcomes.flatMap(({ revoked, already }) => [...revoked, ...already])
  if (options.json) io.stdout(writeJson(records.map(writeRecord)))
  else for (const outcome of outcomes) io.stdout(writeRevocation(outcome))
  const unknown = choices.filter((_, i) => isEmpty(outcomes[i]!)).map(({ absence }) => absence)
  if (unknown.length > 0) throw new CommandFailure(1, unknown.join('\n'))
}

/** A choice of tokens, and what to say when there are none. */
type NamedChoice = { readonly choice: TokenChoice; readonly absence: string }

async function readChoices(
  io: CommandIo,
  ids: readonly string[],
  options: RevokeOptions,
): Promise<NamedChoice[]> {
  if (options.subject !== undefined) {
    const { subject } = options
    return [{ choice: { subject }, absence: `${JSON.stringify(subject)} has no tokens` }]
  }
  if (!options.stdin) return ids.map((id) => ({ choice: { id }, absence: unknownId(id) }))
  const secret = await readSecret(io)
  return [{ choice: { digest: digestSecret(secret) }, absence: 'the authority has no such token' }]
}

async function readSecret(io: CommandIo): Promise<string> {
  let text = ''
  for await (const chunk of io.stdin) {
    text += String(chunk)
    if (text.length > 2 * secretLengthMax) break
  }
  const secret = text.trim()
  if (secret !== '' && !/\s/.test(secret) && isWellFormed(secret)) return secret
  throw new CommandFailure(
    1,
    secret === ''
      ? 'stdin is empty; paste the token'
      : 'stdin holds no whole token (its length or its checksum is wrong); paste all of it, alone',
  )
}

function writeRevocation(outcome: Revocation): string {
  const revoked = outcome.revoked.map((record) => `revoked ${describe(record)}\n`)
  const already = outcome.already.map((record) => {
    return `${describe(record)} was revoked already, on ${writeTime(record.revokedAt)}\n`
  })
  return [...revoked, ...already].join('')
}

function isEmpty(outcome: Revocation): boolean {
  return outcome.revoked.length + outcome.already.length === 0
}
