// Which of the refs of a push are symbolic at the git server, and what they point to: a push to such a ref
// moves its target. Asked by protocol version 2 (gitprotocol-v2, ls-refs with `symrefs`); a server that
// speaks only the older versions lists HEAD alone as symbolic, and is taken at its word.

import { GatewayError } from '../../errors.ts'
import type { InspectContext } from '../protocol.ts'
import type { ObjectFormat } from './capabilities.ts'
import { flushPkt, writePktLine } from './pkt-line.ts'

const advertisementBytesMax = 64 * 1024
const listBytesMax = 16 * 2 ** 20
/** Servers look at no more prefixes than some thousands; of more refs all are listed. */
const prefixesMax = 1_000
const delimiter = Buffer.from('0001')
const timeoutMs = 30_000

/**
 * The target of each of these refs that is symbolic. `repository` is the repository's path as the upstream
 * sees it, with a slash at its end. Rejects with GatewayError where the server does not say.
 */
export async function readTargets(
  ask: InspectContext['ask'],
  repository: string,
  format: ObjectFormat,
  refs: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const version2 = ['Git-Protocol', 'version=2']
  const offer = await ask({
    method: 'GET',
    path: `${repository}info/refs?service=git-upload-pack`,
    fields: version2,
    bodyBytesMax: 2 * advertisementBytesMax,
    isEnough: (body) => body.length > advertisementBytesMax,
    timeoutMs,
  })
  if (offer.status !== 200) refuseUnlisted(offer.status)
  if (!offer.body.toString('latin1', 0, 100).includes('version 2\n')) return new Map()
  const list = await ask({
    method: 'POST',
    path: `${repository}git-upload-pack`,
    fields: [...version2, 'Content-Type', 'application/x-git-upload-pack-request'],
    body: writeListing(format, refs),
    bodyBytesMax: listBytesMax,
    timeoutMs,
  })
  if (list.status !== 200) refuseUnlisted(list.status)
  return readListing(list.body, new Set(refs))
}

function writeListing(format: ObjectFormat, refs: readonly string[]): Buffer {
  const prefixes = refs.length > prefixesMax ? ['refs/'] : refs
  return Buffer.concat([
    writePktLine('command=ls-refs\n'),
    ...(format === 'sha1' ? [] : [writePktLine(`object-format=${format}`)]),
    delimiter,
    writePktLine('symrefs\n'),
    ...prefixes.map((ref) => writePktLine(`ref-prefix ${ref}\n`)),
    flushPkt,
  ])
}

// Lines of `OID REF [symref-target:REF] [peeled:OID]`, up to the flush-pkt.
function readListing(listing: Buffer, refs: ReadonlySet<string>): ReadonlyMap<string, string> {
  const targets = new Map<string, string>()
  for (let at = 0; ; ) {
    const digits = listing.toString('latin1', at, at + 4)
    if (digits === '0000') return targets
    const length = /^[0-9a-f]{4}$/.test(digits) ? Number.parseInt(digits, 16) : 0
    if (length <= 4 || at + length > listing.length) refuseUnlisted(200)
    const [, ref = '', ...attributes] = listing
      .toString('utf8', at + 4, at + length)
      .trimEnd()
      .split(' ')
    const target = attributes.find((attribute) => attribute.startsWith('symref-target:'))
    if (target !== undefined && refs.has(ref))
      targets.set(ref, target.slice(target.indexOf(':') + 1))
    at += length
  }
}

function refuseUnlisted(status: number): never {
  const sentence = `the git server does not list its refs (${status}), and this token is limited to some: use one that is not, or have the gateway permitted to fetch`
  throw new GatewayError('upstream_unreachable', sentence)
}
