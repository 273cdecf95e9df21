// The REST rows of the Foundries scope table from outside: every scope by itself, everything but what
// suffices, resource limits, and the ways in which Foundries' clients send the token. Of what is refused
// the upstream must not have seen a byte. Git and the registry have files of their own.

import { join } from 'node:path'
import t from 'tap'
import { request } from 'undici'
import { type Gateway, projectFolder, startGateway } from '../servers/gateway.ts'
import { type Recorder, startRecorder } from '../servers/recorder.ts'

const api: Recorder = await startRecorder()
const nowhere = 'http://127.0.0.1:9'
const gateway: Gateway = await startGateway({
  include: [join(projectFolder, 'config', 'routes', 'foundries.yaml')],
  upstreams: { api: { url: api.url }, git: { url: nowhere }, hub: { url: nowhere } },
})
t.teardown(async () => {
  await gateway.stop()
  await api.stop()
})

const restScopes = [
  ...['devices:read', 'devices:read-update', 'devices:create', 'devices:delete'],
  ...['ci:read', 'ci:read-update', 'targets:read', 'targets:read-update'],
]
const everyScope = [
  ...['source:read', 'source:read-update', 'source:create', 'source:delete'],
  ...['containers:read', 'containers:read-update', 'containers:delete'],
  ...restScopes,
]
const tokens = new Map<string, Promise<string>>()

/** A token with these arguments of `token create`, made once. */
function tokenWith(scopes: readonly string[], ...args: readonly string[]): Promise<string> {
  const all = ['--subject', 'ada', '--scope', scopes.join(), ...args]
  const made = tokens.get(all.join(' ')) ?? gateway.token(...all)
  tokens.set(all.join(' '), made)
  return made
}

type Answer = {
  readonly status: number
  readonly fields: Record<string, string | string[] | undefined>
  readonly body: string
}

async function ask(
  method: string,
  target: string,
  fields: Record<string, string>,
): Promise<Answer> {
  const body = ['POST', 'PUT', 'PATCH'].includes(method) ? '{"name":"value"}' : null
  const type: Record<string, string> = body === null ? {} : { 'content-type': 'application/json' }
  const reply = await request(`${gateway.url}${target}`, {
    method,
    headers: { ...type, ...fields },
    body,
  })
  return { status: reply.statusCode, fields: reply.headers, body: await reply.body.text() }
}

async function askWith(token: string, method: string, target: string): Promise<Answer> {
  return ask(method, target, { 'OSF-TOKEN': token })
}

/** What arrived at the upstream since the last call, as `GET /path`. */
function arrivals(): () => string[] {
  let seen = api.requests.length
  return () => {
    const fresh = api.requests.slice(seen).map(({ method, target }) => `${method} ${target}`)
    seen += fresh.length
    return fresh
  }
}

const readDevices = ['devices:read', 'devices:read-update']
const changeDevices = ['devices:read-update']
const readCi = ['ci:read', 'ci:read-update']
const readTargets = ['targets:read', 'targets:read-update']
const changeTargets = ['targets:read-update']

