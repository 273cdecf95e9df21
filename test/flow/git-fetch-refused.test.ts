// Fetching from outside, the rest of it: clients that know only files (the dumb protocol), and each kind of
// request refused to a token without source:read, of which the git server sees nothing.

import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { mustRun } from '../servers/command.ts'
import {
  type FetchPlace,
  fetchPlace,
  listRefs,
  requestType,
  startFiles,
  stranger,
} from './fetch-workplace.ts'

const archiveType = 'Content-Type: application/x-git-upload-archive-request'
const lacking = /scopegate: token lacks scope source:read \(acme\/r\d+\)/

for (const { sentence, isPacked } of [
  { sentence: 'from packs', isPacked: true },
  { sentence: 'from loose objects', isPacked: false },
]) {
  t.test(`A client that knows only files clones ${sentence}`, async (t) => {
    const { client, url, server, seen } = await dumbPlace(t, isPacked)
    const env = { GIT_SMART_HTTP: '0' }
    const cloned = await client.run('', ['clone', '-q', url(), 'clone'], { env })
    t.equal(cloned.code, 0, cloned.stderr)
    const requests = await seen()
    t.ok(requests.includes('GET info/refs'))
    t.ok(requests.includes('GET HEAD'))
    t.notOk(requests.some((request) => /service|POST/.test(request)))
    const files = isPacked ? /^GET objects\/pack\/pack-/ : /^GET objects\/..\/.{38}$/
    t.ok(requests.some((request) => files.test(request)))
    t.equal(await client.git('clone', 'rev-parse', 'HEAD'), await server('rev-parse', 'main'))
    t.equal(await client.git('clone', 'fsck', '--strict'), '')
  })
}

t.test('The files of a repository arrive byte for byte', async (t) => {
  const place = await dumbPlace(t, true)
  for (const path of await dumbFiles(place)) {
    const copy = join(place.client.folder, 'copy')
    const whole = readFileSync(join(place.folder, path))
    t.match(await place.curl(path, ['-f', '-o', copy]), { code: 0, stderr: '' }, path)
    t.ok(readFileSync(copy).equals(whole), path)
    const head = await place.curl(path, ['-f', '-I'])
    t.match(head.stdout, /^HTTP\/1.1 200/, `HEAD of ${path}`)
  }
})

const kinds: readonly {
  readonly sentence: string
  readonly args: readonly string[]
  readonly env?: NodeJS.ProcessEnv
  readonly where?: string
}[] = [
  ...['0', '1', '2'].map((version) => ({
    sentence: `a clone with protocol version ${version}`,
    args: ['-c', `protocol.version=${version}`, 'clone', 'URL', 'new'],
  })),
  { sentence: 'a list of refs', args: ['ls-remote', 'URL'] },
  { sentence: 'a partial clone', args: ['clone', '--filter=blob:none', 'URL', 'new'] },
  { sentence: 'a shallow clone', args: ['clone', '--depth=1', 'URL', 'new'] },
  { sentence: 'a clone since a day', args: ['clone', '--shallow-since=1700000000', 'URL', 'new'] },
  {
    sentence: 'a clone of a client that knows only files',
    args: ['clone', 'URL', 'new'],
    env: { GIT_SMART_HTTP: '0' },
  },
  { sentence: 'a fetch', args: ['fetch', 'URL', 'main'], where: 'full' },
  { sentence: 'a fetch that deepens', args: ['fetch', '--deepen=1', 'URL'], where: 'shallow' },
  { sentence: 'a fetch of all the rest', args: ['fetch', '--unshallow', 'URL'], where: 'shallow' },
  {
    sentence: 'a fetch of a blob on demand',
    args: ['cat-file', '-p', 'main:file0'],
    where: 'partial',
  },
  { sentence: 'a clone with a bundle', args: ['clone', '--bundle-uri=BUNDLE', 'URL', 'new'] },
]

t.test('A token without source:read is refused by name, and the server sees nothing', async (t) => {
  const place = await dumbPlace(t, true)
  const { client, url, direct, server, folder, seen, curl } = place
  await server('config', 'uploadpack.allowFilter', 'true')
  await server('bundle', 'create', '-q', 'all.bundle', '--all')
  const files = await startFiles(t, join(folder, 'all.bundle'))
  await client.git('', 'clone', '-q', direct, 'full')
  await client.git('', 'clone', '-q', '--depth=3', direct, 'shallow')
  await client.git('', 'clone', '-q', '--filter=blob:none', '--no-checkout', direct, 'partial')
  await client.git('partial', 'remote', 'set-url', 'origin', url(stranger))
  await seen()
  for (const { sentence, args, env = {}, where = '' } of kinds) {
    const filled = args.map((arg) =>
      arg.replace('URL', url(stranger)).replace('BUNDLE', `${files.url}/all.bundle`),
    )
    const refused = await client.run(where, filled, { env })
    t.equal(refused.code, 128, sentence)
    t.match(refused.stderr, lacking, sentence)
    t.match(refused.stderr, /The requested URL returned error: 403/, sentence)
    t.same(await seen(), [], sentence)
    t.notOk(existsSync(join(client.folder, 'new')), sentence)
  }
  const post = ['-H', requestType, '--data-binary', listRefs]
  for (const [sentence, path, args] of [
    ['a request for objects', 'git-upload-pack', post],
    ['a compressed one', 'git-upload-pack', [...post, '-H', 'Content-Encoding: gzip']],
    ['one for an archive', 'git-upload-archive', ['-H', archiveType, '--data-binary', '0000']],
    ...(await dumbFiles(place)).map((file) => [`the file ${file}`, file, []] as const),
  ] as const) {
    const refused = await curl(path, [...args, '-w', '%{http_code}'], stranger)
    t.match(refused.stdout, lacking, sentence)
    t.equal(refused.stdout.slice(-3), '403', sentence)
    t.same(await seen(), [], sentence)
  }
})

t.test('A request for an archive is a fetch', async (t) => {
  const { curl, seen } = await fetchPlace(t)
  await curl('git-upload-archive', ['-H', archiveType, '--data-binary', '0000'])
  t.same(await seen(), ['POST git-upload-archive'], 'the server decides what it makes of it')
})

/** A repository whose server answers clients that know only files. */
async function dumbPlace(t: Test, isPacked: boolean): Promise<FetchPlace> {
  const place = await fetchPlace(t)
  if (!isPacked) {
    // A request for each object: a short history will do.
    await place.server('update-ref', 'refs/heads/main', 'main~50')
    // git unpacks only what is not in a pack of its own.
    const packs = join(place.folder, 'objects', 'pack')
    const apart = join(place.folder, 'apart')
    renameSync(packs, apart)
    mkdirSync(packs)
    for (const name of readdirSync(apart).filter((file) => file.endsWith('.pack'))) {
      const input = readFileSync(join(apart, name))
      await mustRun('git', ['unpack-objects', '-q'], { cwd: place.folder, input })
    }
  }
  await place.server('update-server-info')
  return place
}

/** One file of each kind that there is to fetch. */
async function dumbFiles({ folder, server }: FetchPlace): Promise<string[]> {
  const loose = await server('hash-object', '-w', 'config')
  const packs = readdirSync(join(folder, 'objects', 'pack'))
  return [
    ...[
      'HEAD',
      'info/refs',
      'objects/info/packs',
      `objects/${loose.slice(0, 2)}/${loose.slice(2)}`,
    ],
    ...packs.filter((file) => /\.(pack|idx)$/.test(file)).map((file) => `objects/pack/${file}`),
  ]
}
