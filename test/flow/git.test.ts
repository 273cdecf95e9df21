// Git from outside: real git, through the gateway, to nginx with git-http-backend, with the route map that
// the product brings. Each scope of the map is shown twice, holding it and lacking it; of what is refused
// the git server must not have seen a push.

import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createGitClient } from '../servers/git-client.ts'
import { gateway, remote, tokenWith, upstream, workplace } from './git-workplace.ts'

const pushPost = 'POST git-receive-pack'

t.test('source:read permits clone and fetch', async (t) => {
  const { client, name } = await workplace(t)
  const url = remote(`${name}.git`, await tokenWith('source:read'))
  await client.git('', 'clone', '-q', url, 'clone')
  t.equal(await client.git('clone', 'log', '--format=%s'), 'first')
  await client.git('work', 'push', '-q', `${upstream.url}/${name}.git`, 'main')
  await client.git('clone', 'fetch', '-q')
  t.equal(await client.git('clone', 'log', '--format=%s', 'origin/main'), 'second\nfirst')
})

t.test('Without source:read there is no clone, and git shows which scope is missing', async (t) => {
  const { client, name, seen } = await workplace(t)
  const url = remote(`${name}.git`, await tokenWith('devices:read'))
  const refused = await client.run('', ['clone', url, 'clone'])
  t.equal(refused.code, 128)
  t.match(refused.stderr, /^remote: .*token lacks scope source:read .*acme\/r/m)
  t.match(refused.stderr, /The requested URL returned error: 403/)
  t.same(await seen(), [])
})