for (const [sentence, method, target, ...suffices] of [
  ['list devices', 'GET', '/ota/devices/', ...readDevices],
  ['list devices without the slash', 'GET', '/ota/devices', ...readDevices],
  ['list the devices of a factory', 'GET', '/ota/devices/?factory=acme', ...readDevices],
  ['ask whether devices can be listed', 'HEAD', '/ota/devices/', ...readDevices],
  ['register a device', 'POST', '/ota/devices/', 'devices:create'],
  ['see a device', 'GET', '/ota/devices/d1/', ...readDevices],
  ['see whether a device exists', 'HEAD', '/ota/devices/d1/', ...readDevices],
  ['remove a device', 'DELETE', '/ota/devices/d1/', 'devices:delete'],
  ['remove a device without the slash', 'DELETE', '/ota/devices/d1', 'devices:delete'],
  ['see the updates of a device', 'GET', '/ota/devices/d1/updates/', ...readDevices],
  ['see one update of a device', 'GET', '/ota/devices/d1/updates/u1/', ...readDevices],
  ['see the configuration of a device', 'GET', '/ota/devices/d1/config/', ...readDevices],
  ['add to the configuration', 'POST', '/ota/devices/d1/config/', ...changeDevices],
  ['replace the configuration', 'PUT', '/ota/devices/d1/config/', ...changeDevices],
  ['change the configuration', 'PATCH', '/ota/devices/d1/config/', ...changeDevices],
  ['drop the configuration', 'DELETE', '/ota/devices/d1/config/', ...changeDevices],
  ['see a factory in CI', 'GET', '/projects/acme/lmp/', ...readCi],
  ['see builds', 'GET', '/projects/acme/lmp/builds/', ...readCi],
  ['see a run of a build', 'GET', '/projects/acme/lmp/builds/7/runs/a/console.log', ...readCi],
  ['start a build', 'POST', '/projects/acme/lmp/builds/', 'ci:read-update'],
  ['see targets', 'GET', '/ota/factories/acme/targets/', ...readTargets],
  ['add targets', 'POST', '/ota/factories/acme/targets/', ...changeTargets],
  ['replace targets', 'PUT', '/ota/factories/acme/targets/', ...changeTargets],
  ['change targets', 'PATCH', '/ota/factories/acme/targets/', ...changeTargets],
  ['remove targets', 'DELETE', '/ota/factories/acme/targets/', ...changeTargets],
] as [string, string, string, ...string[]][]) {
  t.test(`To ${sentence}, ${suffices.join(' or ')} suffices, alone`, async (t) => {
    const arrived = arrivals()
    for (const scope of suffices) {
      const { status } = await askWith(await tokenWith([scope]), method, target)
      t.equal(status, 200, `${method} ${target} with ${scope}`)
    }
    t.same(arrived(), Array(suffices.length).fill(`${method} ${target}`), 'sent on as received')
  })

  t.test(`To ${sentence}, no other scope suffices, nor do all others together`, async (t) => {
    const arrived = arrivals()
    const isShort = (scope: string) => !suffices.includes(scope)
    const alone = restScopes.filter(isShort).map((scope) => [scope])
    for (const held of [...alone, everyScope.filter(isShort)]) {
      const answer = await askWith(await tokenWith(held), method, target)
      t.equal(answer.status, 403, `${method} ${target} with ${held}`)
      const challenge = `error="insufficient_scope".* scope="${suffices[0]}"`
      t.match(answer.fields['www-authenticate'], new RegExp(`^Bearer .*${challenge}`))
      if (method === 'HEAD') continue
      const problem = JSON.parse(answer.body)
      t.match(problem, { status: 403, code: 'insufficient_scope', granted: held })
      t.ok(problem.required.includes(suffices[0]), 'names what would suffice')
    }
    await askWith(await tokenWith([suffices[0] as string]), method, target)
    t.same(arrived(), [`${method} ${target}`], 'the upstream saw the permitted one alone')
  })
}

t.test('Without a token, or with an unknown one, every row is 401', async (t) => {
  const arrived = arrivals()
  for (const target of ['/ota/devices/', '/projects/acme/lmp/', '/ota/factories/acme/targets/']) {
    const bare = await ask('GET', target, {})
    t.equal(bare.status, 401)
    t.equal(bare.fields['www-authenticate'], 'Bearer realm="scopegate"')
    t.match(JSON.parse(bare.body), { code: 'token_required', status: 401 })
    const unknown = await askWith('not-a-token', 'GET', target)
    t.equal(unknown.status, 401)
    t.match(unknown.fields['www-authenticate'], /^Bearer realm="scopegate".*error="invalid_token"/)
    t.match(JSON.parse(unknown.body), { code: 'invalid_token' })
  }
  t.same(arrived(), [])
})

