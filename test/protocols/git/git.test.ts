// The git protocol (gateway/protocols/git): what each request is, which are refused and how that is said.
// What a real client makes of it: push.test.ts.

import { buffer } from 'node:stream/consumers'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import type { Denial, Rights } from '../../../gateway/decision/access.ts'
import { GatewayError } from '../../../gateway/errors.ts'
import { git } from '../../../gateway/protocols/git/git.ts'
import { writePktLine } from '../../../gateway/protocols/git/pkt-line.ts'
import { reasonBytesMax, writeReport } from '../../../gateway/protocols/git/report.ts'
import type { Inspected, ProtocolRequest } from '../../../gateway/protocols/protocol.ts'
import { bodyOf, decideFor, gitRequest, gitRoute } from './protocol-server.ts'

const pushFields = ['Content-Type', 'application/x-git-receive-pack-request']
const pushTarget = '/acme/hello.git/git-receive-pack'
const anyOf = ['update', 'create', 'delete', 'force']
const everything: Rights = { scopes: ['all'], resources: null, allowedIps: null }

const zero = '0'.repeat(40)
const one = '1'.repeat(40)
const two = '2'.repeat(40)
const capabilities = '\0 report-status side-band-64k'
const remove = `${one} ${zero} refs/heads/old`
const update = `${one} ${two} refs/heads/main`
const pack = Buffer.from('PACK\0\0\0\x02\0\0\0\0')

function list(...commands: readonly string[]): Buffer {
  const [first, ...others] = commands
  const lines = [
    writePktLine(`${first}${capabilities}`),
    ...others.map((line) => writePktLine(line)),
  ]
  return Buffer.concat([...lines, Buffer.from('0000')])
}

/** Inspects a push whose body comes in these chunks. */
async function inspect(
  chunks: readonly Buffer[],
  fields: readonly string[] = [],
  options: {
    readonly rights?: Rights
    readonly request?: ProtocolRequest
    readonly length?: number
  } = {},
): Promise<Inspected> {
  const request = options.request ?? gitRequest('POST', pushTarget, [...pushFields, ...fields])
  return await git.read(request).inspect!({
    body: bodyOf(chunks, options.length),
    decide: decideFor(options.rights ?? everything),
    ...unasked,
  })
}

/** A token that is not limited to refs, and a server that is not asked. */
const unasked = {
  ask: () => Promise.reject(new Error('no question was expected')),
  isLimited: () => false,
  refresh: async () => {},
}

function refusalOf(read: () => unknown): GatewayError {
  try {
    read()
  } catch (error) {
    if (error instanceof GatewayError) return error
    throw error
  }
  throw new Error('not refused')
}

async function inspectRefusal(...given: Parameters<typeof inspect>): Promise<GatewayError> {
  try {
    await inspect(...given)
  } catch (error) {
    if (error instanceof GatewayError) return error
    throw error
  }
  throw new Error('not refused')
}

async function forwardedBytes(inspected: Inspected): Promise<Buffer> {
  if (inspected.kind !== 'forward') throw new Error('refused')
  return Buffer.isBuffer(inspected.body) ? inspected.body : await buffer(inspected.body)
}

t.test('each request is the access that the table says', async (t) => {
  const rows: readonly (readonly [string, string, readonly string[], 'all' | 'any'])[] = [
    ['GET', '/acme/hello.git/info/refs?service=git-upload-pack', ['fetch'], 'all'],
    ['HEAD', '/acme/hello/info/refs?service=git-upload-pack', ['fetch'], 'all'],
    ['GET', '/acme/hello.git/info/refs', ['fetch'], 'all'],
    ['GET', '/acme/hello.git/HEAD', ['fetch'], 'all'],
    ['GET', '/acme/hello.git/objects/info/packs', ['fetch'], 'all'],
    ['POST', '/acme/hello.git/git-upload-pack', ['fetch'], 'all'],
    ['POST', '/acme/hello.git/git-upload-archive', ['fetch'], 'all'],
    ['GET', '/acme/hello.git/info/refs?service=git-receive-pack', anyOf, 'any'],
    ['POST', pushTarget, anyOf, 'any'],
  ]
  for (const [method, target, actions, quantifier] of rows) {
    const intent = git.read(gitRequest(method, target, pushFields))
    t.same(
      intent.accesses.map(({ action }) => action),
      actions,
      `${method} ${target}`,
    )
    t.equal(intent.quantifier, quantifier)
    for (const access of intent.accesses) {
      t.equal(access.resources?.get('repository'), 'acme/hello')
      t.ok(access.requirement)
      t.notOk('ref' in access)
    }
    t.equal(intent.inspect !== undefined, target === pushTarget, 'only a push is looked into')
  }
})

