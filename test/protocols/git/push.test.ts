// Pushes of a real git client to a real git server, through the git protocol: what is read, what is
// forwarded, and what the person at the keyboard sees when a push is refused.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { createGitClient } from '../../servers/git-client.ts'
import { startGitServer } from '../../servers/git-server.ts'
import { gitRoute, startProtocolServer } from './protocol-server.ts'

const everything = { scopes: ['all'], resources: null, allowedIps: null }

const upstream = await startGitServer()
const server = await startProtocolServer(upstream.url)
const client = createGitClient()
const base = `http://any:token@127.0.0.1:${server.port}`
t.teardown(async () => {
  client.remove()
  await server.stop()
  await upstream.stop()
})
t.beforeEach(() => {
  server.rights = everything
  server.route = gitRoute()
  server.withheld = []
  server.pushes()
})

/** A repository with one commit on main, and a clone of it. */
async function repositoryWithClone(name: string, objectFormat: 'sha1' | 'sha256' = 'sha1') {
  await upstream.createRepository(`acme/${name}`, { objectFormat })
  await upstream.git(`acme/${name}`, 'config', 'receive.certNonceSeed', 'seed')
  await upstream.git(`acme/${name}`, 'config', 'receive.advertisePushOptions', 'true')
  await client.git('.', 'init', '-q', `--object-format=${objectFormat}`, name)
  await client.git(name, 'remote', 'add', 'origin', `${base}/acme/${name}.git`)
  await commit(name, 'first')
  await client.git(name, 'push', '-q', 'origin', 'main')
  server.pushes()
}

async function commit(name: string, message: string): Promise<string> {
  await client.git(name, 'commit', '-q', '--allow-empty', '-m', message)
  return await client.git(name, 'rev-parse', 'HEAD')
}

function refs(name: string): Promise<string> {
  return upstream.git(`acme/${name}`, 'for-each-ref', '--format=%(refname)')
}

// gpg stands in for by a program that makes no signature: git writes the certificate all the same.
const signer = join(client.folder, 'signer')
writeFileSync(
  signer,
  `#!/bin/sh
cat >/dev/null
echo '[GNUPG:] SIG_CREATED ' >&2
printf -- '-----BEGIN PGP SIGNATURE-----\\n\\niQEzBAABCAAdFiEE\\n-----END PGP SIGNATURE-----\\n'
`,
  { mode: 0o755 },
)

t.test('what git sends is understood, forwarded byte for byte, and takes effect', async (t) => {
  const name = 'plain'
  await repositoryWithClone(name)
  const push = async (sentence: string, ...args: readonly string[]) => {
    const { code, stderr } = await client.run(name, ['push', 'origin', ...args])
    t.equal(code, 0, `${sentence}\n${stderr}`)
    const pushes = server.pushes()
    t.equal(pushes.length, 1, `${sentence}: one request`)
    for (const { received, forwarded, receivedLength, forwardedLength } of pushes) {
      t.ok(forwarded.equals(received), `${sentence}: same bytes`)
      t.equal(forwardedLength, receivedLength, `${sentence}: same Content-Length`)
    }
  }
  await commit(name, 'second')
  await push('update', 'main')
  await push('create', 'main:refs/heads/other')
  await client.git(name, 'reset', '-q', '--hard', 'HEAD^')
  const rewritten = await commit(name, 'rewritten')
  await push('force', '--force', 'main')
  t.equal(await upstream.git(`acme/${name}`, 'rev-parse', 'main'), rewritten)
  await client.git(name, 'tag', 'light')
  await client.git(name, 'tag', '-a', '-m', 'annotated', 'heavy')
  await push('light and annotated tags', 'light', 'heavy')
  await commit(name, 'third')
  await push('several refs, create, update and delete', 'main', 'main:new', ':other')
  await commit(name, 'fourth')
  await push('atomic', '--atomic', 'main', 'main:another')
  await push('delete', '--delete', 'another', 'new')
  server.route = gitRoute({ pushOptions: ['ci.skip', 'topic=a b'] })
  await push('push options', '-o', 'ci.skip', '-o', 'topic=a b', 'main:optional')
  await client.git(name, 'config', 'gpg.program', signer)
  await push('signed', '--signed', 'main:signed')
  await push('signed with push options', '--signed', '-o', 'ci.skip', ':signed')
  t.equal(
    await refs(name),
    'refs/heads/main\nrefs/heads/optional\nrefs/tags/heavy\nrefs/tags/light',
  )
})

t.test('a sha256 repository is pushed to', async (t) => {
  await repositoryWithClone('wide', 'sha256')
  const head = await commit('wide', 'second')
  await client.git('wide', 'push', '-q', 'origin', 'main', 'main:other')
  t.equal(head.length, 64)
  t.equal(await upstream.git('acme/wide', 'rev-parse', 'other'), head)
})

