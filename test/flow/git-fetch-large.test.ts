// A large clone from outside: it leaves the gateway as small as it was, and when its client goes midway, no
// program on the server.

import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { gitEnvironment } from '../servers/git-client.ts'
import { plainEnvironment, signalGroup, startServer } from '../servers/lifetime.ts'
import { until } from '../servers/ready.ts'
import {
  fetchPlace,
  gateway,
  large,
  largeBytes,
  readsPost,
  readsRefs,
  webNames,
  webs,
} from './fetch-workplace.ts'

const mebibyte = 2 ** 20
/** What a clone of any size may add to the gateway's memory. */
const growthBytesMax = 64 * mebibyte
/** What a client has got of a large clone when it goes. */
const midwayBytes = mebibyte

t.test('A large clone leaves the gateway as small as it was', async (t) => {
  const warm = await fetchPlace(t)
  await warm.client.git('', 'clone', '-q', warm.url(), 'clone')
  const { client, url } = await fetchPlace(t, 'nginx', large())
  const before = memoryBytes('VmRSS')
  // Sets the peak to what is in use now (proc_pid_clear_refs(5)).
  writeFileSync(`/proc/${gateway.pid}/clear_refs`, '5')
  await client.git('', 'clone', '-q', '--bare', url(), 'clone')
  const growth = memoryBytes('VmHWM') - before
  t.comment(`grown by ${(growth / mebibyte).toFixed(1)} MiB`)
  t.ok(growth < growthBytesMax, `grown by ${(growth / mebibyte).toFixed(1)} MiB`)
  t.ok(bytesBelow(join(client.folder, 'clone', 'objects')) >= largeBytes)
})

for (const web of webNames) {
  t.test(
    `A client that goes midway through a large clone leaves no backend of ${web}`,
    async (t) => {
      const { client, url, seen } = await fetchPlace(t, web, large())
      const { backends } = webs[web]
      const cloning = await startServer('git', ['clone', '--bare', url(), 'clone'], {
        cwd: client.folder,
        env: plainEnvironment(gitEnvironment(client.folder)),
      })
      const packs = join(client.folder, 'clone', 'objects', 'pack')
      await until('the pack arrives', () => bytesBelow(packs) >= midwayBytes || undefined)
      signalGroup(cloning.pid, 'SIGSTOP')
      t.ok(bytesBelow(packs) < largeBytes, 'midway')
      if (web === 'apache') t.ok((await backends()).length > 0, 'the backend waits for the client')
      signalGroup(cloning.pid, 'SIGKILL')
      t.equal((await cloning.exited).signal, 'SIGKILL')
      await until('no backend is left', async () => (await backends()).length === 0 || undefined)
      t.same(await seen(), [readsRefs, readsPost, readsPost])
    },
  )
}

function memoryBytes(name: 'VmRSS' | 'VmHWM'): number {
  const status = readFileSync(`/proc/${gateway.pid}/status`, 'latin1')
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024
}

/** The sizes of all files below a folder, which may not be there yet, or change. */
function bytesBelow(folder: string): number {
  if (!existsSync(folder)) return 0
  const entries = readdirSync(folder, { recursive: true }) as string[]
  const sizes = entries.map((entry) => {
    const found = statSync(join(folder, entry), { throwIfNoEntry: false })
    return found?.isFile() ? found.size : 0
  })
  return sizes.reduce((sum, size) => sum + size, 0)
}