t.test('an action that the route does not list has no requirement', async (t) => {
  const route = gitRoute({ allow: new Map([['fetch', { kind: 'public' }]]) })
  const target = '/acme/hello.git/info/refs?service=git-receive-pack'
  const { accesses } = git.read(gitRequest('GET', target, [], route))
  t.ok(accesses.every(({ requirement }) => requirement === undefined))
})

t.test('a query that git does not write is refused', async (t) => {
  const info = '/acme/hello.git/info/refs'
  const targets = [
    [info, '?'],
    [info, '?service'],
    [info, '?service=git-upload-pack&'],
    [info, '?service=git-upload-pack&service=git-receive-pack'],
    [info, '?service=git-upload-pack&x=1'],
    [info, '?service=git%2Dupload-pack'],
    [info, '?Service=git-upload-pack'],
    [info, '?service=git-upload-archive'],
    [info, '?service=git-receive-pack?'],
    ['/acme/hello.git/HEAD', '?x'],
  ]
  for (const [path, query] of targets) {
    const error = refusalOf(() => git.read(gitRequest('GET', `${path}${query}`)))
    t.match(error, { code: 'bad_request', status: 400 }, `${path}${query}`)
  }
  for (const path of [pushTarget, '/acme/hello.git/git-upload-pack']) {
    const error = refusalOf(() => git.read(gitRequest('POST', `${path}?x=1`, pushFields)))
    t.match(error, { code: 'bad_request', status: 400 }, path)
  }
})

t.test('a method that a service does not take is refused with those it takes', async (t) => {
  const rows = [
    ['POST', '/acme/hello.git/info/refs?service=git-upload-pack', 'GET, HEAD'],
    ['PUT', '/acme/hello.git/objects/info/packs', 'GET, HEAD'],
    ['GET', '/acme/hello.git/git-upload-pack', 'POST'],
    ['HEAD', pushTarget, 'POST'],
    ['OPTIONS', '/acme/hello.git/git-upload-archive', 'POST'],
  ] as const
  for (const [method, target, allow] of rows) {
    const error = refusalOf(() => git.read(gitRequest(method, target, pushFields)))
    t.match(error, { status: 405, allow }, `${method} ${target}`)
    const reply = git.refuse(error, { requestId: 'r1', presented: false })
    t.equal(reply.fields[reply.fields.indexOf('Allow') + 1], allow)
  }
})

t.test('a push of another type or encoding is 415', async (t) => {
  const rows: readonly (readonly string[])[] = [
    [],
    ['Content-Type', 'application/x-git-receive-pack-request; charset=utf-8'],
    ['Content-Type', 'application/x-git-upload-pack-request'],
    ['Content-Type', 'Application/X-Git-Receive-Pack-Request'],
    [...pushFields, ...pushFields],
    [...pushFields, 'Content-Encoding', 'GZIP'],
    [...pushFields, 'Content-Encoding', 'deflate'],
    [...pushFields, 'Content-Encoding', 'gzip, gzip'],
    [...pushFields, 'Content-Encoding', ''],
    [...pushFields, 'Content-Encoding', 'gzip', 'content-encoding', 'gzip'],
  ]
  for (const fields of rows) {
    const error = refusalOf(() => git.read(gitRequest('POST', pushTarget, fields)))
    t.match(error, { code: 'bad_request', status: 415 }, fields.join(' '))
  }
})

t.test('the probe is forwarded as it is, in one chunk or four', async (t) => {
  for (const chunks of [
    [Buffer.from('0000')],
    ['0', '0', '0', '0'].map((byte) => Buffer.from(byte)),
  ]) {
    t.equal((await forwardedBytes(await inspect(chunks))).toString(), '0000')
  }
})

t.test(
  'a push keeps its Content-Length, also where its commands are written shorter',
  async (t) => {
    const withLineEnd = Buffer.concat([
      writePktLine(`${update}${capabilities}\n`),
      Buffer.from('0000'),
    ])
    for (const [sentence, received] of [
      ['as git writes it', list(update)],
      ['with a line end', withLineEnd],
    ] as const) {
      const body = Buffer.concat([received, pack])
      const inspected = await inspect([body], [], { length: body.length })
      const forwarded = await forwardedBytes(inspected)
      t.match(inspected, { kind: 'forward', length: forwarded.length }, sentence)
      t.equal(forwarded.toString('latin1'), Buffer.concat([list(update), pack]).toString('latin1'))
    }
  },
)

