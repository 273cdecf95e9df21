// The start of a push, all that stands before its pack (gitprotocol-pack, "Reference Update Request and
// Packfile Transfer"; push options and push certificates included). The grammar is the one that git
// writes, to the letter: a server is more lenient in reading, so what is forwarded is written anew from
// what was understood here. It never lets a command through that it has not listed.

import { isUtf8 } from 'node:buffer'
import {
  type Capabilities,
  idDigits,
  objectFormat,
  parseCapabilities,
  writeCapabilities,
} from './capabilities.ts'
import { isOneLine, quote } from './one-line.ts'
import { flushPkt, type PktLineReader, refuse, writePktLine } from './pkt-line.ts'
import { certificateEnd, type PushCertificate, parseCertificate } from './push-certificate.ts'
import { isRefName } from './ref-name.ts'

/** All pkt-lines before the pack together. */
export const commandListBytesMax = 1024 * 1024
/** Commands of one push. */
export const commandsMax = 10_000

/** One command: a ref's old and new object id. All zeros: there is none. */
export type RefUpdate = { readonly oldId: string; readonly newId: string; readonly ref: string }

/** A push up to its pack. */
export type Push = {
  /** Ids at which the client's history is cut off. */
  readonly shallow: readonly string[]
  readonly capabilities: Capabilities
  /** Never empty; no ref occurs twice. Those of the certificate where there is one. */
  readonly commands: readonly RefUpdate[]
  readonly certificate: PushCertificate | undefined
  readonly pushOptions: readonly string[]
}

/** Reads up to the flush-pkt behind which the pack begins. Throws GatewayError `bad_request`. */
export async function parsePush(packets: PktLineReader): Promise<Push> {
  const shallow: string[] = []
  let line = await nextText(packets)
  for (; line?.startsWith('shallow '); line = await nextText(packets)) {
    shallow.push(line.slice('shallow '.length))
  }
  if (line === undefined) refuse('it has no command')
  const nul = line.indexOf('\0')
  if (nul === -1) refuse('the first command is followed by NUL and the capabilities')
  const capabilities = parseCapabilities(line.slice(nul + 1))
  const digits = idDigits[objectFormat(capabilities)]
  if (!shallow.every((id) => isId(id, digits)))
    refuse(`a shallow line is an id of ${digits} digits`)
  const commands = new CommandList(digits)
  const first = line.slice(0, nul)
  let certificate: PushCertificate | undefined
  if (first === 'push-cert') {
    certificate = await parseCertificate(packets, (command) => commands.add(command))
    if ((await packets.next()) !== 'flush') refuse('a flush-pkt follows push-cert-end')
    if (commands.updates.length === 0) refuse('its certificate has no command')
  } else {
    commands.add(first)
    for (let next = await nextText(packets); next !== undefined; next = await nextText(packets)) {
      commands.add(next)
    }
  }
  const pushOptions = await parsePushOptions(packets, capabilities, certificate)
  return { shallow, capabilities, commands: commands.updates, certificate, pushOptions }
}

/** The pkt-lines of a push, as git writes them. */
export function writePush(push: Push): Buffer {
  const capabilities = writeCapabilities(push.capabilities)
  const lines = push.shallow.map((id) => writePktLine(`shallow ${id}\n`))
  if (push.certificate === undefined) {
    for (const [index, { oldId, newId, ref }] of push.commands.entries()) {
      const command = `${oldId} ${newId} ${ref}`
      lines.push(writePktLine(index === 0 ? `${command}\0${capabilities}` : command))
    }
  } else {
    lines.push(writePktLine(`push-cert\0${capabilities}`))
    for (const line of push.certificate.lines) lines.push(writePktLine(line))
    lines.push(writePktLine(certificateEnd))
  }
  lines.push(flushPkt)
  if (push.capabilities.has('push-options')) {
    for (const option of push.pushOptions) lines.push(writePktLine(option))
    lines.push(flushPkt)
  }
  return Buffer.concat(lines)
}

/** Is this the id that stands for no object? */
export function isZeroId(id: string): boolean {
  return /^0+$/.test(id)
}

class CommandList {
  readonly updates: RefUpdate[] = []
  readonly #refs = new Set<string>()
  readonly #idDigits: number

  constructor(digits: number) {
    this.#idDigits = digits
  }

  add(line: string): void {
    const place = `command ${this.updates.length + 1}`
    if (line.includes('\0')) refuse(`${place}: capabilities stand behind the first command only`)
    const [oldId, newId, ...rest] = line.split(' ')
    const ref = rest.join(' ')
    if (!isId(oldId, this.#idDigits) || !isId(newId, this.#idDigits)) {
      refuse(`${place}: a command is OLD NEW REF, ids of ${this.#idDigits} lower-case hex digits`)
    }
    if (!isRefName(ref)) refuse(`${place}: ${quote(ref)} is not the full name of a ref below refs/`)
    if (this.#refs.has(ref)) refuse(`${place}: ${quote(ref)} occurs twice`)
    if (this.updates.length === commandsMax) refuse(`it has more than ${commandsMax} commands`)
    this.#refs.add(ref)
    this.updates.push({ oldId, newId, ref })
  }
}

async function parsePushOptions(
  packets: PktLineReader,
  capabilities: Capabilities,
  certificate: PushCertificate | undefined,
): Promise<readonly string[]> {
  const options: string[] = []
  if (capabilities.has('push-options')) {
    for (let next = await nextText(packets); next !== undefined; next = await nextText(packets)) {
      if (!isOneLine(next)) refuse('a push option is one line without control characters')
      options.push(next)
    }
  }
  // The server compares them too; a push that differs is no push that git makes.
  const signed = certificate?.pushOptions ?? options
  if (signed.length !== options.length || !signed.every((option, i) => option === options[i])) {
    refuse('the push options differ from those of the push certificate')
  }
  return options
}

// The text of a pkt-line without its one optional line end; undefined at the flush-pkt.
async function nextText(packets: PktLineReader): Promise<string | undefined> {
  const line = await packets.next()
  if (line === 'flush') return undefined
  if (!isUtf8(line)) refuse('ref names and push options are UTF-8')
  const text = line.toString('utf8')
  return text.endsWith('\n') ? text.slice(0, -1) : text
}

function isId(id: string | undefined, digits: number): id is string {
  return id !== undefined && id.length === digits && /^[0-9a-f]+$/.test(id)
}
