// A container registry without Docker: distribution's `registry`, where it is on this machine, and else on
// Debian and Ubuntu its package, unpacked below var/demo without installing it (no root needed). With one
// small image, acme/hello:latest.

import { createHash } from 'node:crypto'
import { accessSync, constants, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { runToEnd, startChild } from './child.ts'
import type { Upstream } from './sample-git.ts'

/** Fetching lists and package; a machine without a network finds out sooner. */
const downloadTimeoutMs = 60_000

/** Starts the registry; undefined where none is to be had. `cache` keeps what is downloaded. */
export async function startRegistry(folder: string, cache: string): Promise<Upstream | undefined> {
  const program = findRegistry(cache) ?? downloadRegistry(cache)
  if (program === undefined) return undefined
  const file = join(folder, 'registry.yml')
  writeFileSync(
    file,
    `version: 0.1
log: { level: info, formatter: text, accesslog: { disabled: true } }
storage: { filesystem: { rootdirectory: ${join(folder, 'registry')} }, delete: { enabled: true } }
http: { addr: '127.0.0.1:0' }
`,
  )
  const child = startChild(program, ['serve', file], {
    PATH: process.env.PATH,
    OTEL_TRACES_EXPORTER: 'none',
  })
  const address = await child.says((text) => /listening on ([\d.]+:\d+)/.exec(text)?.[1])
  const url = `http://${address}`
  await pushImage(url, 'acme/hello', 'latest')
  return { url, stop: child.stop }
}

function findRegistry(cache: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(delimiter), join(cache, 'x', 'usr', 'bin')]
  const places = folders.flatMap((one) => [join(one, 'docker-registry'), join(one, 'registry')])
  return [process.env.REGISTRY_BIN ?? '', ...places].find(isExecutable)
}

// Other programs are called `registry` too; this one says where it comes from.
function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return /distribution/.test(runToEnd(file, ['--version'], { timeout: 5_000 }))
  } catch {
    return false
  }
}

function downloadRegistry(cache: string): string | undefined {
  const state = join(cache, 'state')
  const own = ['-o', `Dir::State=${state}`, '-o', 'Dir::State::status=/var/lib/dpkg/status']
  own.push('-o', `Dir::Cache=${join(cache, 'cache')}`)
  for (const one of ['state/lists/partial', 'cache/archives/partial']) {
    mkdirSync(join(cache, one), { recursive: true })
  }
  const apt = (...args: string[]): string =>
    runToEnd('apt-get', ['-q', ...args], { cwd: cache, timeout: downloadTimeoutMs })
  try {
    runToEnd('dpkg-deb', ['--version'])
    console.error('No container registry here: fetching the package docker-registry …')
    try {
      apt('download', 'docker-registry')
    } catch {
      // A fresh machine has no package lists: fetch some of our own.
      apt(...own, 'update')
      apt(...own, 'download', 'docker-registry')
    }
    const file = readdirSync(cache).find((name) => name.endsWith('.deb'))
    runToEnd('dpkg-deb', ['-x', join(cache, String(file)), join(cache, 'x')])
    return findRegistry(cache)
  } catch {
    return undefined
  }
}

// An image of one layer that holds one text file (OCI image specification).
async function pushImage(url: string, repository: string, tag: string): Promise<void> {
  const tar = tarFile('hello.txt', 'Hello through Scopegate.\n')
  const layer = gzipSync(tar)
  const config = Buffer.from(
    JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      config: {},
      rootfs: { type: 'layers', diff_ids: [digestOf(tar)] },
    }),
  )
  const type = 'application/vnd.oci.image'
  for (const blob of [layer, config]) {
    const opened = await fetch(`${url}/v2/${repository}/blobs/uploads/`, { method: 'POST' })
    const place = new URL(opened.headers.get('location') ?? '', url)
    place.searchParams.set('digest', digestOf(blob))
    await fetch(place, { method: 'PUT', body: new Uint8Array(blob) })
  }
  const manifest = {
    schemaVersion: 2,
    mediaType: `${type}.manifest.v1+json`,
    config: {
      mediaType: `${type}.config.v1+json`,
      digest: digestOf(config),
      size: config.length,
    },
    layers: [
      { mediaType: `${type}.layer.v1.tar+gzip`, digest: digestOf(layer), size: layer.length },
    ],
  }
  const stored = await fetch(`${url}/v2/${repository}/manifests/${tag}`, {
    method: 'PUT',
    headers: { 'Content-Type': manifest.mediaType },
    body: JSON.stringify(manifest),
  })
  if (stored.status !== 201) throw new Error(`the registry took no image: ${await stored.text()}`)
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

// One ustar entry and the two empty blocks that end an archive (POSIX pax, "ustar Interchange Format").
function tarFile(name: string, content: string): Buffer {
  const header = Buffer.alloc(512)
  header.write(name, 0)
  header.write('0000644\0' + '0000000\0' + '0000000\0', 100)
  header.write(`${content.length.toString(8).padStart(11, '0')}\0${'0'.repeat(11)}\0`, 124)
  header.write('        0', 148)
  header.write('ustar\x0000', 257)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  const body = Buffer.alloc(Math.ceil(content.length / 512) * 512)
  body.write(content)
  return Buffer.concat([header, body, Buffer.alloc(1024)])
}
