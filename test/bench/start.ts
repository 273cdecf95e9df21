// From the start of the process to a listening socket, as `npm run build` makes the program and the image holds
// it: with the shipped routes, and with ten thousand of them; beside the sources, and a Node that does nothing
// but listen.

import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { mustRun } from '../servers/command.ts'
import { projectFolder } from '../servers/gateway.ts'
import { cli } from './peers/scopegate.ts'
import { writeRoutes } from './routes.ts'
import { type Bench, cores, scope, writeScope } from './scene.ts'
import type { Section } from './section.ts'
import { median, ratio, spread } from './statistics.ts'

const shippedGoalMs = 300
const manyGoalMs = 1_000
const manyRoutesCount = 10_000
const startTimeoutMs = 30_000

const bareNode = `require('node:http').createServer().listen(0, '127.0.0.1', () => console.log('"listening"'))`

export const start: Section = {
  name: 'start',
  title: 'From start to listening, both cores',
  measure: async (scene, { starts }) => {
    const built = await build(scene)
    const serve = (program: string, file: string): string[] => [program, 'serve', '--config', file]
    const [shippedFile, manyFile] = [writeShipped(scene), writeMany(scene)]
    const programs = {
      'bare Node': ['-e', bareNode],
      'config/routes/foundries.yaml': serve(built, shippedFile),
      [`${manyRoutesCount} routes`]: serve(built, manyFile),
      'config/routes/foundries.yaml, from the sources': serve(cli, shippedFile),
    }
    const taken = new Map(Object.keys(programs).map((name) => [name, [] as number[]]))
    // The first of each fills the compile cache and the disk's.
    for (let round = 0; round <= starts; round++) {
      for (const [name, args] of Object.entries(programs)) {
        const ms = await startOnce(scene, args)
        if (round > 0) taken.get(name)!.push(ms)
      }
    }
    const [bare, shipped, many] = [...taken.values()] as [number[], number[], number[]]
    const rows = [...taken].map(([name, list]) => {
      const { median: middle, lowest, highest } = spread(list)
      const range = `${lowest.toFixed(0)}-${highest.toFixed(0)}`
      return [name, middle.toFixed(0), range, ratio(list, bare).toFixed(2)]
    })
    return {
      tables: [{ head: ['', 'ms', 'of starts', 'to bare Node'], rows }],
      verdicts: [
        { what: 'start, shipped routes', value: median(shipped), unit: 'ms', goal: shippedGoalMs },
        { what: 'start, 10,000 routes', value: median(many), unit: 'ms', goal: manyGoalMs },
        { what: 'start, shipped routes to bare Node', value: ratio(shipped, bare), unit: 'x' },
      ],
      figures: Object.fromEntries([...taken].map(([name, list]) => [name, { ms: spread(list) }])),
    }
  },
}

/** The program's entry, with package.json where it looks for it. */
async function build(scene: Bench): Promise<string> {
  const folder = join(scene.folder, 'built')
  mkdirSync(folder)
  cpSync(join(projectFolder, 'package.json'), join(folder, 'package.json'))
  const dist = join(folder, 'dist')
  await mustRun(process.execPath, [join(projectFolder, 'deploy', 'build.ts'), dist])
  return join(dist, 'main.js')
}

/** Milliseconds until it says that it listens. */
async function startOnce(scene: Bench, args: readonly string[]): Promise<number> {
  const startedAt = performance.now()
  const options = { on: cores.both, env: { HOME: scene.folder } }
  const server = await scene.run(process.execPath, args, options)
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const look = (): void => {
    if (server.output().includes('"listening"')) resolve(performance.now() - startedAt)
  }
  server.child.stdout?.on('data', look)
  const timer = setTimeout(() => reject(new Error('it does not listen')), startTimeoutMs)
  void server.exited.then(() => reject(new Error(`it ended at once: ${server.output()}`)))
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    await server.stop()
  }
}

function writeShipped(scene: Bench): string {
  const folder = join(scene.folder, 'start-shipped')
  mkdirSync(folder)
  const upstream = { url: `http://${scene.upstream}` }
  return write(folder, {
    include: join(projectFolder, 'config', 'routes', 'foundries.yaml'),
    upstreams: { api: upstream, git: upstream, hub: upstream },
  })
}

function writeMany(scene: Bench): string {
  const folder = join(scene.folder, 'start-many')
  mkdirSync(folder)
  return write(folder, {
    include: writeRoutes(folder, manyRoutesCount),
    upstreams: { api: { url: `http://${scene.upstream}` } },
    scopes: { [scope]: 'Read items', [writeScope]: 'Write items' },
  })
}

function write(folder: string, sections: object): string {
  const file = join(folder, 'gateway.yaml')
  const usual = { version: 1, listen: { port: 0 }, management: { port: 0 } }
  const tokens = { authority: 'sqlite:tokens.db' }
  writeFileSync(file, JSON.stringify({ ...usual, tokens, ...sections }))
  return file
}