t.test('a gzip push is forwarded decoded, at every chunk boundary', async (t) => {
  const plain = Buffer.concat([list(update), pack, Buffer.alloc(300_000, 'abc')])
  const body = gzipSync(plain)
  for (const encoding of ['gzip', 'x-gzip']) {
    for (let cut = 0; cut <= body.length; cut += 7) {
      const chunks = [body.subarray(0, cut), body.subarray(cut)]
      const inspected = await inspect(chunks, ['Content-Encoding', encoding], {
        length: body.length,
      })
      t.match(inspected, { kind: 'forward', length: undefined, drop: ['content-encoding'] })
      if (!(await forwardedBytes(inspected)).equals(plain)) t.fail(`cut at ${cut}`)
    }
  }
})

t.test('a gzip push that is broken never ends cleanly', async (t) => {
  const deletes = gzipSync(list(remove))
  const long = gzipSync(Buffer.concat([list(update), pack, Buffer.alloc(100_000, 'x')]))
  const rows: readonly (readonly [string, Buffer])[] = [
    ['no gzip at all', list(update)],
    ['a deletes-only list cut short', deletes.subarray(0, -5)],
    [
      'junk behind the gzip data of a deletes-only list',
      Buffer.concat([deletes, Buffer.from('junk')]),
    ],
    ['zeros behind it, which zlib takes for padding', Buffer.concat([deletes, Buffer.alloc(9)])],
    ['a second member behind a deletes-only list', Buffer.concat([deletes, gzipSync('junk')])],
  ]
  for (const [sentence, body] of rows) {
    const error = await inspectRefusal([body], ['Content-Encoding', 'gzip'])
    t.match(error, { code: 'bad_request', status: 400 }, sentence)
  }
  for (const [sentence, chunks] of [
    ['a pack cut short', [long.subarray(0, -9)]],
    ['junk behind the gzip data', [Buffer.concat([long, Buffer.from('junk')])]],
    ['junk in a chunk of its own', [long, Buffer.from('junk')]],
    ['zeros in a chunk of their own', [long, Buffer.alloc(9)]],
  ] as const) {
    const inspected = await inspect(chunks, ['Content-Encoding', 'gzip'])
    const sent = await forwardedBytes(inspected)
    t.notOk(sent.includes(Buffer.alloc(100, 'x').toString(), sent.length - 1024), sentence)
    const verdict = inspected.kind === 'forward' ? await inspected.guard?.verdict : undefined
    t.match(verdict, { kind: 'refused', error: { code: 'bad_request' } }, sentence)
  }
})

t.test('what follows the command list is what the commands ask for', async (t) => {
  const rows: readonly (readonly [string, readonly Buffer[], RegExp])[] = [
    ['junk behind deletes', [list(remove), Buffer.from('x')], /nothing follows a list of deletes/],
    ['a pack behind deletes', [list(remove), pack], /nothing follows a list of deletes/],
    ['a second list behind deletes', [list(remove), list(remove)], /nothing follows/],
    [
      '0→0 is a delete, so no pack',
      [list(`${zero} ${zero} refs/heads/x`), pack],
      /nothing follows/,
    ],
    ['no pack behind an update', [list(update)], /which begins with PACK/],
    [
      'something else behind an update',
      [list(update), Buffer.from('PACTsomething')],
      /begins with PACK/,
    ],
    ['no pack behind a delete and an update', [list(remove, update)], /which begins with PACK/],
  ]
  for (const [sentence, chunks, expected] of rows) {
    const error = await inspectRefusal(chunks)
    t.match(error, { code: 'bad_request', status: 400, message: expected }, sentence)
  }
  t.ok((await forwardedBytes(await inspect([list(remove)]))).equals(list(remove)))
})

