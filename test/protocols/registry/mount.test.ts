// Mounts: push on the target and pull on the source, wherever the source stands; anything else is a plain
// upload. And no form ever reaches the upstream as a form.

import t from 'tap'
import { GatewayError } from '../../../gateway/errors.ts'
import type { Inspected, RequestBody } from '../../../gateway/protocols/protocol.ts'
import { registry } from '../../../gateway/protocols/registry/registry.ts'
import { type Answers, answer, contextFor, request, rights, withBody } from './calls.ts'

const digest = `sha256:${'0123456789abcdef'.repeat(4)}`
const uploads = '/v2/acme/app/blobs/uploads/'
const encoded = digest.replace(':', '%3A')
const mounted = `${uploads}?mount=${encoded}&from=acme%2Fbase`
const urlencoded = 'application/x-www-form-urlencoded'

type Step = {
  readonly target?: string
  readonly method?: string
  readonly type?: string
  readonly fields?: readonly string[]
  readonly body?: readonly (string | Buffer)[]
  readonly length?: number
  readonly repositories?: readonly string[]
  readonly answers?: Answers
}

/** What becomes of an upload step of a token that may push to the repositories (default `acme/*`). */
async function step(given: Step) {
  const { target = uploads, type, body = [], repositories = ['acme/*'] } = given
  const length = given.length ?? (body.length === 0 ? 0 : undefined)
  const fields = [...(type === undefined ? [] : ['Content-Type', type]), ...(given.fields ?? [])]
  if (length !== undefined) fields.push('Content-Length', `${length}`)
  const intent = registry.read(request(given.method ?? 'POST', target, fields))
  const granted = rights(['containers:read-update'], repositories)
  const context = withBody(contextFor(granted, given.answers ?? (() => answer(200))), body, length)
  const inspected = await intent.inspect?.(context)
  if (inspected?.kind === 'refused') throw new Error('it was refused')
  return {
    intent,
    inspected,
    path: inspected?.path ?? intent.path,
    questions: context.questions,
    taken: context.taken(),
    sent: inspected === undefined ? undefined : await bytesOf(inspected.body),
  }
}

async function bytesOf(body: (Inspected & { kind: 'forward' })['body']): Promise<string> {
  if (Buffer.isBuffer(body)) return body.toString('latin1')
  const chunks: Buffer[] = []
  for await (const chunk of body) chunks.push(chunk)
  return Buffer.concat(chunks).toString('latin1')
}