for (const row of [
  {
    sentence: 'update a branch',
    scope: 'source:read-update',
    short: ['source:create'],
    refspec: ['main'],
    shows: /! \[remote rejected\] main -> main \(token lacks scope source:read-update/,
  },
  {
    sentence: 'create a branch',
    scope: 'source:create',
    short: ['source:read-update'],
    refspec: ['main:topic'],
    shows: /! \[remote rejected\] main -> topic \(token lacks scope source:create/,
  },
  {
    sentence: 'create a tag',
    scope: 'source:create',
    short: ['source:read-update'],
    refspec: ['main:refs/tags/v2'],
    shows: /! \[remote rejected\] main -> v2 \(token lacks scope source:create/,
  },
  {
    sentence: 'delete a branch',
    scope: 'source:delete',
    short: ['source:read-update', 'source:create'],
    refspec: [':old'],
    shows: /! \[remote rejected\] old \(token lacks scope source:delete/,
  },
  {
    sentence: 'delete a tag',
    scope: 'source:delete',
    short: ['source:read-update', 'source:create'],
    refspec: [':v1'],
    shows: /! \[remote rejected\] v1 \(token lacks scope source:delete/,
  },
  {
    sentence: 'move a tag',
    scope: 'source:delete',
    short: ['source:read-update', 'source:create'],
    refspec: ['--force', 'main:refs/tags/v1'],
    shows: /! \[remote rejected\] main -> v1 \(token lacks scope source:delete/,
  },
]) {
  const { sentence, scope, short, refspec, shows } = row
  t.test(
    `${scope} permits to ${sentence}; ${short} does not, and the server sees no push`,
    async (t) => {
      const { push, seen, refs } = await workplace(t)
      const before = await refs()
      const refused = await push(short, ...refspec)
      t.equal(refused.code, 1)
      t.match(refused.stderr, shows)
      t.match(refused.stderr, /^remote: .*nothing changed in acme\/r/m)
      t.notOk((await seen()).includes(pushPost), 'the refused push did not arrive')
      t.equal(await refs(), before)
      const permitted = await push([scope], ...refspec)
      t.equal(permitted.code, 0, permitted.stderr)
      t.ok((await seen()).includes(pushPost), 'the permitted push arrived')
      t.not(await refs(), before)
    },
  )
}

t.test('A token that may only read is told so before it sends a pack', async (t) => {
  const { push, seen } = await workplace(t)
  const refused = await push(['source:read'], 'main')
  t.match(refused.stderr, /^remote: .*token lacks scope source:/m)
  t.match(refused.stderr, /The requested URL returned error: 403/)
  t.same(await seen(), [])
})

t.test('One refused ref refuses the push, and the others say because of which', async (t) => {
  const { push, seen, refs } = await workplace(t)
  const before = await refs()
  const refused = await push(['source:read-update'], 'main', 'main:topic')
  t.equal(refused.code, 1)
  t.match(refused.stderr, /! \[remote rejected\] main -> topic \(token lacks scope source:create/)
  t.match(refused.stderr, /main -> main \(not attempted because refs\/heads\/topic was refused\)/)
  t.notOk((await seen()).includes(pushPost))
  t.equal(await refs(), before)
  const both = await push(['source:read-update', 'source:create'], 'main', 'main:topic')
  t.equal(both.code, 0, both.stderr)
})

t.test('An atomic push is refused whole as well', async (t) => {
  const { push, seen } = await workplace(t)
  const refused = await push(['source:read-update'], '--atomic', 'main', ':old')
  t.equal(refused.code, 1)
  t.match(refused.stderr, /! \[remote rejected\] old \(token lacks scope source:delete/)
  t.notOk((await seen()).includes(pushPost))
})

t.test('An unknown token is told apart from one that lacks a scope', async (t) => {
  const { client, name, seen } = await workplace(t)
  const unknown = 'sgt_00000000000000000000000000000000000000'
  for (const url of [remote(`${name}.git`, unknown), `${gateway.url}/${name}.git`]) {
    const refused = await client.run('', ['clone', url, 'clone'])
    t.equal(refused.code, 128)
    t.match(refused.stderr, /Authentication failed|could not read Username/)
  }
  t.same(await seen(), [])
})

t.test('git forgets a token that is unknown, and keeps one that lacks a scope', async (t) => {
  const { client, name } = await workplace(t)
  const keptAfterUse = async (token: string): Promise<string> => {
    const store = join(client.folder, `credentials-${token}`)
    writeFileSync(store, `${gateway.url.replace('://', `://user:${token}@`)}\n`)
    const helper = `credential.helper=store --file=${store}`
    await client.run('', ['-c', helper, 'ls-remote', `${gateway.url}/${name}.git`])
    return readFileSync(store, 'utf8')
  }
  t.match(await keptAfterUse(await tokenWith('devices:read')), /sgt_/)
  t.equal(await keptAfterUse('sgt_00000000000000000000000000000000000000'), '')
})

t.test('The token may stand wherever clients put it', async (t) => {
  const { client, name } = await workplace(t)
  const token = await tokenWith('source:read')
  const bare = `${gateway.url}/${name}.git`
  const basic = Buffer.from(`user:${token}`).toString('base64')
  for (const [sentence, args] of [
    ['as the password', [remote(`${name}.git`, token)]],
    [
      'as the user name, with the password x-oauth-basic',
      [remote(`${name}.git`, 'x-oauth-basic', token)],
    ],
    ['as the user name, with an empty password', [remote(`${name}.git`, '', token)]],
    ['in the header OSF-TOKEN', ['-c', `http.extraHeader=OSF-TOKEN: ${token}`, bare]],
    ['as a bearer token', ['-c', `http.extraHeader=Authorization: Bearer ${token}`, bare]],
    [
      'as a bearer token in base64',
      [
        '-c',
        `http.extraHeader=Authorization: Bearer ${Buffer.from(token).toString('base64')}`,
        bare,
      ],
    ],
    ['as Basic sent at once', ['-c', `http.extraHeader=Authorization: Basic ${basic}`, bare]],
  ] as const) {
    const url = args.at(-1) as string
    const done = await client.run('', [...args.slice(0, -1), 'ls-remote', url])
    t.match(done.stdout, /refs\/heads\/main/, `${sentence} ${done.stderr}`)
  }
})

t.test('A repository is the same with and without .git', async (t) => {
  const { client, name, push } = await workplace(t)
  const url = remote(name, await tokenWith('source:read'))
  t.match(await client.git('', 'ls-remote', url), /refs\/heads\/main/)
  t.equal((await push(['source:read-update'], 'main')).code, 0)
})

for (const version of ['0', '1', '2']) {
  t.test(`Protocol version ${version} clones and pushes`, async (t) => {
    const { client, name } = await workplace(t)
    const url = remote(`${name}.git`, await tokenWith('source:read-update'))
    const settings = ['-c', `protocol.version=${version}`]
    await client.git('', ...settings, 'clone', '-q', url, 'clone')
    await client.git('work', ...settings, 'push', '-q', url, 'main')
  })
}

t.test('A sha256 repository clones, pushes and refuses', async (t) => {
  const { client, name, push } = await workplace(t, 'sha256')
  await client.git(
    '',
    'clone',
    '-q',
    remote(`${name}.git`, await tokenWith('source:read')),
    'clone',
  )
  const refused = await push(['source:read-update'], 'main:topic')
  t.match(refused.stderr, /! \[remote rejected\] main -> topic \(token lacks scope source:create/)
  t.equal((await push(['source:create'], 'main:topic')).code, 0)
  t.equal((await push(['source:read-update'], 'main')).code, 0)
})

t.test('A shallow clone pushes', async (t) => {
  const { client, name } = await workplace(t)
  await client.git('work', 'push', '-q', `${upstream.url}/${name}.git`, 'main')
  const url = remote(`${name}.git`, await tokenWith('source:read-update'))
  await client.git('', 'clone', '-q', '--depth=1', url, 'clone')
  await client.git('clone', 'commit', '-q', '--allow-empty', '-m', 'third')
  await client.git('clone', 'push', '-q', 'origin', 'main')
  t.equal(await upstream.git(name, 'log', '--format=%s', 'main'), 'third\nsecond\nfirst')
})

t.test('A token that is limited to a repository does not reach another', async (t) => {
  const { client, name } = await workplace(t)
  const other = await workplace(t)
  const token = await gateway.token('--scope', 'source:read', '--resource', `repository=${name}`)
  t.match(await client.git('', 'ls-remote', remote(`${name}.git`, token)), /refs\/heads\/main/)
  const refused = await client.run('', ['ls-remote', remote(`${other.name}.git`, token)])
  t.equal(refused.code, 128)
  t.match(refused.stderr, /^remote: /m)
  t.match(refused.stderr, /error: 403/)
  t.same(await other.seen(), [])
})

t.test('The git server never sees a token, and is told who pushes', async (t) => {
  const { push, name } = await workplace(t)
  t.equal((await push(['source:read-update'], 'main')).code, 0)
  const requests = (await upstream.requests()).filter(
    ({ uri, method }) => method === 'POST' && uri.startsWith(`/${name}.git/git-receive-pack`),
  )
  t.same(
    requests.slice(-1).map(({ authorization, subject }) => ({ authorization, subject })),
    [{ authorization: '', subject: 'ada' }],
  )
  t.notOk(gateway.messages().includes(await tokenWith('source:read-update')), 'nor does the log')
})

t.test(
  'A history of thousands of commits, merges and tags is the same on both sides',
  async (t) => {
    const client = createGitClient()
    t.teardown(() => client.remove())
    await upstream.createRepository('acme/large')
    await upstream.createRepository('acme/copy')
    await client.git('', 'init', '-q', '--bare', 'made')
    const stream = writeHistory()
    const made = await client.run('made', ['fast-import', '--quiet'], { input: stream })
    t.equal(made.code, 0, made.stderr)
    await client.git('made', 'push', '-q', '--mirror', `${upstream.url}/acme/large.git`)

    const read = remote('acme/large.git', await tokenWith('source:read'))
    await client.git('', 'clone', '-q', '--mirror', read, 'clone')
    t.equal(await client.git('clone', 'show-ref'), await upstream.git('acme/large', 'show-ref'))
    t.equal(await client.git('clone', 'fsck', '--strict'), '')

    const create = remote('acme/copy.git', await tokenWith('source:create'))
    const pushed = await client.run('clone', ['push', '--mirror', create])
    t.equal(pushed.code, 0, pushed.stderr)
    t.equal(await upstream.git('acme/copy', 'show-ref'), await client.git('clone', 'show-ref'))
    t.equal(await upstream.git('acme/copy', 'fsck', '--strict'), '')
    t.match(await upstream.git('acme/copy', 'rev-list', '--all', '--count'), /^40\d\d$/)
  },
)

/** A fast-import stream: 2,000 commits each on two branches with merges, a tag every 100, 2 MiB that do not compress. */
function writeHistory(): string {
  const lines: string[] = []
  const commit = (branch: string, mark: number, extra: readonly string[]): void => {
    const text = `${branch} ${mark}`
    lines.push(`commit refs/heads/${branch}`, `mark :${mark}`)
    lines.push(`committer Ada <ada@example.com> ${1_700_000_000 + mark} +0000`)
    lines.push(`data ${text.length}`, text, ...extra)
    lines.push(`M 100644 inline ${branch}/${mark % 50}.txt`, `data ${text.length}`, text, '')
  }
  commit('main', 1, [])
  lines.push('reset refs/heads/topic', 'from :1', '')
  for (let mark = 2; mark <= 4000; mark += 2) {
    commit('topic', mark, [])
    commit('main', mark + 1, mark % 40 === 0 ? [`merge :${mark}`] : [])
    if (mark % 100 === 0) {
      lines.push(`tag v${mark}`, `from :${mark + 1}`)
      lines.push('tagger Ada <ada@example.com> 1700000000 +0000', 'data 1', 'v')
    }
  }
  const noise = randomBytes(1024 * 1024).toString('hex')
  lines.push('commit refs/heads/main', 'committer Ada <ada@example.com> 1800000000 +0000')
  lines.push('data 5', 'noise', 'M 100644 inline noise', `data ${noise.length}`, noise, '')
  return lines.join('\n')
}