t.test('each command needs the scope of what it does', async (t) => {
  const rows: readonly (readonly [string, string, string])[] = [
    ['a new ref', `${zero} ${one} refs/heads/x`, 'source:create'],
    ['a ref that moves', `${one} ${two} refs/heads/x`, 'source:read-update'],
    ['a ref that stays', `${one} ${one} refs/heads/x`, 'source:read-update'],
    ['a ref that goes', `${one} ${zero} refs/heads/x`, 'source:delete'],
    ['a ref that was none and goes', `${zero} ${zero} refs/heads/x`, 'source:delete'],
    ['a new tag', `${zero} ${one} refs/tags/v1`, 'source:create'],
    ['a tag that moves', `${one} ${two} refs/tags/v1`, 'source:delete'],
    ['a tag that stays', `${one} ${one} refs/tags/v1`, 'source:read-update'],
    ['a tag that goes', `${one} ${zero} refs/tags/v1`, 'source:delete'],
  ]
  for (const [sentence, command, scope] of rows) {
    const body = command.includes(` ${zero} `) ? [list(command)] : [list(command), pack]
    for (const scopes of [['source:create'], ['source:read-update'], ['source:delete']]) {
      const inspected = await inspect(body, [], { rights: { ...everything, scopes } })
      const mayForce = scope === 'source:read-update' && scopes[0] === 'source:delete'
      const expected = scopes[0] === scope || mayForce ? 'forward' : 'refused'
      t.equal(inspected.kind, expected, `${sentence}, with ${scopes}`)
    }
  }
})

t.test('a refused push is a denial with a report', async (t) => {
  const rights: Rights = { ...everything, scopes: ['source:read-update'] }
  const inspected = await inspect([list(update, remove), pack], [], { rights })
  if (inspected.kind !== 'refused') throw new Error('permitted')
  t.match(inspected.denial, {
    reason: 'insufficient_scope',
    access: { action: 'delete', ref: 'refs/heads/old' },
    required: ['source:delete'],
  })
  t.equal(inspected.reply?.status, 200)
  t.equal(inspected.reply?.fields[1], 'application/x-git-receive-pack-result')
})

t.test('refs and push options that the route does not take are refused by name', async (t) => {
  const route = gitRoute({ refs: ['refs/heads/*'], pushOptions: ['ok'] })
  const request = gitRequest('POST', pushTarget, pushFields, route)
  const options = (...sent: readonly string[]) =>
    Buffer.concat([
      writePktLine(`${update}\0 report-status push-options`),
      Buffer.from('0000'),
      ...sent.map((option) => writePktLine(option)),
      Buffer.from('0000'),
    ])
  const rows: readonly (readonly [Buffer, string | undefined, string | undefined])[] = [
    [list(`${zero} ${one} refs/heads/a/b`), 'ref', 'refs/heads/a/b'],
    [list(`${zero} ${one} refs/tags/v1`), 'ref', 'refs/tags/v1'],
    [options('ok', 'ci.skip'), 'push-option', 'ci.skip'],
    [options('ok'), undefined, undefined],
  ]
  for (const [bytes, key, value] of rows) {
    const inspected = await inspect([bytes, pack], [], { request })
    const resource = inspected.kind === 'refused' ? inspected.denial?.resource : undefined
    t.equal(resource?.key, key)
    t.equal(resource?.value, value)
  }
})

t.test('a report is what git-receive-pack writes', async (t) => {
  const refs = [{ ref: 'refs/heads/main', reason: 'token lacks scope source:delete' }]
  const plain = writeReport(new Map([['report-status', undefined]]), refs, ['a'])
  t.equal(
    plain?.toString(),
    '000eunpack ok\n0037ng refs/heads/main token lacks scope source:delete\n0000',
  )
  const banded = writeReport(
    new Map([
      ['report-status-v2', undefined],
      ['side-band-64k', undefined],
    ]),
    refs,
    ['one', 'two'],
  )
  t.equal(
    banded?.toString(),
    `0023\x02scopegate: one\nscopegate: two\n004e\x01${plain?.toString()}0000`,
  )
  t.equal(writeReport(new Map(), refs, ['a']), undefined, 'a client that takes neither')
})

t.test('a reason is one bounded line, whatever it is made of', async (t) => {
  const reason = `a\nng refs/heads/x ok\0\x1b[31m\u202e${'é'.repeat(reasonBytesMax)}`
  const report = writeReport(
    new Map([['report-status', undefined]]),
    [{ ref: 'refs/heads/x', reason }],
    [],
  )
  const lines = report!.toString().split('\n')
  t.equal(lines.length, 3, 'unpack, ng, flush')
  t.notMatch(lines[1], /[\p{Cc}\u202e\ufffd]/u)
  t.ok(Buffer.byteLength(lines[1]!) <= reasonBytesMax + 'XXXXng refs/heads/x '.length)
})

