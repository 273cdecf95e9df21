// The first steps of somebody new: every line that `npm run demo` prints is pasted into a shell and does
// what it says, Ctrl-C leaves nothing behind, and the README's commands answer what it shows.

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { run } from '../servers/command.ts'
import { projectFolder } from '../servers/gateway.ts'
import {
  makeFolder,
  plainEnvironment,
  removeFolder,
  type Server,
  signalGroup,
  startServer,
} from '../servers/lifetime.ts'
import { until } from '../servers/ready.ts'

const usualPort = 8080
const lastLine = 'Ctrl-C ends all of it.'

/** What each printed line leads to, in the order in which they are printed. */
const outcomes = [
  { says: /^Clone/, code: 0, shows: /Cloning into 'hello'/ },
  { says: /^Push a commit/, code: 0, shows: /main -> main/ },
  { says: /^Refused: .*not push/, code: 128, shows: /^remote: .*token lacks scope source:/m },
  { says: /^Refused: .*not rewrite/, code: 1, shows: /\(forced update\)\)/ },
  { says: /^Refused: .*not delete/, code: 1, shows: /! \[remote rejected\] main \(token lacks/ },
  { says: /^List the devices/, code: 0, shows: /"name":"camera-1"/ },
  { says: /^Change the configuration/, code: 0, shows: /"config":\{"reason":"try"\}/ },
  {
    says: /^Refused: .*not delete \(403/,
    code: 0,
    shows: /^HTTP\/1\.1 403 [\s\S]*devices:delete/m,
  },
  { says: /^Delete a device/, code: 0, shows: /^HTTP\/1\.1 204 /m },
  { says: /^Refused: no token \(401/, code: 0, shows: /^HTTP\/1\.1 401 /m },
  { says: /^Log in with docker/, code: 0, shows: /Login Succeeded/ },
  { says: /^Pull an image/, code: 0, shows: /Writing manifest/ },
  { says: /^Push an image/, code: 0, shows: /Writing manifest/ },
  {
    says: /^Refused: .*denied/,
    code: 1,
    shows: /denied: .*token lacks scope containers:read-update/,
  },
] as const

t.test('Every line that the demo prints does what it says', async (t) => {
  const home = makeFolder('demo-user')
  t.teardown(() => removeFolder(home))
  const demo = await startDemo(t, 'npm', ['run', 'demo'])
  const lines = printedLines(demo.output())
  t.equal(lines.length, outcomes.length)
  for (const [at, { says, code, shows }] of outcomes.entries()) {
    const line = lines[at] ?? { says: '', command: 'false' }
    t.match(line.says, says)
    const done = await run('bash', ['-c', line.command], { cwd: home, env: { HOME: home } })
    t.equal(done.code, code, line.command)
    t.match(done.stdout + done.stderr, shows, line.says)
  }

  const folder = dirname(/configuration is (\S+)/.exec(demo.output())?.[1] ?? '')
  t.ok(existsSync(folder))
  t.ok(processesWith(folder).length > 0, 'the gateway and the registry run')
  signalGroup(demo.pid, 'SIGINT')
  await demo.exited
  t.notOk(existsSync(folder), 'Ctrl-C removes the folder')
  t.same(processesWith(folder), [], 'and ends all processes')
})

t.test('Where the usual port is taken, the demo says so and uses another', async (t) => {
  const other = net.createServer()
  await new Promise<void>((resolve) => {
    // Somebody else may have it already, which is as good.
    other.once('error', () => resolve())
    other.listen(usualPort, '127.0.0.1', resolve)
  })
  t.teardown(() => void other.close())
  const demo = await startDemo(t, process.execPath, ['deploy/demo/demo.ts'])
  t.match(demo.output(), /Port 8080 is taken: using another/)
  const [, url = ''] = /listens on (http:\/\/localhost:\d+)/.exec(demo.output()) ?? []
  t.not(new URL(url).port, `${usualPort}`)
  t.equal((await fetch(`${url}/ota/devices/`)).status, 401)
  demo.child.kill('SIGTERM')
  t.equal((await demo.exited).code, 0)
})

t.test('The commands of the README run, and answer what it shows', async (t) => {
  const folder = makeFolder('readme')
  t.teardown(() => removeFolder(folder))
  const config = join(folder, 'gateway.yaml')
  writeFileSync(config, JSON.stringify(configuration))
  const commands = consoleCommands(readFileSync(join(projectFolder, 'README.md'), 'utf8'))
  for (const { command, shows } of commands.filter((one) => !runElsewhere.has(one.command))) {
    const env = { HOME: folder, SCOPEGATE_CONFIG: config }
    const done = await run('bash', ['-c', command], { cwd: projectFolder, env })
    t.equal(done.code, shows.startsWith('deny') ? 1 : 0, `${command} ${done.stderr}`)
    if (shows !== '') t.equal(done.stdout.trim(), shows)
  }
  const names = commands.map(({ command }) => command.split(' ')[5])
  for (const name of ['lint', 'token', 'explain']) t.ok(names.includes(name), `${name} is shown`)
})

/** The demo runs above, and the whole suite around this test. */
const runElsewhere = new Set(['npm ci && npm run demo', 'npm cit'])

const configuration = {
  version: 1,
  include: join(projectFolder, 'config', 'routes', 'foundries.yaml'),
  tokens: { authority: 'sqlite:tokens.db' },
  upstreams: Object.fromEntries(
    ['api', 'git', 'hub'].map((name) => [name, { url: 'http://127.0.0.1:9' }]),
  ),
}

/** The lines behind `$ ` in blocks marked `console`, each with the lines that follow it. */
function consoleCommands(text: string): { command: string; shows: string }[] {
  return [...text.matchAll(/^( *)```console\n([\s\S]*?)^ *```$/gm)].flatMap(([, indent, block]) => {
    const lines = block!.split('\n').map((line) => line.slice(indent!.length))
    return lines
      .join('\n')
      .split(/^\$ /m)
      .slice(1)
      .map((part) => {
        const [command = '', ...shows] = part.split('\n')
        return { command, shows: shows.join('\n').trim() }
      })
  })
}

async function startDemo(t: Test, command: string, args: readonly string[]): Promise<Server> {
  const home = makeFolder('demo-home')
  const demo = await startServer(command, args, {
    cwd: projectFolder,
    env: plainEnvironment({ HOME: home }),
    endsItsOwn: true,
  })
  t.teardown(async () => {
    await demo.stop()
    removeFolder(home)
  })
  await until('the demo has started', () => {
    if (demo.child.exitCode !== null) throw new Error(`the demo has ended: ${demo.output()}`)
    return demo.output().includes(lastLine) || undefined
  })
  return demo
}

function printedLines(output: string): { says: string; command: string }[] {
  const found = output.matchAll(/^# (.+)\n(.+)$/gm)
  return [...found].map(([, says, command]) => ({ says: says!, command: command! }))
}

/** Command lines that name the folder; Linux only, elsewhere none. */
function processesWith(folder: string): string[] {
  if (!existsSync('/proc/self/cmdline')) return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      } catch {
        return ''
      }
    })
    .filter((line) => line.includes(folder))
}