t.test(
  'A method that a row does not name is 405 and says which are, whatever the token',
  async (t) => {
    const arrived = arrivals()
    const token = await tokenWith(['all'])
    for (const [method, target, allow] of [
      ['PUT', '/ota/devices/', 'GET, HEAD, POST'],
      ['PATCH', '/ota/devices/d1/', 'DELETE, GET, HEAD'],
      ['POST', '/ota/devices/d1/updates/', 'GET, HEAD'],
      ['POST', '/projects/acme/lmp/', 'GET, HEAD'],
      ['DELETE', '/projects/acme/lmp/builds/', 'GET, HEAD, POST'],
      ['POST', '/projects/acme/lmp/builds/7/', 'GET, HEAD'],
      ['OPTIONS', '/ota/devices/', 'GET, HEAD, POST'],
    ] as const) {
      const { status, fields } = await askWith(token, method, target)
      t.equal(status, 405, `${method} ${target}`)
      t.equal(String(fields.allow).split(', ').sort().join(', '), allow)
    }
    t.same(arrived(), [])
  },
)

t.test('What no row names is 404, whatever the token', async (t) => {
  const arrived = arrivals()
  const token = await tokenWith(['all'])
  for (const target of [
    '/',
    '/ota/',
    '/ota/factories/acme/',
    '/projects/acme/',
    '/ota/devicesx/',
  ]) {
    t.equal((await askWith(token, 'GET', target)).status, 404, target)
  }
  t.same(arrived(), [])
})

for (const [sentence, method, target, outcome] of [
  ['CI of its factory', 'GET', '/projects/acme/lmp/', 200],
  ['builds of its factory', 'POST', '/projects/acme/lmp/builds/', 200],
  ['CI of another factory', 'GET', '/projects/globex/lmp/', 403],
  ['builds of another factory', 'POST', '/projects/globex/lmp/builds/', 403],
  ['a factory whose name differs in case', 'GET', '/projects/ACME/lmp/', 403],
  ['a factory whose name begins the same', 'GET', '/projects/acme2/lmp/', 403],
  ['its factory, escaped', 'GET', '/projects/%61cme/lmp/', 400],
  ['targets of its factory', 'PUT', '/ota/factories/acme/targets/', 200],
  ['targets of another factory', 'GET', '/ota/factories/globex/targets/', 403],
  ['the devices of its factory', 'GET', '/ota/devices/?factory=acme', 200],
  ['the devices of its factory, by HEAD', 'HEAD', '/ota/devices/?limit=5&factory=acme', 200],
  ['the devices of another factory', 'GET', '/ota/devices/?factory=globex', 403],
  ['the devices of two factories', 'GET', '/ota/devices/?factory=acme&factory=globex', 403],
  ['the devices of its factory, twice', 'GET', '/ota/devices/?factory=acme&factory=acme', 403],
  ['a second factory with an escaped name', 'GET', '/ota/devices/?factory=acme&f%61ctory=b', 403],
  ['the devices of its factory, with an escaped name', 'GET', '/ota/devices/?f%61ctory=acme', 403],
  ['the devices of every factory', 'GET', '/ota/devices/', 403],
  ['the devices of no factory', 'GET', '/ota/devices/?factory=', 403],
  ['registering a device, which a query does not bind', 'POST', '/ota/devices/?factory=acme', 403],
  ['one device, of which no factory is known', 'GET', '/ota/devices/d1/?factory=acme', 403],
] as const) {
  const verdict = outcome === 200 ? 'permitted' : 'refused'
  t.test(`Limited to factory=acme: ${sentence} is ${verdict}`, async (t) => {
    const arrived = arrivals()
    const token = await tokenWith(['all'], '--resource', 'factory=acme')
    const answer = await askWith(token, method, target)
    t.equal(answer.status, outcome, `${method} ${target}`)
    if (outcome === 403) t.match(JSON.parse(answer.body), { code: 'resource_not_allowed' })
    // A request that is permitted passes behind it: nothing can be on its way any more.
    await askWith(token, 'GET', '/projects/acme/lmp/barrier')
    const passed = outcome === 200 ? [`${method} ${target}`] : []
    t.same(arrived(), [...passed, 'GET /projects/acme/lmp/barrier'])
  })
}

