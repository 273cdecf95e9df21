// `token create`, `list`, `show` and `revoke`: the command line's way to the authority. A new token is
// written once, alone, on stdout; nothing else here ever shows a secret.

import { Command, Option } from 'commander'
import type { Configuration } from '../configuration/configuration.ts'
import type { TokenStore } from '../tokens/store.ts'
import {
  digestSecret,
  hintOf,
  makeSecret,
  type TokenRecord,
  type TokenState,
  uuidv7,
  writeRecord,
  writeTime,
} from '../tokens/token.ts'
import { withStore } from './authority.ts'
import { type CommandIo, readConfiguration } from './command.ts'
import { CommandFailure } from './failure.ts'
import {
  parseAddressRanges,
  parseExpiry,
  parseResources,
  parseScopes,
  parseText,
} from './token-arguments.ts'
import { type CommonOptions, type RevokeOptions, revoke } from './token-revoke.ts'
import { describe, unknownId, writeDetails, writeJson, writeTable } from './token-text.ts'

const defaultSubject = 'admin'
const listPageLength = 1_000

type CreateOptions = CommonOptions & {
  readonly subject?: string
  readonly scope: readonly string[]
  readonly name?: string
  readonly expires?: string
  readonly resource: readonly string[]
  readonly allowIp: readonly string[]
}

type ListOptions = CommonOptions & { readonly subject?: string; readonly state?: TokenState }

/** The command `token` with its subcommands. Errors are commander's own (usage) or CommandFailures. */
export function tokenCommand(io: CommandIo): Command {
  const token = new Command('token')
    .description('create, list, show and revoke tokens')
    // Subcommands inherit both, so they stand first.
    .exitOverride()
    .configureOutput({ writeOut: (text) => io.stdout(text), writeErr: (text) => io.stderr(text) })

  token
    .command('create')
    .description('create a token and print it, this once')
    .addOption(configOption())
    .option('--subject <user>', `whose token it is (default: ${defaultSubject})`)
    .requiredOption(
      '--scope <scope>',
      'a scope, `all` or "METHOD /path"; repeat, or use commas',
      add,
    )
    .option('--name <name>', 'what people call it')
    .option('--expires <when>', '90d, 2027-01-31, 2027-01-31T12:00:00Z or never')
    .option(
      '--resource <key=pattern>',
      'limit it to resources, as in factory=acme; repeat',
      add,
      [],
    )
    .option('--allow-ip <range>', 'limit it to client addresses, as in 10.0.0.0/8; repeat', add, [])
    .option('--json', 'print the record with the token')
    .action((options: CreateOptions) => create(io, options))

  token
    .command('list')
    .description('list tokens; those that ended stay listed for 90 days')
    .addOption(configOption())
    .option('--subject <user>', 'only those of this subject')
    .addOption(
      new Option('--state <state>', 'only those in this state').choices([
        'active',
        'revoked',
        'expired',
      ]),
    )
    .option('--json', 'print an array of records')
    .action((options: ListOptions) => list(io, options))

  token
    .command('show')
    .description('show one token')
    .argument('<id>')
    .addOption(configOption())
    .option('--json', 'print the record')
    .action((id: string, options: CommonOptions) => show(io, id, options))

  token
    .command('revoke')
    .description('revoke tokens, with those that were made from them')
    .argument('[id...]')
    .addOption(configOption())
    .option('--subject <user>', 'every token of this subject')
    .option('--stdin', 'the token whose secret is read from stdin')
    .option('--json', 'print an array of the records that are revoked')
    .action((ids: string[], options: RevokeOptions) => revoke(io, ids, options))

  return token
}

async function create(io: CommandIo, options: CreateOptions): Promise<void> {
  const configuration = await readConfiguration(io, options.config)
  const secret = makeSecret()
  const record = makeRecord(options, configuration, secret, Date.now())
  const isCreated = await withStore(configuration, (store) => {
    return store.create(record, [digestSecret(secret)])
  })
  if (!isCreated) throw new CommandFailure(1, 'the authority has this id already; try again')
  if (options.subject === undefined) {
    io.stderr(`note: no --subject given, so the token is ${defaultSubject}'s\n`)
  }
  const end = record.expiresAt === null ? 'never expires' : `expires ${writeTime(record.expiresAt)}`
  io.stderr(`created ${describe(record)}, ${end}; the token is shown only this once\n`)
  io.stdout(options.json ? writeJson({ ...writeRecord(record), token: secret }) : `${secret}\n`)
}

function makeRecord(
  options: CreateOptions,
  configuration: Configuration,
  secret: string,
  now: number,
): TokenRecord {
  return {
    id: uuidv7(now),
    name: options.name === undefined ? null : parseText('--name', options.name),
    subject: parseText('--subject', options.subject ?? defaultSubject),
    scopes: parseScopes(options.scope, configuration.scopes),
    resources: parseResources(options.resource),
    allowedIps: parseAddressRanges(options.allowIp),
    createdAt: now,
    createdFrom: null,
    expiresAt: parseExpiry(options.expires, configuration.tokens.lifetime.defaultMs, now),
    lastUsedAt: null,
    lastUsedFrom: null,
    lastUsedFor: null,
    parentId: null,
    revokedAt: null,
    revokedBy: null,
    hint: hintOf(secret),
    version: 1,
  }
}

async function list(io: CommandIo, options: ListOptions): Promise<void> {
  const configuration = await readConfiguration(io, options.config)
  const now = Date.now()
  const records = await withStore(configuration, (store) => listAll(store, options, now))
  if (options.json) io.stdout(writeJson(records.map(writeRecord)))
  else if (records.length > 0) io.stdout(writeTable(records, now))
  else io.stderr('no such tokens\n')
}

async function listAll(
  store: TokenStore,
  options: ListOptions,
  now: number,
): Promise<TokenRecord[]> {
  const { subject, state } = options
  const records: TokenRecord[] = []
  for (let isMore = true; isMore; ) {
    const after = records.at(-1)?.id
    const page = await store.list({ now, subject, state, after, limit: listPageLength })
    records.push(...page)
    isMore = page.length === listPageLength
  }
  return records
}

async function show(io: CommandIo, id: string, options: CommonOptions): Promise<void> {
  const configuration = await readConfiguration(io, options.config)
  const record = await withStore(configuration, (store) => store.get(id))
  if (record === undefined) throw new CommandFailure(1, unknownId(id))
  io.stdout(options.json ? writeJson(writeRecord(record)) : writeDetails(record, Date.now()))
}

function configOption(): Option {
  return new Option(
    '--config <file>',
    'the configuration (default: SCOPEGATE_CONFIG, else config/gateway.yaml)',
  )
}

function add(value: string, previous: readonly string[] = []): string[] {
  return [...previous, value]
}
