// The address of a Redis as `tokens.redis` writes it: redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// for
// TLS. Pure. What it finds wrong, it says without a part of the address: there may be a password in it.

import type { RedisSettings } from './configuration.ts'

const portDefault = 6379

/** The settings, or what is wrong with the address. */
export function parseRedisUrl(address: string): RedisSettings | string {
  const form = 'write redis://HOST:PORT, or rediss:// for TLS'
  if (!/^rediss?:\/\//i.test(address)) return `\`redis\` is no address of a Redis; ${form}`
  if (!URL.canParse(address)) {
    return `\`redis\` cannot be read; ${form}, and percent-encode user name and password`
  }
  const url = new URL(address)
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  if (host === '') return `\`redis\` names no host; ${form}`
  if (url.search !== '' || url.hash !== '') {
    return `\`redis\` has a query or a fragment, which mean nothing here; ${form}`
  }
  const database = url.pathname.replace(/^\//, '')
  if (!/^\d{0,6}$/.test(database)) {
    return '`redis` ends in what is no number of a database; write redis://HOST:PORT/0'
  }
  const username = decode(url.username)
  const password = decode(url.password)
  if (username === undefined || password === undefined) {
    return '`redis` has a malformed percent escape in its user name or password; write % as %25'
  }
  return {
    host,
    port: url.port === '' ? portDefault : Number(url.port),
    database: Number(database),
    username: username === '' ? undefined : username,
    password: password === '' ? undefined : password,
    tls: url.protocol === 'rediss:',
  }
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