t.test('A limit narrows and never widens: the scope is needed all the same', async (t) => {
  const token = await tokenWith(['devices:read'], '--resource', 'factory=acme')
  t.equal((await askWith(token, 'GET', '/ota/devices/?factory=acme')).status, 200)
  t.equal((await askWith(token, 'GET', '/projects/acme/lmp/')).status, 403)
})

t.test('A limit may name several factories, and patterns of them', async (t) => {
  const token = await tokenWith(['ci:read'], '--resource', 'factory=acme,glob*')
  for (const [factory, status] of [
    ['acme', 200],
    ['globex', 200],
    ['glob', 200],
    ['initech', 403],
  ] as const) {
    t.equal((await askWith(token, 'GET', `/projects/${factory}/lmp/`)).status, status, factory)
  }
})

t.test('A limit by a key that a route does not know is a denial', async (t) => {
  const token = await tokenWith(['all'], '--resource', 'factory=acme', '--resource', 'device=d1')
  t.equal((await askWith(token, 'GET', '/projects/acme/lmp/')).status, 403)
  t.equal((await askWith(token, 'GET', '/ota/devices/d1/')).status, 403)
})

const base64 = (text: string): string => Buffer.from(text).toString('base64')

for (const [sentence, carry] of [
  ['OSF-TOKEN: T', (token) => ({ 'OSF-TOKEN': token })],
  ['osf-token: T', (token) => ({ 'osf-token': token })],
  ['X-Auth-Token: T', (token) => ({ 'X-Auth-Token': token })],
  ['Authorization: Bearer T', (token) => ({ Authorization: `Bearer ${token}` })],
  ['Authorization: bearer T', (token) => ({ authorization: `bearer ${token}` })],
  ['Authorization: Bearer base64(T)', (token) => ({ Authorization: `Bearer ${base64(token)}` })],
  ['Authorization: OAuth2 T', (token) => ({ Authorization: `OAuth2 ${token}` })],
  [
    'Authorization: basic base64(T), without a colon',
    (token) => ({ Authorization: `basic ${base64(token)}` }),
  ],
  ['Basic user:T', (token) => ({ Authorization: `Basic ${base64(`user:${token}`)}` })],
  ['Basic :T', (token) => ({ Authorization: `Basic ${base64(`:${token}`)}` })],
  ['Basic T:', (token) => ({ Authorization: `Basic ${base64(`${token}:`)}` })],
  [
    'Basic T:x-oauth-basic',
    (token) => ({ Authorization: `Basic ${base64(`${token}:x-oauth-basic`)}` }),
  ],
  [
    'the same token in two carriers',
    (token) => ({ 'OSF-TOKEN': token, Authorization: `Bearer ${token}` }),
  ],
] as [string, (token: string) => Record<string, string>][]) {
  t.test(`${sentence}: is understood, decided by, and goes no further`, async (t) => {
    const good = await tokenWith(['devices:read'])
    const bad = await tokenWith(['devices:create'])
    const before = api.requests.length
    t.equal((await ask('GET', '/ota/devices/', carry(bad))).status, 403)
    t.equal((await ask('GET', '/ota/devices/', carry(good))).status, 200)
    t.equal(api.requests.length, before + 1)
    const seen = api.requests.at(-1)
    t.same(
      ['osf-token', 'x-auth-token', 'authorization'].flatMap((n) => seen?.values(n)),
      [],
    )
    t.notOk(seen?.head.includes(good), 'the head holds no token')
    t.notOk(seen?.head.includes(base64(good)), 'nor its base64')
  })
}

t.test('Two different tokens are 400, and the upstream sees neither', async (t) => {
  const arrived = arrivals()
  const [one, other] = [await tokenWith(['devices:read']), await tokenWith(['all'])]
  const fields = { 'OSF-TOKEN': one, Authorization: `Bearer ${other}` }
  const answer = await ask('GET', '/ota/devices/', fields)
  t.equal(answer.status, 400)
  t.match(JSON.parse(answer.body), { code: 'ambiguous_credentials' })
  t.same(arrived(), [])
})

t.test('The upstream read nothing that is not strict HTTP', async (t) => {
  t.same(api.violations, [])
})
