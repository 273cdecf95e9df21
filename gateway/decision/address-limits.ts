// Address limits: the CIDR ranges and single addresses that a token may be used from (RFC 4632,
// RFC 4291). An IPv4-mapped IPv6 address counts as the IPv4 address; an IPv6 range never covers an
// IPv4 client. Pure. What is no address, on either side, covers nothing and is covered by nothing.

import { BlockList, isIP, isIPv4, SocketAddress } from 'node:net'

/** May a token with these limits be used from the address? null: from anywhere. */
export function allowsAddress(allowedIps: readonly string[] | null, address: string): boolean {
  if (allowedIps === null) return true
  const client = readAddress(address)
  if (client === undefined) return false
  return rangesOf(allowedIps)[client.family].check(client.address, client.family)
}

/** Is it a single address, or a range `ADDRESS/BITS`, that a token can be limited to? */
export function isAddressRange(text: string): boolean {
  return readRange(text) !== undefined
}

type Address = { readonly address: string; readonly family: 'ipv4' | 'ipv6' }

type Ranges = { readonly ipv4: BlockList; readonly ipv6: BlockList }

/** Built once for each list of a record: records are kept and asked many times. */
const rangesByList = new WeakMap<readonly string[], Ranges>()

function rangesOf(allowedIps: readonly string[]): Ranges {
  const known = rangesByList.get(allowedIps)
  if (known !== undefined) return known
  const ranges = { ipv4: new BlockList(), ipv6: new BlockList() }
  for (const text of allowedIps) {
    const range = readRange(text)
    if (range !== undefined) ranges[range.family].addSubnet(range.address, range.bits, range.family)
  }
  rangesByList.set(allowedIps, ranges)
  return ranges
}

function readRange(text: string): (Address & { readonly bits: number }) | undefined {
  const slash = text.indexOf('/')
  const written = slash === -1 ? text : text.slice(0, slash)
  const address = written.includes('%') ? undefined : readAddress(written)
  if (address === undefined) return undefined
  const bitsMax = isIPv4(written) ? 32 : 128
  const bits = slash === -1 ? bitsMax : readBits(text.slice(slash + 1))
  if (bits === undefined || bits > bitsMax) return undefined
  const mapped = bitsMax === 128 && address.family === 'ipv4'
  if (!mapped) return { ...address, bits }
  return bits < mappedPrefixBits ? undefined : { ...address, bits: bits - mappedPrefixBits }
}

/** RFC 4291 2.5.5.2: `::ffff:0:0/96`. */
const mappedPrefixBits = 96

function readBits(text: string): number | undefined {
  return /^(0|[1-9][0-9]{0,2})$/.test(text) ? Number(text) : undefined
}

/** The zone of a link-local address (`%eth0`) is dropped: it says only which interface it came by. */
function readAddress(text: string): Address | undefined {
  const family = isIP(text)
  if (family === 0) return undefined
  if (family === 4) return { address: text, family: 'ipv4' }
  const { address } = new SocketAddress({ address: text.split('%')[0]!, family: 'ipv6' })
  const tail = address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : ''
  return isIPv4(tail) ? { address: tail, family: 'ipv4' } : { address, family: 'ipv6' }
}
