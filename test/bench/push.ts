// What it costs to push through the gateway: the same push straight to the git server (nginx with
// git-http-backend, body streamed) and through the gateway, in turn, so that a noisy machine tells as much of both.
// With a token that may force there is nothing to prove; with one that may only update, the fast-forward is
// proved. Meanwhile another client asks for a small reply every 10 ms.
//
//   node test/bench/push.ts blobs 1024      one commit with so many MiB that do not compress
//   node test/bench/push.ts history 200000  so many commits, none of them known to the server

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, readFileSync, statSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { join } from 'node:path'
import { setInterval as every } from 'node:timers/promises'
import { writePktLine } from '../../gateway/protocols/git/pkt-line.ts'
import { startGateway } from '../servers/gateway.ts'
import { createGitClient } from '../servers/git-client.ts'
import { startGitServer } from '../servers/git-server.ts'
import { startRecorder } from '../servers/recorder.ts'

const [kind = 'blobs', amount = '1024', rounds = '3'] = process.argv.slice(2)
const commitTimeMs = 15 * 60_000

const server = await startGitServer({ web: 'nginx-streaming' })
const api = await startRecorder()
const client = createGitClient()
const gateway = await startGateway({
  upstreams: { git: { url: server.url }, api: { url: api.url } },
  scopes: { 'git:update': 'Update', 'git:force': 'Force', 'api:read': 'Read' },
  routes: [
    {
      path: '/acme/{repository...}',
      protocol: 'git',
      upstream: 'git',
      allow: { update: 'git:update', force: 'git:force' },
    },
    { path: '/api', upstream: 'api', allow: { GET: 'api:read' } },
  ],
})
const tokens = {
  direct: undefined,
  'not proved': await gateway.token('--scope', 'git:force'),
  proved: await gateway.token('--scope', 'git:update'),
}
const reader = await gateway.token('--scope', 'api:read')
const { old, next, pack } = await makePush()
const firstRss = residentMiB()

console.log(`${kind} ${amount}: a pack of ${(statSync(pack).size / 2 ** 20).toFixed(1)} MiB`)
const seconds: Record<string, number[]> = { direct: [], 'not proved': [], proved: [] }
for (let round = 0; round < Number(rounds); round++) {
  for (const [name, token] of Object.entries(tokens)) {
    const delays: number[] = []
    const stop = new AbortController()
    const asking = askMeanwhile(delays, stop.signal)
    const cpuBefore = cpuSeconds()
    const startedAt = performance.now()
    await push(token)
    const took = (performance.now() - startedAt) / 1000
    stop.abort()
    await asking
    seconds[name]!.push(took)
    delays.sort((a, b) => a - b)
    console.log(
      `${name.padEnd(10)} ${took.toFixed(2)} s, gateway ${(cpuSeconds() - cpuBefore).toFixed(2)} s CPU, ` +
        `${residentMiB().toFixed(0)} MiB (${firstRss.toFixed(0)} before), others p50 ` +
        `${at(delays, 0.5)} ms, p99 ${at(delays, 0.99)} ms, max ${at(delays, 1)} ms`,
    )
  }
}
const median = (name: string): number =>
  seconds[name]!.sort((a, b) => a - b)[seconds[name]!.length >> 1]!
for (const name of ['not proved', 'proved']) {
  console.log(`${name} / direct: ${(median(name) / median('direct')).toFixed(2)}`)
}
await gateway.stop()
await server.stop()
await api.stop()
client.remove()

/** A repository with one commit, and the pack of what is pushed on top of it. */
async function makePush(): Promise<{ old: string; next: string; pack: string }> {
  await server.createRepository('acme/target')
  await client.git('', 'init', '-q', 'work')
  await client.git('work', 'commit', '-q', '--allow-empty', '-m', 'first')
  await client.git('work', 'push', '-q', `${server.url}/acme/target.git`, 'main')
  const old = await client.git('work', 'rev-parse', 'main')
  if (kind === 'blobs') {
    for (let mib = 0; mib < Number(amount); mib += 32) {
      writeFileSync(join(client.folder, 'work', `noise-${mib}`), randomBytes(32 * 2 ** 20))
    }
    await client.git('work', '-c', 'core.compression=0', 'add', '.')
    await client.git('work', 'commit', '-q', '-m', 'noise')
  } else {
    const lines = ['reset refs/heads/main', `from ${old}`, '']
    for (let i = 1; i <= Number(amount); i++) {
      lines.push('commit refs/heads/main', `committer Ada <ada@example.com> ${1.7e9 + i} +0000`)
      lines.push(`data ${String(i).length}`, String(i), '')
    }
    const imported = await client.run('work', ['fast-import', '--quiet'], {
      input: lines.join('\n'),
      timeoutMs: commitTimeMs,
    })
    if (imported.code !== 0) throw new Error(imported.stderr)
  }
  const revisions = `main\n^${old}\n`
  const made = await client.run(
    'work',
    ['-c', 'core.compression=1', 'pack-objects', '--revs', '-q', 'push'],
    {
      input: revisions,
      timeoutMs: commitTimeMs,
    },
  )
  if (made.code !== 0) throw new Error(made.stderr)
  const pack = join(client.folder, 'work', `push-${made.stdout.trim()}.pack`)
  return { old, next: await client.git('work', 'rev-parse', 'main'), pack }
}

/** The push, as git sends it; the server is put back afterwards. */
async function push(token: string | undefined): Promise<void> {
  const base = token === undefined ? server.url : gateway.url
  const request = http.request(`${base}/acme/target.git/git-receive-pack`, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/x-git-receive-pack-request',
      ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
    },
  })
  request.write(writePktLine(`${old} ${next} refs/heads/main\0 report-status object-format=sha1`))
  request.write('0000')
  createReadStream(pack, { highWaterMark: 256 * 1024 }).pipe(request)
  const [reply] = (await once(request, 'response')) as [http.IncomingMessage]
  let text = ''
  for await (const chunk of reply) text += String(chunk)
  if (!text.includes('ok refs/heads/main')) throw new Error(`${reply.statusCode} ${text}`)
  await server.git('acme/target', 'update-ref', 'refs/heads/main', old)
  await server.git('acme/target', 'prune', '--expire=now')
  await server.git('acme/target', 'repack', '-adq')
}

async function askMeanwhile(delays: number[], signal: AbortSignal): Promise<void> {
  const agent = new http.Agent({ keepAlive: true })
  try {
    for await (const _ of every(10, undefined, { signal })) {
      const startedAt = performance.now()
      const headers = { 'OSF-TOKEN': reader }
      const [reply] = (await once(
        http.get(`${gateway.url}/api`, { agent, headers }),
        'response',
      )) as [http.IncomingMessage]
      reply.resume()
      await once(reply, 'end')
      delays.push(performance.now() - startedAt)
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  agent.destroy()
}

function at(sorted: readonly number[], share: number): string {
  return (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(1)
}

function residentMiB(): number {
  const status = readFileSync(`/proc/${gateway.pid}/status`, 'utf8')
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024
}

function cpuSeconds(): number {
  const fields = readFileSync(`/proc/${gateway.pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}