/** A multipart form of these fields. */
function multipart(fields: Readonly<Record<string, string>>): string {
  const parts = Object.entries(fields).map(
    ([name, value]) => `--B\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
  )
  return `${parts.join('')}--B--\r\n`
}

const places: readonly (readonly [where: string, ask: (from: string) => Step])[] = [
  ['in the query', (from) => ({ target: `${uploads}?mount=${digest}&from=${from}` })],
  [
    'in a urlencoded body',
    (from) => ({ type: urlencoded, body: [`mount=${digest}&from=${from}`] }),
  ],
  [
    'in a multipart body',
    (from) => ({
      type: 'multipart/form-data; boundary=B',
      body: [multipart({ mount: digest, from })],
    }),
  ],
  [
    'half in the query, half in the body',
    (from) => ({ target: `${uploads}?mount=${digest}`, type: urlencoded, body: [`from=${from}`] }),
  ],
  [
    'in a body of one byte a chunk',
    (from) => ({ type: urlencoded, body: [...`mount=${digest}&from=${from}`] }),
  ],
  [
    'with what crane adds',
    (from) => ({ target: `${uploads}?mount=${digest}&from=${from}&origin=hub.example` }),
  ],
]

t.test('a mount from a repository that the token may pull is handed on as a query', async (t) => {
  for (const [where, ask] of places) {
    const { path, questions, sent } = await step(ask('acme/base'))
    t.equal(path, mounted, where)
    t.strictSame(questions, [`HEAD /v2/acme/base/blobs/${digest}`], `${where}: the blob is there`)
    t.equal(sent, '', where)
  }
})

t.test('a mount from a repository that the token may not pull is a plain upload', async (t) => {
  for (const [where, ask] of places) {
    const { path, questions } = await step(ask('secret/base'))
    t.equal(path, uploads, where)
    t.strictSame(questions, [], `${where}: the upstream is not even asked`)
  }
})

const plain: readonly (readonly [why: string, given: Step])[] = [
  ['without a source', { target: `${uploads}?mount=${digest}` }],
  ['without a blob', { target: `${uploads}?from=acme/base` }],
  ['with an empty source', { target: `${uploads}?mount=${digest}&from=` }],
  ['with a source that is no name', { target: `${uploads}?mount=${digest}&from=acme/../secret` }],
  ['with a source in capitals', { target: `${uploads}?mount=${digest}&from=Acme/base` }],
  [
    'with a source that holds a port',
    { target: `${uploads}?mount=${digest}&from=hub.example:80/a` },
  ],
  ['with a blob that is no digest', { target: `${uploads}?mount=x&from=acme/base` }],
  [
    'of a blob that is not there',
    { target: `${uploads}?mount=${digest}&from=acme/base`, answers: () => answer(404) },
  ],
  [
    'when the registry fails',
    { target: `${uploads}?mount=${digest}&from=acme/base`, answers: () => answer(500) },
  ],
  [
    'when the registry is not there',
    {
      target: `${uploads}?mount=${digest}&from=acme/base`,
      answers: () => {
        throw new GatewayError('upstream_unreachable', 'gone')
      },
    },
  ],
]

t.test('a mount that cannot be is a plain upload, never an error', async (t) => {
  for (const [why, given] of plain) t.equal((await step(given)).path, uploads, why)
})

t.test('a blob in outside storage is there', async (t) => {
  const target = `${uploads}?mount=${digest}&from=acme/base`
  t.equal((await step({ target, answers: () => answer(307) })).path, mounted)
})

t.test(
  'until the body has been looked at, what would be forwarded is a plain upload',
  async (t) => {
    const { intent } = await step({ target: `${uploads}?mount=${digest}&from=acme/base` })
    t.equal(intent.path, uploads)
  },
)

t.test('a mount is decided by pull on the source and push on the target alike', async (t) => {
  const target = `${uploads}?mount=${digest}&from=acme/base`
  const { intent } = await step({ target })
  t.strictSame(
    intent.accesses.map(({ action, resources }) => [action, resources?.get('repository')]),
    [['push', 'acme/app']],
  )
  t.equal((await step({ target, repositories: ['acme/app'] })).path, uploads)
})

const refused: readonly (readonly [why: string, given: Step])[] = [
  [
    'a source in query and body',
    {
      target: `${uploads}?mount=${digest}&from=acme/base`,
      type: urlencoded,
      body: ['from=secret/x'],
    },
  ],
  [
    'a blob in query and body',
    {
      target: `${uploads}?mount=${digest}`,
      type: urlencoded,
      body: [`mount=${digest}&from=acme/b`],
    },
  ],
  [
    'two sources in a form',
    { type: urlencoded, body: [`mount=${digest}&from=acme/a&from=secret/x`] },
  ],
  ['a source after a ;', { type: urlencoded, body: [`from=acme/a&mount=${digest};from=secret/x`] }],
  ['an odd form', { type: 'multipart/form-data; boundary="a,b"', body: ['x'] }],
  ['a form that is too long', { type: urlencoded, body: [Buffer.alloc(65_536, 97), 'b'] }],
  ['an encoded form', { type: urlencoded, fields: ['Content-Encoding', 'gzip'], body: ['x'] }],
  ['two types', { type: urlencoded, fields: ['content-type', 'text/plain'], body: ['x'] }],
]

t.test('what could name two sources is refused', async (t) => {
  for (const [why, given] of refused) await t.rejects(step(given), { code: 'bad_request' }, why)
})

const bodies: readonly (readonly [why: string, given: Step])[] = [
  ['a form without a mount', { type: urlencoded, body: ['blob=of&few=bytes'] }],
  ['a body without a type', { body: ['blob'] }],
  ['a body of another type', { type: 'application/json', body: ['{"from":"secret/x"}'] }],
  [
    'a form of a later step',
    { method: 'PATCH', target: `${uploads}x`, type: urlencoded, body: ['a', 'b'] },
  ],
  [
    'a form of the last step',
    { method: 'PUT', target: `${uploads}x`, type: 'multipart/x', body: ['a'] },
  ],
]

t.test('no upload reaches the upstream as a form, and its bytes stay', async (t) => {
  for (const [why, given] of bodies) {
    const { inspected, sent, questions } = await step(given)
    t.strictSame(inspected?.set, ['Content-Type', 'application/octet-stream'], why)
    t.equal(sent, (given.body ?? []).join(''), why)
    t.strictSame(questions, [], why)
  }
})

t.test('a blob in the first step streams: nothing of it is read beforehand', async (t) => {
  const target = `${uploads}?digest=${digest}`
  const intent = registry.read(request('POST', target, ['Content-Type', 'application/x-tar']))
  const context = withBody(
    contextFor(rights(['all']), () => answer(200)),
    ['a', 'b'],
    2,
  )
  const untouched: RequestBody = {
    ...context.body,
    next: () => Promise.reject(new Error('it was read')),
  }
  const inspected = await intent.inspect?.({ ...context, body: untouched })
  t.match(inspected, { kind: 'forward', length: 2 })
})
