// The commands as people and scripts run them: exit codes, data on stdout and messages on stderr, help, and
// what `explain` and `lint` say. `token` has a file of its own; what a running gateway does has another.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { type Finished, run } from '../servers/command.ts'
import { projectFolder } from '../servers/gateway.ts'
import { makeFolder, removeFolder } from '../servers/lifetime.ts'

const cli = join(projectFolder, 'gateway', 'main.js')
const foundries = join(projectFolder, 'config', 'routes', 'foundries.yaml')

const folder = makeFolder('commands')
t.teardown(() => removeFolder(folder))
const config = write(
  'gateway.yaml',
  JSON.stringify({
    version: 1,
    include: [foundries],
    tokens: { authority: 'sqlite:var/tokens.db' },
    upstreams: Object.fromEntries(
      ['api', 'git', 'hub'].map((name) => [name, { url: 'http://127.0.0.1:9' }]),
    ),
    scopes: { 'extra:one': 'One', 'extra:two': 'Two' },
    routes: [
      {
        name: 'any',
        path: '/any/',
        upstream: 'api',
        allow: { GET: { any: ['extra:one', 'extra:two'] } },
      },
      {
        name: 'both',
        path: '/both/',
        upstream: 'api',
        allow: { GET: { all: ['extra:one', 'extra:two'] } },
      },
      { name: 'open', path: '/open/', upstream: 'api', allow: 'public' },
      { name: 'optional', path: '/optional/', upstream: 'api', allow: 'optional' },
      { name: 'member', path: '/member/', upstream: 'api', allow: 'authenticated' },
      { name: 'paths', path: '/arvados/{rest...}', upstream: 'api', allow: 'path-scope' },
      { name: 'elsewhere', host: 'x.example.com', path: '/any/', upstream: 'api', allow: 'public' },
    ],
  }),
)

function write(name: string, text: string): string {
  const file = join(folder, name)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
  return file
}

const compileCache = join(projectFolder, 'node_modules', '.cache', 'compile')

