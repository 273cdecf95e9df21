// A large layer, up and down: it leaves the gateway as small as it was, and what the way through the gateway
// costs is printed beside the same transfer straight to the registry, each of the two first as often as the other:
// the later one finds the disk busy with what the earlier one wrote. The layer is made while it is sent.
// `LAYER_MIB=4096` makes it 4 GiB; then each transfer is made twice.

import { createHash, randomBytes } from 'node:crypto'
import { statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { Readable } from 'node:stream'
import t from 'tap'
import { request } from 'undici'
import { cpuSeconds, forgetPeak, peakBytes, residentBytes } from '../bench/cpu.ts'
import { median, ratio } from '../bench/statistics.ts'
import { startGateway } from '../servers/gateway.ts'
import { startRegistry } from '../servers/registry-server.ts'

const mebibyte = 2 ** 20
const layerMebibytes = Number(process.env.LAYER_MIB ?? 64)
const rounds = layerMebibytes > 512 ? 2 : 4
const warmUpMebibytes = 16
/** What layers of any size may add to the gateway's memory: V8's young generation, 32 MiB at most, and buffers. */
const growthMebibytesMax = 48
const block = randomBytes(mebibyte)
const push = 'containers:read-update'

const upstream = await startRegistry()
const gateway = await startGateway({
  scopes: { [push]: 'Push and pull images' },
  upstreams: { hub: { url: upstream.url } },
  routes: [{ protocol: 'registry', upstream: 'hub', allow: { pull: push, push } }],
})
t.teardown(async () => {
  await gateway.stop()
  await upstream.stop()
})
const token = await gateway.token('--scope', push)
const fields = { authorization: `Basic ${Buffer.from(`user:${token}`).toString('base64')}` }

type Transfer = { readonly digest: string; readonly seconds: number }

t.test(`a layer of ${layerMebibytes} MiB, up and down`, async (t) => {
  // The registry keeps them all, and writes one before it knows its digest.
  const neededMebibytes = (2 * rounds + 1) * layerMebibytes
  const { bavail, bsize } = statfsSync(tmpdir())
  if (bavail * bsize < neededMebibytes * mebibyte) {
    throw new Error(
      `${tmpdir()} has less than ${neededMebibytes} MiB free; set TMPDIR or LAYER_MIB`,
    )
  }
  const { digest } = await upload(gateway.url, warmUpMebibytes)
  await download(gateway.url, digest)
  forgetPeak([gateway.pid])
  const before = residentBytes([gateway.pid])
  const cpuBefore = cpuSeconds([gateway.pid])

  const seconds = { up: { direct: [], through: [] }, down: { direct: [], through: [] } } as Record<
    'up' | 'down',
    Record<'direct' | 'through', number[]>
  >
  for (let round = 0; round < rounds; round++) {
    const ways = [
      ['direct', upstream.url],
      ['through', gateway.url],
    ] as const
    for (const [way, url] of round % 2 === 0 ? ways : ways.toReversed()) {
      const up = await upload(url, layerMebibytes)
      const down = await download(url, up.digest)
      t.equal(down.digest, up.digest, `${way}: what came down is what went up`)
      seconds.up[way].push(up.seconds)
      seconds.down[way].push(down.seconds)
    }
  }

  const cpu = cpuSeconds([gateway.pid]) - cpuBefore
  const growth = (peakBytes([gateway.pid]) - before) / mebibyte
  t.ok(growth < growthMebibytesMax, `the gateway grew by ${growth.toFixed(1)} MiB at most`)
  for (const [direction, { direct, through }] of Object.entries(seconds)) {
    const rate = (list: readonly number[]): string => (layerMebibytes / median(list)).toFixed(0)
    t.comment(
      `${direction}: ${ratio(direct, through).toFixed(2)} of the throughput straight to the registry (${rate(through)} to ${rate(direct)} MiB/s)`,
    )
  }
  t.comment(
    `the gateway's memory: ${(before / mebibyte).toFixed(0)} MiB before, ${growth.toFixed(1)} MiB more at most`,
  )
  const gibibytes = (2 * rounds * layerMebibytes) / 1024
  t.comment(`the gateway's CPU time: ${(cpu / gibibytes).toFixed(2)} s a GiB`)
})

/** As docker sends a layer: POST, one PATCH of unknown length, PUT. No two layers are the same. */
async function upload(url: string, mebibytes: number): Promise<Transfer> {
  const startedAt = performance.now()
  const begun = await ask('POST', `${url}/v2/acme/large/blobs/uploads/`, 202)
  const hash = createHash('sha256')
  const sent = await ask('PATCH', begun.location, 202, Readable.from(layer(mebibytes, hash)))
  const digest = `sha256:${hash.digest('hex')}`
  await ask('PUT', `${sent.location}&digest=${digest}`, 201)
  return { digest, seconds: (performance.now() - startedAt) / 1000 }
}

async function download(url: string, digest: string): Promise<Transfer> {
  const startedAt = performance.now()
  const { body } = await ask('GET', `${url}/v2/acme/large/blobs/${digest}`, 200)
  const hash = createHash('sha256')
  for await (const chunk of body) hash.update(chunk)
  const seconds = (performance.now() - startedAt) / 1000
  return { digest: `sha256:${hash.digest('hex')}`, seconds }
}

/** The same block again and again, each with a beginning of its own. */
function* layer(mebibytes: number, hash: ReturnType<typeof createHash>): Generator<Buffer> {
  for (let at = 0; at < mebibytes; at++) {
    for (const part of [randomBytes(16), block.subarray(16)]) {
      hash.update(part)
      yield part
    }
  }
}

/** `location` is absolute. A body that is not wanted is read and dropped. */
async function ask(
  method: 'GET' | 'POST' | 'PATCH' | 'PUT',
  url: string,
  expected: number,
  body: Readable | null = null,
): Promise<{ location: string; body: Readable }> {
  // A registry that hashes 4 GiB again answers late.
  const patience = { headersTimeout: 0, bodyTimeout: 0 }
  const reply = await request(url, { method, headers: fields, body, ...patience })
  if (reply.statusCode !== expected) {
    throw new Error(`${method} ${url}: ${reply.statusCode} ${await reply.body.text()}`)
  }
  if (method !== 'GET') await reply.body.dump()
  return { location: new URL(`${reply.headers.location ?? ''}`, url).href, body: reply.body }
}
