// The program as `npm run build` makes it and the image holds it: a folder with package.json beside it, no
// node_modules above it. Every part that is a file of its own is used once.

import { cpSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type Finished, mustRun, run } from '../servers/command.ts'
import { projectFolder, startGateway } from '../servers/gateway.ts'
import { makeFolder, removeFolder } from '../servers/lifetime.ts'
import { send } from '../servers/raw-client.ts'
import { until } from '../servers/ready.ts'
import { startRedis } from '../servers/redis-server.ts'
import { startWorkplace } from './push-workplace.ts'
import { writeRequest } from './raw-exchange.ts'

const folder = makeFolder('built')
const program = join(folder, 'dist', 'main.js')
cpSync(join(projectFolder, 'package.json'), join(folder, 'package.json'))
await mustRun(process.execPath, [join(projectFolder, 'deploy', 'build.ts'), join(folder, 'dist')])
t.teardown(() => removeFolder(folder))

t.test('the commands', async (t) => {
  const file = join(projectFolder, 'config', 'gateway.yaml')
  const command = (...args: string[]): Promise<Finished> =>
    run(process.execPath, [program, ...args])
  t.match((await command('--version')).stdout, /^\d+\.\d+\.\d+\n$/)
  t.match((await command('lint', file)).stdout, /^ROUTE .* SCOPES$/m)
  t.equal((await command('explain', 'GET', '/nowhere', '--config', file)).code, 1)
  t.match(
    (await command('serve', '--check', '--config', `${file}.none`)).stderr,
    'gateway.yaml.none',
  )
  t.match((await command('token', '--help')).stdout, 'revoke')
  const unusual = join(folder, 'unusual.yaml')
  writeFileSync(unusual, 'version: &one 1\nlistn: *one\n')
  t.match((await command('lint', unusual)).stdout, 'unusual.yaml:2:1: unknown key `listn`')
})

t.test('a worker proves a push, with tokens from Redis', async (t) => {
  const redis = await startRedis()
  const tokens = { authority: 'sqlite:tokens.db', redis: redis.url }
  const workplace = await startWorkplace('nginx', { server: { workers: 2 }, tokens }, { program })
  t.teardown(async () => {
    await workplace.stop()
    await redis.stop()
  })
  const { gateway } = workplace
  await until('Redis answers', async () => {
    const ready = await fetch(`${gateway.managementUrl}/readyz?verbose`)
    return (await ready.text()).includes('redis: ok') || undefined
  })
  const token = await gateway.token('--subject', 'ada', '--scope', 'source:read-update')
  const { push } = await workplace.repository()
  t.match(await push(token, ['--force', 'one:main']), { code: 0, stderr: 'one -> main' })
  t.match(await push(token, ['--force', 'middle:main']), {
    code: 1,
    stderr: 'token lacks scope source:delete (forced update)',
  })
  const page = await (await fetch(`${gateway.managementUrl}/metrics`)).text()
  t.match(page, /^scopegate_decisions_total\{.*outcome="permit".*\} [1-9]/m)
  t.match(page, /^scopegate_workers 2$/m)
  const list = ['token', 'list', '--json', '--config', gateway.configFile]
  await until('the last use is written', async () => {
    const { stdout } = await run(process.execPath, [program, ...list])
    return stdout.includes('"lastUsedFor": "git"') || undefined
  })
})

t.test('TLS and WebSockets are asked for', async (t) => {
  const gateway = await startGateway(
    {
      upstreams: { tls: { url: 'https://127.0.0.1:1' } },
      scopes: { 'api:use': 'Use' },
      routes: [{ path: '/api/{rest...}', upstream: 'tls', allow: { GET: 'public' } }],
    },
    { program },
  )
  t.teardown(() => gateway.stop())
  const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13']
  const key = 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='
  for (const fields of [[], [...upgrade, key]]) {
    t.match(await send(gateway.url, writeRequest('GET /api/x', fields)), /^HTTP\/1\.1 502 /)
  }
  const causes = await until('both lines', () => {
    const lines = gateway.log().filter(({ msg }) => msg === 'request')
    return lines.length === 2 ? lines.map(({ cause }) => cause) : undefined
  })
  t.match(causes, [/ECONNREFUSED/, /ECONNREFUSED/])
})
