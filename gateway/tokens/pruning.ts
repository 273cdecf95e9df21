// Tokens that ended long ago are forgotten: at the start and once a day, by one process of those that
// share an authority on one machine.

import type { Log } from '../telemetry/log.ts'
import type { TokenStore } from './store.ts'

const pruneIntervalMs = 24 * 60 * 60 * 1000

/** Begins, and returns what ends it. The timer does not keep the process alive. */
export function startPruning(store: Pick<TokenStore, 'prune'>, log: Log): () => void {
  const prune = (): void => {
    store.prune(Date.now()).catch((error: unknown) => {
      log.warn({ cause: String(error) }, 'tokens that ended long ago could not be forgotten')
    })
  }
  prune()
  const timer = setInterval(prune, pruneIntervalMs).unref()
  return () => clearInterval(timer)
}