t.test('a push from a shallow clone is understood', async (t) => {
  await repositoryWithClone('deep')
  await commit('deep', 'second')
  await client.git('deep', 'push', '-q', 'origin', 'main')
  await client.git('.', 'clone', '-q', '--depth', '1', `${base}/acme/deep`, 'shallow')
  server.pushes()
  const head = await commit('shallow', 'third')
  await client.git('shallow', 'push', '-q', 'origin', 'main:third')
  const [push] = server.pushes()
  t.match(push?.received.toString('latin1'), /^0035shallow [0-9a-f]{40}\n/)
  t.ok(push?.forwarded.equals(push.received))
  t.equal(await upstream.git('acme/deep', 'rev-parse', 'third'), head)
})

t.test('a long push is probed first and then comes chunked', async (t) => {
  await repositoryWithClone('long')
  writeFileSync(
    join(client.folder, 'long', 'noise'),
    Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * i * 7919) >> 5)),
  )
  await client.git('long', 'add', 'noise')
  const head = await commit('long', 'noise')
  await client.git('long', '-c', 'http.postBuffer=65536', 'push', '-q', 'origin', 'main')
  const pushes = server.pushes()
  t.same(
    pushes.map(({ received }) => received.toString('latin1', 0, 4)),
    ['0000', pushes[1]?.received.toString('latin1', 0, 4)],
  )
  t.same(
    pushes.map(({ forwardedLength }) => forwardedLength),
    ['4', undefined],
  )
  t.equal(await upstream.git('acme/long', 'rev-parse', 'main'), head)
})

t.test('a compressed push is decoded and takes effect', async (t) => {
  await repositoryWithClone('small')
  const head = await commit('small', 'second')
  await client.git('small', 'push', '-q', 'origin', 'main:probe')
  const [push] = server.pushes()
  const body = Buffer.from(
    push!.received.toString('latin1').replace('heads/probe', 'heads/moved'),
    'latin1',
  )
  const reply = await fetch(`http://127.0.0.1:${server.port}/acme/small/git-receive-pack`, {
    method: 'POST',
    headers: {
      authorization: 'Basic eDp5',
      'content-type': 'application/x-git-receive-pack-request',
      'content-encoding': 'gzip',
    },
    body: gzipSync(body),
  })
  t.match(await reply.text(), /ok refs\/heads\/moved/)
  t.ok(server.pushes()[0]?.forwarded.equals(body))
  t.equal(await upstream.git('acme/small', 'rev-parse', 'moved'), head)
})

t.test(
  'git shows the reason of each refused ref, and that the others were not attempted',
  async (t) => {
    const name = 'guarded'
    await repositoryWithClone(name)
    await client.git(name, 'tag', 'v1')
    await client.git(name, 'push', '-q', 'origin', 'main:old', 'v1')
    await commit(name, 'second')
    await client.git(name, 'tag', '-f', 'v1')
    const before = await upstream.git(`acme/${name}`, 'show-ref')
    server.rights = { ...everything, scopes: ['source:read-update'] }
    const rows: readonly (readonly [string, readonly string[], readonly string[]])[] = [
      [
        'a delete',
        [':old'],
        [' ! [remote rejected] old (token lacks scope source:delete (delete))'],
      ],
      [
        'a create',
        ['main:new'],
        [' ! [remote rejected] main -> new (token lacks scope source:create (create))'],
      ],
      [
        'a tag that is moved',
        ['--force', 'v1'],
        [' ! [remote rejected] v1 -> v1 (token lacks scope source:delete (tag move))'],
      ],
      [
        'a ref that the route does not take',
        ['main:refs/replace/abc'],
        [
          ' ! [remote rejected] main -> refs/replace/abc (the route takes no push to this ref (create))',
        ],
      ],
      [
        'an update beside a delete',
        ['main', ':old'],
        [
          ' ! [remote rejected] main -> main (not attempted because refs/heads/old was refused)',
          ' ! [remote rejected] old (token lacks scope source:delete (delete))',
        ],
      ],
      [
        'an atomic push',
        ['--atomic', 'main', 'main:new'],
        [
          ' ! [remote rejected] main -> main (not attempted because refs/heads/new was refused)',
          ' ! [remote rejected] main -> new (token lacks scope source:create (create))',
        ],
      ],
      [
        'a push option that the route does not list',
        ['-o', 'ci.skip', 'main'],
        [' ! [remote rejected] main -> main (push option "ci.skip" is not allowed here)'],
      ],
      [
        'a quiet push',
        ['-q', ':old'],
        [' ! [remote rejected] old (token lacks scope source:delete (delete))'],
      ],
    ]
    for (const withheld of [[], ['side-band-64k'], ['report-status-v2']]) {
      server.withheld = withheld
      for (const [sentence, args, expected] of rows) {
        const { code, stderr } = await client.run(name, ['push', 'origin', ...args])
        const shown = stderr.split('\n').map((line) => line.replace(/ {2,}/g, ' '))
        const where = `${sentence}, without ${withheld.join() || 'nothing'}`
        t.equal(code, 1, where)
        for (const line of expected) t.ok(shown.includes(line), `${where}: ${line}\n${stderr}`)
      }
    }
    t.equal(await upstream.git(`acme/${name}`, 'show-ref'), before, 'nothing changed')
  },
)

