// Fetching from outside: every way in which git asks for objects, through the gateway, to git-http-backend
// behind the web servers that it stands behind.

import { createHash, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import {
  addTo,
  commitsTotal,
  commitTime,
  fetchPlace,
  filesTotal,
  gateway,
  listRefs,
  local,
  reader,
  readsPost,
  readsRefs,
  recorder,
  requestType,
  startFiles,
  stranger,
  webNames,
} from './fetch-workplace.ts'

/** Commits that the client has and the server does not know. */
const unknownCommits = 4_000

for (const web of webNames) {
  for (const version of ['0', '1', '2'] as const) {
    t.test(`Protocol version ${version} clones and fetches from ${web}`, async (t) => {
      const { client, url, direct, seen } = await fetchPlace(t, web)
      const settings = ['-c', `protocol.version=${version}`]
      const env = { GIT_TRACE_PACKET: '1' }
      const cloned = await client.run('', [...settings, 'clone', url(), 'clone'], { env })
      t.equal(cloned.code, 0)
      t.equal(spokenVersion(cloned.stderr), version, 'the clone speaks it')
      await client.git('clone', 'commit', '-q', '--allow-empty', '-m', 'next')
      await client.git('clone', 'push', '-q', direct, 'main:next')
      await seen()
      const fetched = await client.run('clone', [...settings, 'fetch', 'origin'], { env })
      t.equal(spokenVersion(fetched.stderr), version, 'the fetch speaks it')
      t.equal(await client.git('clone', 'log', '-1', '--format=%s', 'origin/next'), 'next')
      t.ok((await seen()).includes(readsRefs))
    })
  }
}

for (const { filter, sentence } of [
  { filter: 'blob:none', sentence: 'without blobs' },
  { filter: 'tree:0', sentence: 'without trees' },
]) {
  t.test(`A clone ${sentence} gets what is missing when it is checked out`, async (t) => {
    const { client, url, server, seen } = await fetchPlace(t)
    await server('config', 'uploadpack.allowFilter', 'true')
    await client.git('', 'clone', '-q', `--filter=${filter}`, '--no-checkout', url(), 'clone')
    const args = ['rev-list', '--objects', '--all', '--missing=print']
    const missing = async (): Promise<number> =>
      (await client.git('clone', ...args)).split('\n').filter((line) => line.startsWith('?')).length
    t.ok((await missing()) >= commitsTotal, 'a clone without them')
    await seen()
    await client.git('clone', 'checkout', '-q', 'main')
    t.ok((await seen()).includes(readsPost), 'asked for on demand')
    const file = join(client.folder, 'clone', `file${commitsTotal % filesTotal}`)
    t.equal(readFileSync(file, 'utf8'), `main ${commitsTotal}\n`)
    t.equal(await client.git('clone', 'show', 'main~20:file0'), 'main 40')
  })
}

for (const version of ['0', '2']) {
  t.test(`A shallow clone is deepened and completed, with version ${version}`, async (t) => {
    const { client, url } = await fetchPlace(t)
    const git = (where: string, ...args: readonly string[]): Promise<string> =>
      client.git(where, '-c', `protocol.version=${version}`, ...args)
    const commits = async (): Promise<number> =>
      Number(await client.git('clone', 'rev-list', '--count', 'HEAD'))
    await git('', 'clone', '-q', '--depth=3', url(), 'clone')
    t.equal(await commits(), 3)
    await git('clone', 'fetch', '-q', '--deepen=2')
    t.equal(await commits(), 5)
    const since = commitTime(commitsTotal - 9)
    await git('clone', 'fetch', '-q', `--shallow-since=${since}`)
    t.equal(await commits(), 10)
    await git('clone', 'fetch', '-q', '--unshallow')
    t.equal(await commits(), commitsTotal)
    await git('', 'clone', '-q', '--bare', `--shallow-since=${since}`, url(), 'recent')
    t.equal(await client.git('recent', 'rev-list', '--count', 'HEAD'), '10')
  })
}

t.test('A clone begins with a bundle from another server, and fetches only the rest', async (t) => {
  const { client, url, server, folder, seen } = await fetchPlace(t)
  await server('branch', 'old', 'main~10')
  await server('bundle', 'create', '-q', 'first.bundle', 'old')
  const files = await startFiles(t, join(folder, 'first.bundle'))
  const env = { GIT_TRACE_PACKET: '1' }
  const args = ['clone', `--bundle-uri=${files.url}/first.bundle`, url(), 'clone']
  const cloned = await client.run('', args, { env })
  t.equal(cloned.code, 0)
  t.same(files.authorizations, [undefined], 'that server gets no token')
  const tip = await server('rev-parse', 'main~10')
  t.match(cloned.stderr, new RegExp(`clone> have ${tip}`), 'what the bundle had is not sent again')
  t.ok((await seen()).includes(readsPost))
  t.equal(await client.git('clone', 'rev-list', '--count', 'main'), `${commitsTotal}`)
})

t.test('The body of a fetch reaches the server as it is, compressed and unread', async (t) => {
  const noise = randomBytes(300_000)
  const authorization = `Bearer ${reader}`
  for (const [sentence, body] of [
    ['compressed', gzipSync(noise)],
    ['said to be compressed, but not so', noise],
  ] as const) {
    const before = recorder.requests.length
    const type = 'application/x-git-upload-pack-request'
    const headers = { authorization, 'content-type': type, 'content-encoding': 'gzip' }
    const url = `${gateway.url}/recorded/r.git/git-upload-pack`
    await (await fetch(url, { method: 'POST', headers, body })).bytes()
    const arrived = recorder.requests[before]
    t.equal(arrived?.bodySha256, createHash('sha256').update(body).digest('hex'), sentence)
    t.same(arrived?.values('content-encoding'), ['gzip'])
    t.same(arrived?.values('content-type'), [type])
    t.same(arrived?.values('authorization'), [])
  }
})

for (const web of webNames) {
  for (const version of ['0', '2']) {
    t.test(
      `A client with ${unknownCommits} commits unknown to ${web} negotiates in rounds, compressed, with version ${version}`,
      async (t) => {
        const { client, url, direct, server, seen } = await fetchPlace(t, web)
        await client.git('', 'clone', '-q', '--bare', direct, 'clone')
        await addTo(join(client.folder, 'clone'), local(unknownCommits))
        const next = await server('commit-tree', 'main^{tree}', '-p', 'main', '-m', 'next')
        await server('update-ref', 'refs/heads/main', next)
        await seen()
        const env = { GIT_TRACE_CURL: '1', GIT_TRACE_CURL_NO_DATA: '1' }
        const args = ['-c', `protocol.version=${version}`, 'fetch', '-q', url(), 'main']
        const fetched = await client.run('clone', args, { env })
        t.equal(fetched.code, 0)
        t.match(fetched.stderr, /=> Send header: Content-Encoding: gzip/)
        const posts = (await seen()).filter((request) => request === readsPost)
        t.ok(posts.length >= 5, `${posts.length} rounds`)
        t.equal(await client.git('clone', 'log', '-1', '--format=%s', 'FETCH_HEAD'), 'next')
      },
    )
  }
}

t.test('A client that expects 100 before it sends its body gets it if it may fetch', async (t) => {
  const { curl, seen } = await fetchPlace(t)
  const fields = [requestType, 'Git-Protocol: version=2', 'Expect: 100-continue']
  const args = ['-v', ...fields.flatMap((field) => ['-H', field]), '--data-binary', listRefs]
  const permitted = await curl('git-upload-pack', args)
  t.match(permitted.stderr, /^< HTTP\/1.1 100 Continue/m)
  t.match(permitted.stdout, /refs\/heads\/main/)
  t.same(await seen(), [readsPost])
  const refused = await curl('git-upload-pack', args, stranger)
  t.notMatch(refused.stderr, /100 Continue/)
  t.match(refused.stderr, /^< HTTP\/1.1 403/m)
  t.same(await seen(), [])
})

/** The version of the protocol that a trace of packets shows. */
function spokenVersion(trace: string): string {
  return /packet: +\S+< version (\d)/.exec(trace)?.[1] ?? '0'
}