t.test('a report longer than a packet is split over several', async (t) => {
  const refs = Array.from({ length: 2000 }, (_, i) => ({
    ref: `refs/heads/${i}`,
    reason: 'x'.repeat(90),
  }))
  const both = new Map([
    ['report-status', undefined],
    ['side-band-64k', undefined],
  ])
  const bytes = writeReport(both, refs, [])!
  const inner: Buffer[] = []
  for (let at = 0; ; ) {
    const length = Number.parseInt(bytes.toString('latin1', at, at + 4), 16)
    if (length === 0) break
    t.equal(bytes[at + 4], 1)
    inner.push(bytes.subarray(at + 5, at + length))
    at += length
  }
  const plain = writeReport(new Map([['report-status', undefined]]), refs, [])
  t.ok(inner.length > 1)
  t.ok(Buffer.concat(inner).equals(plain!))
})

function field(fields: readonly string[], name: string): string | undefined {
  return fields[fields.indexOf(name) + 1]
}

t.test('refusals are text that git shows, with what to do next', async (t) => {
  const request = gitRequest('GET', '/acme/hello.git/info/refs?service=git-receive-pack')
  const access = git.read(request).accesses[0]!
  const denial: Denial = {
    outcome: 'deny',
    reason: 'insufficient_scope',
    access,
    required: ['source:read-update'],
    granted: [],
  }
  const none = git.refuse(new GatewayError('token_required', 'a token is required'), {
    requestId: 'r1',
    presented: false,
    request,
  })
  t.equal(none.status, 401)
  t.equal(field(none.fields, 'WWW-Authenticate'), 'Basic realm="scopegate"')
  t.match(field(none.fields, 'Content-Type'), /^text\/plain/)
  t.match(none.body, /acme\/hello needs a token/)
  const dead = git.refuse(new GatewayError('invalid_token', 'token expired on 2026-01-01'), {
    requestId: 'r1',
    presented: true,
    request,
  })
  t.match(dead.body, /^scopegate: token expired on 2026-01-01 \(acme\/hello\)\n/)
  const denied = git.refuse(new GatewayError('insufficient_scope', 'no'), {
    requestId: 'r1',
    presented: true,
    denial,
    request,
  })
  t.equal(denied.status, 403)
  t.equal(
    field(denied.fields, 'WWW-Authenticate'),
    'Basic realm="scopegate", error="insufficient_scope", scope="source:read-update"',
  )
  t.equal(
    denied.body,
    'scopegate: token lacks scope source:read-update (acme/hello)\n' +
      'scopegate: use a token that has source:read-update\n' +
      'scopegate: request id r1\n',
  )
  const away = git.refuse(
    new GatewayError('lookup_unavailable', 'no store answers', { retryAfter: 5 }),
    {
      requestId: 'r1',
      presented: true,
    },
  )
  t.equal(away.status, 503)
  t.equal(field(away.fields, 'Retry-After'), '5')
  t.notOk(away.fields.includes('WWW-Authenticate'))
})

t.test('a Location that names the upstream becomes path and query', async (t) => {
  const { reply } = git.read(gitRequest('GET', '/acme/hello/info/refs?service=git-upload-pack'))
  const origin = 'http://git.internal:3000'
  const rewrite = (value: string) => reply!(301, ['location', value, 'X-A', 'location'], origin, '')
  t.same(rewrite(`${origin}/acme/hello.git/info/refs?a=b`), [
    'location',
    '/acme/hello.git/info/refs?a=b',
    'X-A',
    'location',
  ])
  t.same(rewrite('https://elsewhere.example/x')[1], 'https://elsewhere.example/x')
})

t.test('a push whose client leaves ends as a refusal with that error', async (t) => {
  const gone = new GatewayError('bad_request', 'the client left')
  const chunks = [gzipSync(Buffer.concat([list(update), pack])).subarray(0, -4)]
  const body = { ...bodyOf([]), next: async () => chunks.shift() ?? Promise.reject(gone) }
  const request = gitRequest('POST', pushTarget, [...pushFields, 'Content-Encoding', 'gzip'])
  const inspected = await git.read(request).inspect!({
    body,
    decide: decideFor(everything),
    ...unasked,
  })
  if (inspected.kind !== 'forward') throw new Error('refused')
  const sent = await forwardedBytes(inspected)
  t.ok(sent.subarray(0, list(update).length).equals(list(update)))
  t.notOk(sent.includes(pack), 'what stands in for the pack is none')
  t.match(await inspected.guard?.verdict, { kind: 'refused', error: gone })
})
