// The capability list of a push (gitprotocol-capabilities): names, some with a value, separated by spaces.
// Unknown names pass, as git passes them; those that change how a push is read are taken in their one
// exact form only. Pure.

import { refuse } from './pkt-line.ts'

/** Name to value; undefined where there is none. In the order received. */
export type Capabilities = ReadonlyMap<string, string | undefined>

export type ObjectFormat = 'sha1' | 'sha256'

/** Hex digits of an object id. */
export const idDigits = { sha1: 40, sha256: 64 } as const satisfies Record<ObjectFormat, number>

/** git finds these in `name=value` too, so a value here would be read one way and judged another. */
const withoutValue = new Set([
  'report-status',
  'report-status-v2',
  'side-band-64k',
  'quiet',
  'atomic',
  'push-options',
])

/** Reads the list that stands behind the NUL of the first command. */
export function parseCapabilities(text: string): Capabilities {
  const capabilities = new Map<string, string | undefined>()
  for (const token of text.split(' ')) {
    if (token === '') continue
    if (!/^[!-~]+$/.test(token)) refuse('capabilities are printable ASCII separated by spaces')
    const equals = token.indexOf('=')
    const name = equals === -1 ? token : token.slice(0, equals)
    if (capabilities.has(name)) refuse(`the capability ${name} occurs twice`)
    if (equals !== -1 && withoutValue.has(name)) refuse(`the capability ${name} takes no value`)
    capabilities.set(name, equals === -1 ? undefined : token.slice(equals + 1))
  }
  return capabilities
}

/** The list as git writes it: a space before each. */
export function writeCapabilities(capabilities: Capabilities): string {
  let text = ''
  for (const [name, value] of capabilities)
    text += value === undefined ? ` ${name}` : ` ${name}=${value}`
  return text
}

/** The hash that the ids of the push are made with; sha1 where the client does not say. */
export function objectFormat(capabilities: Capabilities): ObjectFormat {
  if (!capabilities.has('object-format')) return 'sha1'
  const format = capabilities.get('object-format')
  if (format === 'sha1' || format === 'sha256') return format
  refuse('object-format is sha1 or sha256')
}