/** Runs a command in the folder of the configuration. What it says has no terminal's colours in it. */
async function scopegate(
  t: Test,
  args: readonly string[],
  options: { input?: string; env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<Finished> {
  const env = { NODE_COMPILE_CACHE: compileCache, HOME: folder, ...options.env }
  const done = await run(process.execPath, [cli, ...args], { cwd: folder, ...options, env })
  t.notOk(`${done.stdout}${done.stderr}`.includes('\x1b'), 'no colours')
  t.notMatch(done.stderr, /^ +at /m, 'no stack trace')
  return done
}

for (const command of [
  [],
  ['serve'],
  ['lint'],
  ['explain'],
  ['version'],
  ['token'],
  ...['create', 'list', 'show', 'revoke'].map((name) => ['token', name]),
]) {
  const name = ['scopegate', ...command].join(' ')
  t.test(`\`${name} --help\` says how to use it, on stdout, and is 0`, async (t) => {
    const { code, stdout, stderr } = await scopegate(t, [...command, '--help'])
    t.equal(code, 0)
    t.match(stdout, new RegExp(`^Usage: ${name} .*\\n\\n\\S`))
    t.equal(stderr, '')
  })
}

t.test('Help names every command that there is', async (t) => {
  const { stdout } = await scopegate(t, ['--help'])
  for (const name of ['serve', 'lint', 'explain', 'token', 'version']) {
    t.match(stdout, new RegExp(`^ +${name}\\b`, 'm'))
  }
})

for (const [sentence, args, says] of [
  ['no command', [], /Usage: scopegate/],
  ['an unknown command', ['sreve'], /sreve/],
  ['an unknown option', ['serve', '--confg', 'x'], /--confg/],
  ['more arguments than there are', ['serve', 'x'], /argument/],
  ['lint of nothing', ['lint'], /file/],
  ['explain without a URL', ['explain', '--scope', 'ci:read', 'GET'], /url/],
  [
    'explain of a token and of scopes',
    ['explain', '--token', 'x', '--scope', 'ci:read', 'GET', '/'],
    /--token.*--scope/,
  ],
  [
    'explain of a ref without a change',
    ['explain', '--scope', 'ci:read', '--ref', 'refs/heads/main', 'GET', '/'],
    /--change/,
  ],
  [
    'explain of a change that does not exist',
    ['explain', '--scope', 'ci:read', '--ref', 'x', '--change', 'rewrite', 'GET', '/'],
    /create, update, delete, force/,
  ],
  [
    'explain of an undeclared scope',
    ['explain', '--config', config, '--scope', 'ci:raed', 'GET', '/'],
    /ci:raed.*ci:read/,
  ],
  ['a token command that does not exist', ['token', 'crate'], /crate/],
] as [string, string[], RegExp][]) {
  t.test(`Usage: ${sentence} is 2, and stderr says why`, async (t) => {
    const { code, stdout, stderr } = await scopegate(t, args)
    t.equal(code, 2)
    t.match(stderr, says)
    t.equal(stdout, '')
  })
}

t.test('`version` prints the version of package.json alone', async (t) => {
  const { version } = JSON.parse(readFileSync(join(projectFolder, 'package.json'), 'utf8'))
  for (const args of [['version'], ['--version']]) {
    const { code, stdout, stderr } = await scopegate(t, args)
    t.same({ code, stdout, stderr }, { code: 0, stdout: `${version}\n`, stderr: '' })
  }
})

t.test('`serve --check` of a good configuration is 0, and starts and makes nothing', async (t) => {
  const { code, stdout, stderr } = await scopegate(t, ['serve', '--check', '--config', config])
  t.equal(code, 0)
  t.equal(stdout, '')
  t.match(stderr, /gateway\.yaml/)
  t.notOk(existsSync(join(folder, 'var')))
})

t.test(
  '`serve --check` of a bad configuration is 78, with every complaint on stderr',
  async (t) => {
    const file = write('bad.yaml', 'version: 1\nlisten: { prot: 1 }\nroutes: 7\n')
    const { code, stdout, stderr } = await scopegate(t, ['serve', '--check', '--config', file])
    t.equal(code, 78)
    t.equal(stdout, '')
    t.match(stderr, /^.*bad\.yaml:2:11: .*prot/m)
    t.match(stderr, /^.*bad\.yaml:3:\d+: .*routes/m)
  },
)

t.test('Every command that reads a bad configuration is 78', async (t) => {
  const file = write('worse.yaml', 'version: 2\n')
  for (const args of [
    ['explain', '--scope', 'ci:read', 'GET', '/'],
    ['token', 'list'],
  ]) {
    const { code, stdout, stderr } = await scopegate(t, [...args, '--config', file])
    t.equal(code, 78)
    t.equal(stdout, '')
    t.match(stderr, /^.*worse\.yaml:1:10: .*version/m)
  }
})

t.test('SCOPEGATE_CONFIG stands in for `--config`', async (t) => {
  const env = { SCOPEGATE_CONFIG: config }
  const { code } = await scopegate(t, ['explain', '--scope', 'extra:one', 'GET', '/any/'], { env })
  t.equal(code, 0)
})

t.test('The default configuration is config/gateway.yaml, and it is good', async (t) => {
  const { code, stderr } = await scopegate(t, ['serve', '--check'], { cwd: projectFolder })
  t.equal(code, 0)
  t.match(stderr, /config\/gateway\.yaml/)
})

/** The judgement on a request that needs `required`, in full. */
type Judgement = {
  readonly outcome: 'permit' | 'deny'
  readonly status: number
  readonly route: string | null
  readonly path: string | null
  readonly required: readonly string[]
  readonly granted: readonly string[]
  readonly reason: string
  readonly suggest: readonly string[]
}

async function explained(
  t: Test,
  args: readonly string[],
  input = '',
): Promise<{ code: number; judgement: Judgement }> {
  const all = ['explain', '--config', config, '--json', ...args]
  const { code, stdout, stderr } = await scopegate(t, all, { input })
  t.equal(stderr, '', 'stderr is empty')
  t.match(stdout, /^\{.*\}\n$/s, 'one JSON text')
  return { code, judgement: JSON.parse(stdout) }
}

const push = ['POST', 'http://localhost/acme/hello.git/git-receive-pack']
const mount = ['POST', '/v2/acme/app/blobs/uploads/?mount=sha256:ab&from=acme/base']
const main = ['--ref', 'refs/heads/main', '--change']

for (const [sentence, args, expected] of [
  [
    'a permitted request',
    ['--scope', 'devices:read', 'GET', 'http://localhost:8080/ota/devices/?factory=acme'],
    {
      outcome: 'permit',
      status: 200,
      route: 'devices',
      path: '/ota/devices/',
      required: ['devices:read'],
      granted: ['devices:read'],
      reason: 'permitted',
      suggest: [],
    },
  ],
  [
    'a request that lacks its scope',
    ['--scope', 'devices:read,ci:read', '--scope', 'targets:read', 'DELETE', '/ota/devices/d1/'],
    {
      outcome: 'deny',
      status: 403,
      route: 'device',
      path: '/ota/devices/d1/',
      required: ['devices:delete'],
      granted: ['devices:read', 'ci:read', 'targets:read'],
      reason: 'insufficient_scope',
      suggest: ['devices:delete'],
    },
  ],
  [
    'the narrowest scope, not one that implies it',
    ['--scope', 'ci:read', 'GET', '/ota/devices'],
    {
      outcome: 'deny',
      status: 403,
      route: 'devices',
      path: '/ota/devices',
      required: ['devices:read'],
      granted: ['ci:read'],
      reason: 'insufficient_scope',
      suggest: ['devices:read'],
    },
  ],
  [
    'a route that no pattern is',
    ['--scope', 'all', 'GET', '/nowhere'],
    {
      outcome: 'deny',
      status: 404,
      route: null,
      path: '/nowhere',
      required: [],
      granted: ['all'],
      reason: 'no_route',
      suggest: [],
    },
  ],
  [
    'a method that the route does not have',
    ['--scope', 'all', 'PATCH', '/ota/devices/d1/'],
    {
      outcome: 'deny',
      status: 405,
      route: 'device',
      path: '/ota/devices/d1/',
      required: [],
      granted: ['all'],
      reason: 'method_not_allowed',
      suggest: [],
    },
  ],
  [
    'a path that is refused',
    ['--scope', 'all', 'GET', '/ota/../devices/'],
    {
      outcome: 'deny',
      status: 400,
      reason: 'bad_target',
      granted: ['all'],
      required: [],
      suggest: [],
    },
  ],
  [
    'a path that keeps its escapes',
    ['--scope', 'ci:read', 'GET', '/projects/acme/lmp/%C3%A9?x=%2F'],
    {
      outcome: 'permit',
      status: 200,
      route: 'ci',
      path: '/projects/acme/lmp/%C3%A9',
      reason: 'permitted',
    },
  ],
  [
    'any of two scopes, both of which would do',
    ['--scope', 'ci:read', 'GET', '/any/'],
    {
      outcome: 'deny',
      status: 403,
      route: 'any',
      required: ['extra:one', 'extra:two'],
      reason: 'insufficient_scope',
    },
  ],
  [
    'all of two scopes, of which one is there',
    ['--scope', 'extra:one', 'GET', '/both/'],
    {
      outcome: 'deny',
      status: 403,
      route: 'both',
      required: ['extra:one', 'extra:two'],
      reason: 'insufficient_scope',
    },
  ],
  [
    'a public route',
    ['--scope', 'ci:read', 'GET', '/open/'],
    { outcome: 'permit', status: 200, route: 'open', required: [] },
  ],
  [
    'a route of a host',
    ['--scope', 'ci:read', 'GET', 'http://X.example.com:8080/any/'],
    { outcome: 'permit', status: 200, route: 'elsewhere', path: '/any/' },
  ],
  [
    'a host that has routes of its own and not this one',
    ['--scope', 'all', 'GET', 'http://x.example.com/ota/devices/'],
    { outcome: 'deny', status: 404, route: null, reason: 'no_route' },
  ],
  [
    'path scopes, which do not',
    ['--scope', 'GET /arvados/v1/groups', 'POST', '/arvados/v1/groups'],
    {
      outcome: 'deny',
      status: 403,
      route: 'paths',
      required: ['POST /arvados/v1/groups'],
      reason: 'insufficient_scope',
      suggest: ['POST /arvados/v1/groups'],
    },
  ],
  [
    'an update of a branch',
    ['--scope', 'source:read-update', ...main, 'update', ...push],
    {
      outcome: 'permit',
      status: 200,
      route: 'source',
      required: ['source:read-update', 'source:delete'],
    },
  ],
  [
    'a forced update of a branch',
    ['--scope', 'source:read-update', ...main, 'force', ...push],
    {
      outcome: 'deny',
      status: 403,
      route: 'source',
      path: '/acme/hello.git/git-receive-pack',
      required: ['source:delete'],
      granted: ['source:read-update'],
      reason: 'insufficient_scope',
      suggest: ['source:delete'],
    },
  ],
  [
    'the creation of a tag',
    ['--scope', 'source:read-update', '--ref', 'refs/tags/v1', '--change', 'create', ...push],
    { outcome: 'deny', required: ['source:create'], suggest: ['source:create'] },
  ],
  [
    'a fast-forward by one that may only force',
    ['--scope', 'source:delete', ...main, 'update', ...push],
    { outcome: 'permit', status: 200 },
  ],
  [
    'a move of a tag, which is force',
    ['--scope', 'source:read-update', '--ref', 'refs/tags/v1', '--change', 'update', ...push],
    { outcome: 'deny', required: ['source:delete'], suggest: ['source:delete'] },
  ],
  [
    'a ref that the route does not cover',
    ['--scope', 'all', '--ref', 'refs/pull/1/head', '--change', 'update', ...push],
    { outcome: 'deny', status: 403, route: 'source', suggest: [] },
  ],
  [
    'a mount, which is a push and a pull',
    ['--scope', 'containers:read-update', '--mount-from', 'acme/base', ...mount],
    {
      outcome: 'permit',
      status: 200,
      route: 'containers',
      path: '/v2/acme/app/blobs/uploads/',
      required: ['containers:read-update', 'containers:read'],
    },
  ],
  [
    'a mount by one that may pull only',
    ['--scope', 'containers:read', '--mount-from', 'acme/base', ...mount],
    {
      outcome: 'deny',
      status: 403,
      reason: 'insufficient_scope',
      suggest: ['containers:read-update'],
    },
  ],
] as [string, string[], Partial<Judgement>][]) {
  t.test(`explain --json: ${sentence}`, async (t) => {
    const { code, judgement } = await explained(t, args)
    t.same({ ...judgement, ...expected }, judgement)
    t.equal(code, expected.outcome === 'permit' ? 0 : 1)
    const shape = ['outcome', 'status', 'route', 'path', 'required', 'granted', 'reason', 'suggest']
    t.same(Object.keys(judgement), shape)
  })
}

t.test(
  'explain in words: outcome, route, path, what it needs and has, and what would do',
  async (t) => {
    const args = [
      'explain',
      '--config',
      config,
      '--scope',
      'devices:read',
      'DELETE',
      '/ota/devices/d1/?x=1',
    ]
    const { code, stdout, stderr } = await scopegate(t, args)
    t.equal(code, 1)
    t.equal(stderr, '')
    t.match(stdout, /^deny\b.*403.*insufficient_scope/)
    t.match(stdout, /route +device$/m)
    t.match(stdout, /DELETE \/ota\/devices\/d1\/$/m)
    t.match(stdout, /needs +devices:delete$/m)
    t.match(stdout, /has +devices:read$/m)
    t.match(stdout, /suggest.*devices:delete$/m)
    const permitted = await scopegate(t, [
      'explain',
      '--config',
      config,
      '--scope',
      'devices:read',
      'GET',
      '/ota/devices/d1/',
    ])
    t.equal(permitted.code, 0)
    t.match(permitted.stdout, /^permit\b/)
    t.notMatch(permitted.stdout, /suggest/)
  },
)

t.test('explain of a token: its scopes, limits and state decide', async (t) => {
  const make = ['token', 'create', '--config', config, '--subject', 'ada', '--json']
  const made = await scopegate(t, [...make, '--scope', 'all', '--resource', 'repository=acme/app'])
  const { token, id } = JSON.parse(made.stdout)
  const given = await explained(t, ['--token', token, 'GET', '/v2/acme/app/manifests/x'])
  t.match(given, { code: 0, judgement: { outcome: 'permit', granted: ['all'] } })
  const piped = await explained(
    t,
    ['--token', '-', 'GET', '/v2/acme/base/manifests/x'],
    `${token}\n`,
  )
  const refused = { outcome: 'deny', status: 403, reason: 'resource_not_allowed', suggest: [] }
  t.match(piped, { code: 1, judgement: refused })
  const mounted = await explained(t, ['--token', token, '--mount-from', 'acme/base', ...mount])
  t.match(mounted, { code: 1, judgement: refused })

  await scopegate(t, ['token', 'revoke', '--config', config, id])
  const inactive = { outcome: 'deny', status: 401, reason: 'invalid_token' }
  const revoked = await explained(t, ['--token', token, 'GET', '/ota/devices/'])
  t.match(revoked, {
    code: 1,
    judgement: {
      ...inactive,
      route: 'devices',
      path: '/ota/devices/',
      required: ['devices:read'],
      granted: ['all'],
    },
  })
  const words = await scopegate(t, [
    'explain',
    '--config',
    config,
    '--token',
    token,
    'GET',
    '/ota/devices/',
  ])
  t.equal(words.code, 1)
  t.match(words.stdout, /^deny\b.*401.*invalid_token/)
  t.match(words.stdout, /token revoked on \d{4}-/)
  t.equal(
    (await explained(t, ['--token', token, 'GET', '/open/'])).code,
    0,
    'public: not looked at',
  )
  t.match(await explained(t, ['--token', token, 'GET', '/optional/']), {
    code: 1,
    judgement: inactive,
  })
})

t.test('explain of an unknown token is a denial like any other', async (t) => {
  const { code, judgement } = await explained(t, ['--token', 'nobodys', 'GET', '/ota/devices/'])
  t.equal(code, 1)
  t.match(judgement, {
    outcome: 'deny',
    status: 401,
    reason: 'invalid_token',
    route: 'devices',
    granted: [],
  })
  const elsewhere = await explained(t, ['--token', 'nobodys', 'GET', '/nowhere'])
  t.match(elsewhere.judgement, { status: 404, reason: 'no_route' })
})

t.test('lint of good files is 0, and shows every route with its scopes', async (t) => {
  const { code, stdout, stderr } = await scopegate(t, ['lint', config])
  t.equal(code, 0)
  t.equal(stderr, '')
  for (const row of [
    /^device +\/ota\/devices\/\{device\}\/ +GET +devices:read$/m,
    /^ +DELETE +devices:delete$/m,
    /^source .*fetch +source:read$/m,
    /^ +force +source:delete$/m,
    /^containers .*pull +containers:read$/m,
    /^any .*extra:one or extra:two$/m,
    /^both .*extra:one and extra:two$/m,
    /^open .*public$/m,
    /x\.example\.com/,
  ]) {
    t.match(stdout, row)
  }
})

t.test('lint takes upstream names as given in a file without `upstreams`', async (t) => {
  const { code, stdout } = await scopegate(t, ['lint', foundries])
  t.equal(code, 0)
  t.match(stdout, /^targets .*targets:read/m)
})

t.test('The configuration that the product brings has no complaint and no warning', async (t) => {
  const { code, stdout } = await scopegate(t, [
    'lint',
    join(projectFolder, 'config', 'gateway.yaml'),
  ])
  t.equal(code, 0)
  t.notMatch(stdout, /^\S+:\d+:\d+: /m)
})

const upstreams = `version: 1
upstreams: { api: { url: http://127.0.0.1:9 } }
scopes: { a:read: Read }
`

/** What is wrong in the lines from the fourth on, and what is said of it. */
const badFiles: [sentence: string, text: string, ...complaints: RegExp[]][] = [
  ['an unknown key', 'surprise: 1', /^4:1: .*surprise/],
  ['a key that is nearly right', 'rotues: []', /^4:1: .*rotues.*routes/],
  ['an undeclared scope', route('api', '{ GET: a:raed }'), /^5:\d+: .*a:raed.*a:read/],
  ['an unknown upstream', route('apy', 'a:read'), /^5:\d+: .*apy.*api/],
  [
    'routes that tie',
    `${route('api', 'a:read', '/a/{x}')}\n  - { path: '/a/{y}', upstream: api, allow: a:read }`,
    /^6:\d+: .*\/a\/\{x\}/,
  ],
  ['an empty list of scopes', route('api', '{ GET: { any: [] } }'), /^5:\d+: .*any/],
  [
    'an example that does not come out',
    route('api', 'a:read, examples: [ GET /a/ with a:read -> 403 ]'),
    /^5:\d+: .*403.*200/,
  ],
  ['a variable that is not set', route('api', 'a:read', '/\u0024{NOT_SET}/'), /^5:\d+: .*NOT_SET/],
  [
    'an authority that is not there yet',
    'tokens: { authority: "postgres://x/y" }',
    /^4:\d+: .*not in this version/,
  ],
  [
    'a built-in service',
    'routes:\n  - { path: /a/, service: tokens, allow: a:read }',
    /^5:\d+: .*not in this version/,
  ],
  ['a listener with TLS', 'listen: { tls: { cert: a, key: b } }', /^4:\d+: .*not in this version/],
  ['what is not YAML', 'routes: [', /^\d+:\d+: \S/],
  [
    'several things',
    `listen: { port: 70000 }\nserver: { wrokers: 1 }\n${route('apy', 'b:read', 'a')}`,
    ...[/^4:17: .*65535/, /^5:11: .*wrokers/, /^7:\d+: .*apy/, /^7:\d+: .*b:read/],
  ],
]

function route(upstream: string, allow: string, path = '/a/'): string {
  return `routes:\n  - { path: '${path}', upstream: ${upstream}, allow: ${allow} }`
}

t.test('lint of bad files is 78, with every complaint of each on stdout', async (t) => {
  const names = badFiles.map((_, index) => `bad${index}.yaml`)
  for (const [index, [, text]] of badFiles.entries()) {
    write(`bad${index}.yaml`, `${upstreams}${text}\n`)
  }
  const { code, stdout, stderr } = await scopegate(t, ['lint', ...names])
  t.equal(code, 78)
  t.equal(stderr, '')
  const lines = stdout.trimEnd().split('\n')
  for (const line of lines) t.match(line, /^bad\d+\.yaml:[1-9]\d*:[1-9]\d*: \S/)
  for (const [index, [sentence, , ...complaints]] of badFiles.entries()) {
    const name = `bad${index}.yaml:`
    const own = lines.filter((line) => line.startsWith(name)).map((line) => line.slice(name.length))
    for (const complaint of complaints) {
      const said = own.some((line) => complaint.test(line))
      t.ok(said, `${sentence}: ${complaint} in ${own.join(' | ')}`)
    }
  }
})

t.test('lint of the same key in two files names both places', async (t) => {
  write('one.yaml', 'version: 1\ninclude: two.yaml\nlisten: { port: 1 }\n')
  write('two.yaml', 'version: 1\nlisten: { port: 2 }\n')
  const { code, stdout } = await scopegate(t, ['lint', 'one.yaml'])
  t.equal(code, 78)
  t.match(stdout, /one\.yaml:3:17/)
  t.match(stdout, /two\.yaml:2:17/)
})

t.test('A warning of lint is shown, and is no failure', async (t) => {
  const routes =
    'routes:\n  - { path: "/admin/{x}", upstream: api, allow: a:admin }\n  - { path: "/{rest...}", upstream: api, allow: a:read }\n'
  write('warned.yaml', upstreams.replace('a:read: Read', 'a:read: Read, a:admin: Rule') + routes)
  const { code, stdout, stderr } = await scopegate(t, ['lint', 'warned.yaml'])
  t.equal(code, 0)
  t.equal(stderr, '')
  t.match(stdout, /^warned\.yaml:\d+:\d+: warning: .*fallthrough/m)
  t.match(stdout, /a:admin$/m, 'the table is there too')
})

t.test('lint of a file that is not there is 78, and names it', async (t) => {
  const { code, stdout, stderr } = await scopegate(t, ['lint', 'nowhere.yaml'])
  t.equal(code, 78)
  t.match(stdout + stderr, /nowhere\.yaml/)
})
