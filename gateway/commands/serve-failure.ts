// Why the gateway cannot start, in words. The same ones with and without workers.

import { CommandFailure } from './failure.ts'

/** The failure of a start that was rejected with `error`. */
export function startFailure(error: unknown): CommandFailure {
  if (error instanceof CommandFailure) return error
  const { code, address, port } = error as NodeJS.ErrnoException & {
    address?: string
    port?: number
  }
  if (code === 'EADDRINUSE') {
    return new CommandFailure(1, `${address}:${port} is taken by another process`, error)
  }
  return new CommandFailure(1, error instanceof Error ? error.message : String(error), error)
}
