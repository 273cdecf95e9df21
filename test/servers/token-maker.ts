// Tokens by what they may do, each made once.

import type { Gateway } from './gateway.ts'

/** `repository=PATTERN` and its kin among the scopes limit the token. */
export type TokenMaker = (...rights: readonly string[]) => Promise<string>

export function tokenMaker(gateway: Gateway): TokenMaker {
  const made = new Map<string, Promise<string>>()
  return (...rights) => {
    const key = rights.join()
    const args = rights.flatMap((right) => [right.includes('=') ? '--resource' : '--scope', right])
    const token = made.get(key) ?? gateway.token('--subject', 'ada', ...args)
    made.set(key, token)
    return token
  }
}
