// `explain METHOD URL`: the decision for one request, without sending it.

import { text } from 'node:stream/consumers'
import { Command, Option } from 'commander'
import type { Configuration } from '../configuration/configuration.ts'
import { type GitChange, type Judgement, judge, type Question } from '../judge.ts'
import { digestSecret, isWellFormed, stateOf, writeTime } from '../tokens/token.ts'
import { withStore } from './authority.ts'
import { type CommandIo, readConfiguration } from './command.ts'
import { CommandFailure } from './failure.ts'
import { parseScopes } from './token-arguments.ts'

type ExplainOptions = {
  readonly config?: string
  readonly token?: string
  readonly scope?: readonly string[]
  readonly ref?: string
  readonly change?: GitChange
  readonly mountFrom?: string
  readonly json?: true
}

export function explainCommand(io: CommandIo): Command {
  return new Command('explain')
    .description('say what would become of one request, and why')
    .argument('<method>', 'GET, POST, …')
    .argument('<url>', 'absolute, or a path on localhost')
    .option(
      '--config <file>',
      'configuration file (default: SCOPEGATE_CONFIG, config/gateway.yaml)',
    )
    .option('--token <token>', 'a token, or - to read it from standard input')
    .option('--scope <scope>', 'scopes instead of a token; repeat, or use commas', add)
    .option('--ref <name>', 'git: the full name of the ref that a push changes')
    .addOption(
      new Option('--change <kind>', 'git: what the push does to it').choices([
        'create',
        'update',
        'delete',
        'force',
      ]),
    )
    .option('--mount-from <repository>', 'registry: the repository a blob is mounted from')
    .option('--json', 'print the judgement as JSON')
    .action((method: string, url: string, options: ExplainOptions) => {
      return explain(io, method, url, options)
    })
}

async function explain(
  io: CommandIo,
  method: string,
  url: string,
  options: ExplainOptions,
): Promise<void> {
  if ((options.ref === undefined) !== (options.change === undefined)) {
    throw new CommandFailure(2, '--ref and --change go together')
  }
  if (options.token !== undefined && options.scope !== undefined) {
    throw new CommandFailure(2, 'give --token or --scope, not both')
  }
  const configuration = await readConfiguration(io, options.config)
  const { ref, change } = options
  const judgement = judge(configuration, {
    method: method.toUpperCase(),
    url,
    ...(await readRights(io, configuration, options)),
    change: ref === undefined || change === undefined ? undefined : { ref, kind: change },
    mountFrom: options.mountFrom,
  })
  io.stdout(options.json ? writeJson(judgement) : writeText(method, judgement))
  if (judgement.outcome === 'deny') throw new CommandFailure(1, '')
}

async function readRights(
  io: CommandIo,
  configuration: Configuration,
  { token, scope }: ExplainOptions,
): Promise<Pick<Question, 'rights' | 'inactive'>> {
  if (scope !== undefined) {
    const scopes = parseScopes(scope, configuration.scopes)
    return { rights: { scopes, resources: null, allowedIps: null } }
  }
  if (token === undefined) return { rights: undefined }
  const secret = token === '-' ? (await text(io.stdin)).trim() : token
  const record = isWellFormed(secret)
    ? await withStore(configuration, (store) => store.find(digestSecret(secret)))
    : undefined
  if (record === undefined) return { rights: undefined, inactive: 'the token is unknown' }
  const state = stateOf(record, Date.now())
  if (state === 'active') return { rights: record }
  const at = writeTime(state === 'revoked' ? record.revokedAt : record.expiresAt)
  return { rights: record, inactive: `token ${state} on ${at}` }
}

function writeJson(judgement: Judgement): string {
  const { outcome, status, route, path, required, granted, reason, suggest } = judgement
  const shown = {
    outcome,
    status,
    route: route ?? null,
    path: path ?? null,
    required,
    granted,
    reason,
    suggest,
  }
  return `${JSON.stringify(shown)}\n`
}

function writeText(method: string, judgement: Judgement): string {
  const { outcome, status, reason, suggest } = judgement
  const rows: [string, string][] = [
    ['request', `${method.toUpperCase()} ${judgement.path ?? '(refused target)'}`],
    ['route', judgement.route ?? 'none'],
    ['needs', judgement.required.join(', ') || '-'],
    ['has', judgement.granted.join(', ') || '-'],
    ['because', judgement.detail],
  ]
  if (suggest.length > 0) rows.push(['suggest', `--scope ${suggest.join(',')}`])
  const lines = rows.map(([name, value]) => `  ${name.padEnd(8)} ${value}\n`)
  return `${outcome} ${status} ${reason}\n${lines.join('')}`
}

function add(value: string, before: readonly string[] = []): string[] {
  return [...before, value]
}
