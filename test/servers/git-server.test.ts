// The git server itself, without a gateway: behind each of its web servers it serves git, keeps a record of
// what it was asked, and tells what runs and what is left.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createGitClient } from './git-client.ts'
import { startGitServer } from './git-server.ts'
import { connect } from './raw-client.ts'
import { until } from './ready.ts'

for (const web of ['nginx', 'nginx-streaming', 'apache'] as const) {
  const server = await startGitServer({ web })
  const client = createGitClient()
  t.teardown(async () => {
    client.remove()
    await server.stop()
  })
  const repository = async (name: string): Promise<string> => {
    await server.createRepository(name)
    await client.git('', 'init', '-q', name)
    await client.git(name, 'commit', '-q', '--allow-empty', '-m', 'first')
    return `${server.url}/${name}.git`
  }

  t.test(`${web} takes pushes and gives clones, with each protocol version`, async (t) => {
    const url = await repository('a')
    for (const version of ['0', '1', '2']) {
      const settings = ['-c', `protocol.version=${version}`]
      await client.git('a', ...settings, 'push', '-q', url, `main:v${version}`)
      await client.git('', ...settings, 'clone', '-q', '-b', `v${version}`, url, `clone${version}`)
      const env = { GIT_TRACE_PACKET: '1' }
      const listed = await client.run('a', [...settings, 'ls-remote', url], { env })
      const shown = /< version (\d)/.exec(listed.stderr)?.[1] ?? '0'
      t.equal(shown, version, 'the version reaches git')
    }
    t.equal(await server.git('a', 'log', '-1', '--format=%s', 'v2'), 'first')
  })

  t.test(`${web} takes a push that is sent in chunks`, async (t) => {
    const url = await repository('b')
    writeFileSync(join(client.folder, 'b', 'noise'), Buffer.alloc(200_000, web))
    await client.git('b', 'add', '.')
    await client.git('b', 'commit', '-q', '-m', 'noise')
    const chunked = ['-c', 'http.postBuffer=1000', '-c', 'pack.compression=0']
    await client.git('b', ...chunked, 'push', '-q', url, 'main')
    t.equal(await server.git('b', 'log', '-1', '--format=%s'), 'noise')
    t.equal(await server.git('b', 'fsck', '--strict'), '')
  })

  t.test(`${web} keeps a record of each request, once it is over`, async (t) => {
    const url = await repository('c')
    const before = (await server.requests()).length
    const marked = ['-c', 'http.extraHeader=X-Remote-User: ada "é" \\']
    await client.git('c', ...marked, 'push', '-q', url, 'main')
    const records = (await server.requests()).slice(before)
    t.same(
      records.map(({ method, uri, status }) => `${method} ${uri} ${status}`),
      ['GET /c.git/info/refs?service=git-receive-pack 200', 'POST /c.git/git-receive-pack 200'],
    )
    t.equal(records[1]?.authorization, '')
    t.match(records[1]?.subject, /^ada ".+" \\$/)
    await fetch(`${server.url}/c.git/HEAD?a=%41`, { headers: { authorization: 'Bearer x' } })
    t.match((await server.requests()).at(-1), {
      uri: '/c.git/HEAD?a=%41',
      status: 200,
      authorization: 'Bearer x',
      subject: '',
    })
  })

  t.test(`${web} shows the backends that run, and none once a request is over`, async (t) => {
    const url = await repository('d')
    t.same(await server.backends(), [])
    await client.git('d', 'push', '-q', url, 'main')
    if (web !== 'nginx') {
      const waiting = await connect(server.url)
      const type = 'application/x-git-receive-pack-request'
      waiting.write(
        `POST /d.git/git-receive-pack HTTP/1.1\r\nHost: a\r\nContent-Type: ${type}\r\n` +
          'Transfer-Encoding: chunked\r\n\r\n1\r\n0\r\n',
      )
      const some = async (): Promise<true | undefined> =>
        (await server.backends()).length > 0 || undefined
      t.ok(await until('a backend runs', some))
      waiting.write('3\r\n000\r\n0\r\n\r\n')
      await waiting.receive('a reply', (text) => text.includes('200 OK'))
      waiting.close()
    }
    const none = async (): Promise<true | undefined> =>
      (await server.backends()).length === 0 || undefined
    t.ok(await until('no backend runs', none))
  })

  t.test(`${web} shows the packs that a repository has not taken`, async (t) => {
    await repository('e')
    t.same(server.quarantines('e'), [])
    for (const name of ['tmp_objdir-incoming-a1', 'incoming-b2', 'ab']) {
      mkdirSync(join(server.root, 'e.git', 'objects', name))
    }
    t.same([...server.quarantines('e')].sort(), ['incoming-b2', 'tmp_objdir-incoming-a1'])
  })
}
