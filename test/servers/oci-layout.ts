// An image on disk as clients of a registry have it: an OCI image layout (image-spec image-layout.md) with
// several compressed layers, made by hand.

import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

export type OciImage = {
  /** As skopeo takes it. */
  readonly source: string
  readonly folder: string
  /** Of the manifest. */
  readonly digest: string
  /** Digest of the configuration, by which clients name an image that they keep. */
  readonly config: string
  /** Of the layers, in order. */
  readonly layers: readonly string[]
}

type Descriptor = { readonly mediaType: string; readonly digest: string; readonly size: number }

const tarBlockBytes = 512
const image = 'application/vnd.oci.image'

/** Writes a layout with one image, tagged `latest`; one layer of random bytes for each size. */
export function writeOciLayout(folder: string, layerBytes: readonly number[]): OciImage {
  const blobs = join(folder, 'blobs', 'sha256')
  mkdirSync(blobs, { recursive: true })
  const put = (mediaType: string, content: string | Buffer): Descriptor => {
    const digest = sha256(content)
    writeFileSync(join(blobs, digest.slice('sha256:'.length)), content)
    return { mediaType, digest, size: Buffer.byteLength(content) }
  }
  const tars = layerBytes.map((bytes, at) => tar(`layer-${at}`, randomBytes(bytes)))
  const layers = tars.map((bytes) => put(`${image}.layer.v1.tar+gzip`, gzipSync(bytes)))
  const config = put(
    `${image}.config.v1+json`,
    JSON.stringify({
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      os: 'linux',
      config: {},
      rootfs: { type: 'layers', diff_ids: tars.map(sha256) },
    }),
  )
  const manifest = put(
    `${image}.manifest.v1+json`,
    JSON.stringify({ schemaVersion: 2, mediaType: `${image}.manifest.v1+json`, config, layers }),
  )
  const annotations = { 'org.opencontainers.image.ref.name': 'latest' }
  const index = { schemaVersion: 2, manifests: [{ ...manifest, annotations }] }
  writeFileSync(join(folder, 'index.json'), JSON.stringify(index))
  writeFileSync(join(folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  return {
    source: `oci:${folder}:latest`,
    folder,
    digest: manifest.digest,
    config: config.digest,
    layers: layers.map(({ digest }) => digest),
  }
}

/** `sha256:` and hexadecimal digits. */
export function sha256(content: string | Buffer): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`
}

/** One file as a tar archive (POSIX ustar). */
function tar(name: string, content: Buffer): Buffer {
  const header = Buffer.alloc(tarBlockBytes)
  const octal = (value: number, at: number, digits: number): void => {
    header.write(`${value.toString(8).padStart(digits, '0')}\0`, at)
  }
  header.write(name, 0)
  octal(0o644, 100, 7)
  octal(0, 108, 7)
  octal(0, 116, 7)
  octal(content.length, 124, 11)
  octal(0, 136, 11)
  header.write('        0', 148)
  header.write('ustar\x0000', 257)
  octal(
    header.reduce((sum, byte) => sum + byte, 0),
    148,
    6,
  )
  const padding = Buffer.alloc((tarBlockBytes - (content.length % tarBlockBytes)) % tarBlockBytes)
  return Buffer.concat([header, content, padding, Buffer.alloc(2 * tarBlockBytes)])
}
