// The authority of tokens for the length of one command.

import type { Configuration } from '../configuration/configuration.ts'
import { GatewayError } from '../errors.ts'
import { commandBusyMs, openSqliteStore } from '../tokens/sqlite.ts'
import type { TokenStore } from '../tokens/store.ts'
import { CommandFailure } from './failure.ts'

/** Opens the authority that the configuration names, and closes it after `work`. */
export async function withStore<T>(
  configuration: Configuration,
  work: (store: TokenStore) => Promise<T>,
): Promise<T> {
  const { file } = configuration.tokens.authority
  const store = open(file)
  try {
    return await work(store)
  } catch (error) {
    if (error instanceof GatewayError) throw authorityFailure(file, error.cause)
    throw error
  } finally {
    await store.close()
  }
}

function open(file: string): TokenStore {
  try {
    return openSqliteStore(file, { busyMs: commandBusyMs })
  } catch (error) {
    throw authorityFailure(file, error)
  }
}

/** A database that cannot be used, by name. */
export function authorityFailure(file: string, cause: unknown): CommandFailure {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new CommandFailure(1, `the token authority ${file} cannot be used: ${reason}`, cause)
}
