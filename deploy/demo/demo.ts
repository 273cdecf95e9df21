// `npm run demo`: Scopegate in front of a real REST API, git server and container registry, all on this
// machine's loopback and in one folder for temporary files. Prints tokens and commands to paste; Ctrl-C
// ends all of it and leaves nothing behind. Needs Node and git.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Child, runToEnd, startChild } from './child.ts'
import { startApi } from './sample-api.ts'
import { startGit, type Upstream } from './sample-git.ts'
import { startRegistry } from './sample-registry.ts'
import { type DemoTokenName, demoTokens, thingsToTry } from './tries.ts'

const usualPort = 8080

const project = fileURLToPath(new URL('../..', import.meta.url))
const cli = join(project, 'gateway', 'main.js')
const cache = join(project, 'var', 'demo')

/** Host names and addresses that the route map takes from the environment stay as the map has them. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith('SCOPEGATE_')),
)

const folder = mkdtempSync(join(tmpdir(), 'scopegate-demo-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

const upstreams: Upstream[] = []
let gateway: Child | undefined
let stopping = false

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (stopping) process.exit(1)
    stopping = true
    void stop().then(() => process.exit(0))
  })
}

try {
  await main()
} catch (error) {
  if (!stopping) {
    console.error(error instanceof Error ? error.message : error)
    await stop()
    process.exit(1)
  }
}

async function main(): Promise<void> {
  mkdirSync(cache, { recursive: true })
  const api = await startApi()
  const git = await startGit(join(folder, 'git'))
  const registry = await startRegistry(folder, cache)
  upstreams.push(api, git, ...(registry ? [registry] : []))

  const configFile = join(folder, 'gateway.yaml')
  writeFileSync(configFile, configuration(await choosePort(), api, git, registry))
  gateway = startChild(process.execPath, [cli, 'serve', '--config', configFile], environment)
  const listening = await gateway.says(publicUrl)
  const origin = `http://localhost:${new URL(listening).port}`

  const secrets = {} as Record<DemoTokenName, string>
  for (const { name, scopes } of demoTokens) {
    const args = ['token', 'create', '--config', configFile, '--subject', 'ada', '--name', name]
    for (const scope of scopes) args.push('--scope', scope)
    secrets[name] = runToEnd(process.execPath, [cli, ...args], { env: environment })
  }
  print(origin, configFile, secrets, registry !== undefined)
  await gateway.exited
  if (!stopping) throw new Error(`The gateway has ended:\n${gateway.output()}`)
}

function configuration(port: number, api: Upstream, git: Upstream, hub?: Upstream): string {
  return `version: 1
include: [${JSON.stringify(join(project, 'config', 'routes', 'foundries.yaml'))}]
listen: { host: 127.0.0.1, port: ${port} }
management: { port: 0 }
tokens: { authority: sqlite:tokens.db }
upstreams:
  api: { url: ${api.url}, identity: { subject: X-Remote-User } }
  git: { url: ${git.url}, identity: { subject: X-Remote-User } }
  hub: { url: ${hub?.url ?? 'http://127.0.0.1:9'} }
`
}

async function choosePort(): Promise<number> {
  if ((await isFree(usualPort, '127.0.0.1')) && (await isFree(usualPort, '::1'))) return usualPort
  console.error(`Port ${usualPort} is taken: using another.`)
  return 0
}

// A machine without IPv6 has nobody there either.
function isFree(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer()
    server.once('error', (error) => resolve('code' in error && error.code === 'EADDRNOTAVAIL'))
    server.listen(port, host, () => server.close(() => resolve(true)))
  })
}

function publicUrl(output: string): string | undefined {
  for (const line of output.split('\n').slice(0, -1)) {
    if (!line.startsWith('{')) continue
    const entry = JSON.parse(line) as Record<string, unknown>
    if (entry.msg === 'listening' && entry.management !== true) return String(entry.url)
  }
  return undefined
}

function print(
  origin: string,
  configFile: string,
  secrets: Readonly<Record<DemoTokenName, string>>,
  withRegistry: boolean,
): void {
  console.log(`\nScopegate listens on ${origin}; its configuration is ${configFile}\n`)
  console.log('Tokens:')
  for (const { name, scopes, purpose } of demoTokens) {
    console.log(
      `  ${name.padEnd(9)}  ${secrets[name]}  ${purpose}\n${' '.repeat(13)}${scopes.join(' ')}`,
    )
  }
  console.log('\nThings to try, in another terminal and in an empty folder:')
  for (const { says, command } of thingsToTry(origin, secrets, withRegistry)) {
    console.log(`\n# ${says}\n${command}`)
  }
  if (!withRegistry) {
    console.log(
      '\n# No container registry here: apt-get install docker-registry, or REGISTRY_BIN=FILE',
    )
  }
  console.log('\nCtrl-C ends all of it.')
}

async function stop(): Promise<void> {
  await gateway?.stop()
  await Promise.all(upstreams.map((one) => one.stop()))
}