t.test('git shows what to do next', async (t) => {
  await repositoryWithClone('advised')
  server.rights = { ...everything, scopes: ['source:read-update'] }
  const { stderr } = await client.run('advised', ['push', 'origin', ':main'])
  t.match(
    stderr,
    /^remote: scopegate: the push was refused whole, nothing changed in acme\/advised *$/m,
  )
  t.match(stderr, /^remote: scopegate: use a token that has source:delete *$/m)
})

t.test('--porcelain says the same', async (t) => {
  await repositoryWithClone('porcelain')
  await commit('porcelain', 'second')
  server.rights = { ...everything, scopes: ['source:delete'], resources: { ref: ['refs/heads/x'] } }
  const { code, stdout } = await client.run('porcelain', ['push', '--porcelain', 'origin', 'main'])
  t.equal(code, 1)
  t.match(stdout, /^!\trefs\/heads\/main:refs\/heads\/main\t\[remote rejected\] \(.+\)$/m)
})

t.test('a client that takes no report is told by the side band', async (t) => {
  await repositoryWithClone('mute')
  server.withheld = ['report-status', 'report-status-v2']
  server.rights = { ...everything, scopes: ['source:read-update'] }
  const { code, stderr } = await client.run('mute', ['push', 'origin', ':main'])
  t.not(code, 0)
  t.match(stderr, /^remote: scopegate: use a token that has source:delete *$/m)
  t.match(stderr, /^remote: scopegate: the push was refused *$/m)
})

t.test('a client that takes neither is told 403', async (t) => {
  await repositoryWithClone('silent')
  server.withheld = ['report-status', 'report-status-v2', 'side-band-64k']
  server.rights = { ...everything, scopes: ['source:read-update'] }
  const { code, stderr } = await client.run('silent', ['push', 'origin', ':main'])
  t.not(code, 0)
  t.match(stderr, /HTTP 403/)
  t.equal(await refs('silent'), 'refs/heads/main')
})

t.test('a report of many refs with long names is shown whole', async (t) => {
  await repositoryWithClone('many')
  server.rights = { ...everything, scopes: ['source:read-update'] }
  const names = Array.from({ length: 600 }, (_, i) => `refs/heads/${'long/'.repeat(40)}${i}`)
  const { stderr } = await client.run('many', [
    'push',
    'origin',
    ...names.map((ref) => `main:${ref}`),
  ])
  t.equal(stderr.match(/remote rejected/g)?.length, 600)
})

t.test('a token that may not push at all is told so before it sends anything', async (t) => {
  await repositoryWithClone('readable')
  server.rights = { ...everything, scopes: ['source:read'] }
  const { code, stderr } = await client.run('readable', ['push', 'origin', 'main:new'])
  t.equal(code, 128)
  t.match(stderr, /^remote: scopegate: token lacks scope source:read-update \(acme\/readable\)/m)
  t.match(stderr, /403/)
  t.equal((await client.run('.', ['clone', '-q', `${base}/acme/readable`, 'copy'])).code, 0)
  t.same(server.pushes(), [])
})

t.test('a token that has force alone may also update', async (t) => {
  await repositoryWithClone('forced')
  const head = await commit('forced', 'second')
  server.rights = { ...everything, scopes: ['source:delete'] }
  await client.git('forced', 'push', '-q', 'origin', 'main')
  t.equal(await upstream.git('acme/forced', 'rev-parse', 'main'), head)
})

t.test('a token limited to refs moves these alone', async (t) => {
  await repositoryWithClone('narrow')
  await commit('narrow', 'second')
  server.rights = {
    ...everything,
    resources: { ref: ['refs/heads/topic/*'], repository: ['acme/*'] },
  }
  await client.git('narrow', 'push', '-q', 'origin', 'main:topic/a')
  const { code, stderr } = await client.run('narrow', ['push', 'origin', 'main'])
  t.equal(code, 1)
  t.match(stderr, /remote rejected\] main -> main \(.*refs\/heads\/topic\/\*.*refs\/heads\/main/)
})
