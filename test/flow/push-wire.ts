// Pushes without git's own client, as bytes (gitprotocol-pack, gitprotocol-http), for what git never sends;
// and a way to the gateway that holds a push in its middle for as long as a test wants.

import { readFileSync } from 'node:fs'
import net from 'node:net'
import { join } from 'node:path'
import type { GitClient } from '../servers/git-client.ts'
import type { Repository } from './push-workplace.ts'

/** What a new ref comes from and a deleted one goes to. */
export const noId = '0'.repeat(40)

/** One command: old id, new id, full name of the ref. */
export type Command = readonly [string, string, string]

/** A request for git-receive-pack. */
export function writePush(
  commands: readonly Command[],
  pack: Buffer,
  capabilities = 'report-status side-band-64k object-format=sha1',
): Buffer {
  const lines = commands.map((command, i) => {
    const line = command.join(' ') + (i === 0 ? `\0 ${capabilities}` : '')
    return (line.length + 4).toString(16).padStart(4, '0') + line
  })
  return Buffer.concat([Buffer.from(`${lines.join('')}0000`), pack])
}

/** The pack with what the wanted revisions have and the others lack. */
export async function packOf(
  client: GitClient,
  clone: string,
  wanted: readonly string[],
  others: readonly string[],
): Promise<Buffer> {
  const input = [...wanted, ...others.map((revision) => `^${revision}`)].join('\n')
  const made = await client.run(clone, ['pack-objects', '-q', '--revs', 'made'], { input })
  return readFileSync(join(client.folder, clone, `made-${made.stdout.trim()}.pack`))
}

/** The fields of a push, beside those of framing. */
export function pushFields(token: string): Record<string, string> {
  return {
    authorization: `Basic ${Buffer.from(`user:${token}`).toString('base64')}`,
    'content-type': 'application/x-git-receive-pack-request',
  }
}

/** Sends a push. */
export async function post(
  repository: Repository,
  token: string,
  body: Buffer,
  framing: 'length' | 'chunked' = 'length',
): Promise<{ readonly status: number; readonly text: string }> {
  const url = new URL(`${repository.url(token)}/git-receive-pack`)
  Object.assign(url, { username: '', password: '' })
  const reply = await fetch(url, {
    method: 'POST',
    headers: pushFields(token),
    body: framing === 'length' ? body : ReadableStream.from([body]),
    duplex: 'half',
  } as RequestInit)
  return { status: reply.status, text: await reply.text() }
}

export type Gate = {
  readonly port: number
  /** Resolves when so many bytes of the client's have passed; no more pass until `open`. */
  readonly held: Promise<void>
  open(): void
  /** Closes all connections. */
  stop(): Promise<void>
}

/** A TCP proxy to a loopback port that passes this many bytes from its clients, all connections together. */
export async function startGate(target: number, bytes: number): Promise<Gate> {
  const sockets = new Set<net.Socket>()
  const kept: { readonly to: net.Socket; readonly chunk: Buffer }[] = []
  let left = bytes
  let isOpen = false
  const held = Promise.withResolvers<void>()
  const server = net.createServer({ noDelay: true }, (client) => {
    const upstream = net.connect({ port: target, host: '127.0.0.1', noDelay: true })
    // It goes on reading, so that it sees a client that goes away.
    client.on('data', (chunk: Buffer) => {
      if (isOpen || left > 0) upstream.write(chunk)
      else kept.push({ to: upstream, chunk })
      left -= chunk.length
      if (left <= 0) held.resolve()
    })
    upstream.on('data', (chunk: Buffer) => void client.write(chunk))
    for (const [socket, other] of [[client, upstream] as const, [upstream, client] as const]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroySoon()
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as net.AddressInfo).port,
    held: held.promise,
    open: () => {
      isOpen = true
      for (const { to, chunk } of kept.splice(0)) if (to.writable) to.write(chunk)
    },
    stop: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
