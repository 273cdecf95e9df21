// A signed push's certificate (gitprotocol-pack, "Push Certificate"), in the one form that git writes: each
// line a pkt-line of its own that ends in LF, known header fields, commands, exactly one signature,
// push-cert-end. The signature is not checked here: that is the server's work. It never takes a line for
// a header or a signature that a server could read as a command.

import { isUtf8 } from 'node:buffer'
import { isOneLine } from './one-line.ts'
import { type PktLineReader, refuse } from './pkt-line.ts'

/** A certificate, read. */
export type PushCertificate = {
  /** Every line with its LF, from the version to the end of the signature. */
  readonly lines: readonly string[]
  /** The push options that were signed. */
  readonly pushOptions: readonly string[]
}

/** The line behind the signature. */
export const certificateEnd = 'push-cert-end\n'

/** git finds the signature by these: OpenPGP in two forms, X.509, SSH. */
const signatureBegin =
  /^-----BEGIN (PGP SIGNATURE|PGP MESSAGE|SIGNED MESSAGE|SSH SIGNATURE)-----\n$/

/** Header fields, and whether they may stand more than once. */
const headers: ReadonlyMap<string, 'once' | 'repeated'> = new Map([
  ['pusher', 'once'],
  ['pushee', 'once'],
  ['nonce', 'once'],
  ['push-option', 'repeated'],
])

/** Reads what follows the push-cert line, its end included; `addCommand` gets every command. */
export async function parseCertificate(
  packets: PktLineReader,
  addCommand: (command: string) => void,
): Promise<PushCertificate> {
  const lines: string[] = []
  const nextLine = async () => {
    const line = await readLine(packets)
    if (line === certificateEnd) refuse('the push certificate ends before its signature does')
    lines.push(line)
    return line
  }
  if ((await nextLine()) !== 'certificate version 0.1\n') {
    refuse('a push certificate begins with "certificate version 0.1"')
  }
  const pushOptions = await parseHeaders(nextLine)
  let line = await nextLine()
  for (; !line.startsWith('-----'); line = await nextLine()) addCommand(line.slice(0, -1))
  const kind = signatureBegin.exec(line)?.[1]
  if (kind === undefined) refuse('the signature of the push certificate is of no known kind')
  for (line = await nextLine(); line !== `-----END ${kind}-----\n`; line = await nextLine()) {
    const text = line.slice(0, -1)
    if (text.startsWith('-----') || (text !== '' && !isOneLine(text))) {
      refuse('a push certificate has exactly one signature, in lines of text')
    }
  }
  if ((await readLine(packets)) !== certificateEnd) {
    refuse('push-cert-end follows the signature of a push certificate')
  }
  return { lines, pushOptions }
}

// The header up to the empty line behind it; resolves with the push options.
async function parseHeaders(nextLine: () => Promise<string>): Promise<readonly string[]> {
  const pushOptions: string[] = []
  const seen = new Set<string>()
  for (let line = await nextLine(); line !== '\n'; line = await nextLine()) {
    const space = line.indexOf(' ')
    const name = line.slice(0, space)
    const value = line.slice(space + 1, -1)
    const occurrence = headers.get(name)
    if (space === -1 || occurrence === undefined || !isOneLine(value)) {
      refuse(
        'the header of a push certificate is pusher, pushee, nonce and push-option, with values',
      )
    }
    if (occurrence === 'once' && seen.has(name)) refuse(`the push certificate says ${name} twice`)
    seen.add(name)
    if (name === 'push-option') pushOptions.push(value)
  }
  return pushOptions
}

async function readLine(packets: PktLineReader): Promise<string> {
  const bytes = await packets.next()
  if (bytes === 'flush') refuse('the push certificate ends without push-cert-end')
  if (!isUtf8(bytes)) refuse('a push certificate is UTF-8')
  const line = bytes.toString('utf8')
  if (line.indexOf('\n') !== line.length - 1) {
    refuse('each line of a push certificate is a pkt-line of its own that ends in LF')
  }
  return line
}
