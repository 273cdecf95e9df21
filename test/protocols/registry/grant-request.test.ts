// What clients send to the token service: the query of a GET and the form of a POST, as docker, skopeo,
// crane and containerd write them, and as nobody should.

import { Readable } from 'node:stream'
import fc from 'fast-check'
import t from 'tap'
import { GatewayError } from '../../../gateway/errors.ts'
import type { RequestBody } from '../../../gateway/protocols/protocol.ts'
import { writeScope } from '../../../gateway/protocols/registry/scope.ts'
import {
  readGrantForm,
  readGrantQuery,
  scopesMax,
} from '../../../gateway/services/registry-token/grant-request.ts'
import { search } from '../../search.ts'

const formType = ['Content-Type', 'application/x-www-form-urlencoded']

function bodyOf(...chunks: readonly string[]): RequestBody {
  const left = chunks.map((chunk) => Buffer.from(chunk))
  return { length: undefined, next: async () => left.shift(), rest: () => Readable.from(left) }
}

t.test('queries of known clients', async (t) => {
  const rows: readonly (readonly [query: string, service: string, scopes: string])[] = [
    ['account=u&client_id=docker&offline_token=true&service=hub', 'hub', ''],
    ['account=u&scope=repository%3Aa%2Fb%3Apull&service=hub', 'hub', 'repository:a/b:pull'],
    [
      'scope=repository:a:pull,push&scope=repository:b:pull&service=h',
      'h',
      'repository:a:pull,push repository:b:pull',
    ],
    [
      'service=h&scope=repository:a:pull+repository:b:pull%20registry:catalog:*',
      'h',
      'repository:a:pull repository:b:pull registry:catalog:*',
    ],
    ['scope=&service=h', 'h', ''],
  ]
  for (const [query, service, scopes] of rows) {
    const read = readGrantQuery(query)
    t.equal(read.service, service, query)
    t.equal(read.scopes.map(writeScope).join(' '), scopes, query)
  }
  t.strictSame(readGrantQuery(undefined), { service: undefined, scopes: [] })
})

t.test('forms of known clients', async (t) => {
  const password = 'grant_type=password&service=h&client_id=c&username=u&password=sgt_1&scope='
  const scopes = 'repository%3Aa%3Apull+repository%3Aa%3Apull%2Cpush'
  const containerd = await readGrantForm(formType, bodyOf(password, scopes))
  t.match(containerd, { service: 'h', credentials: { kind: 'token', secret: 'sgt_1' } })
  t.equal(containerd.scopes.length, 2)
  const utf8 = ['Content-Type', 'application/x-www-form-urlencoded; charset=utf-8']
  const docker = await readGrantForm(utf8, bodyOf('grant_type=refresh_token&refresh_token=sgt_2'))
  t.match(docker, { service: undefined, credentials: { kind: 'token', secret: 'sgt_2' } })
  const asUser = await readGrantForm(formType, bodyOf('grant_type=password&username=T&password='))
  t.match(asUser.credentials, { kind: 'token', secret: 'T' })
  const empty = await readGrantForm(formType, bodyOf('grant_type=password'))
  t.match(empty.credentials, { kind: 'none' })
})

t.test('what is refused, and what would be right', async (t) => {
  const many = Array.from({ length: scopesMax + 1 }, () => 'repository:a:pull').join('+')
  for (const [query, words] of [
    ['scope=garbage', /type:name:actions/],
    ['scope=repository:a:pull%0a,x', /type:name:actions/],
    ['service=a&service=b', /service is repeated/],
    [`scope=${many}`, /65 scopes are too many; ask for 64/],
  ] as const) {
    t.throws(() => readGrantQuery(query), { code: 'bad_request', message: words }, query)
  }
  for (const [fields, body, status, words] of [
    [['Content-Type', 'application/json'], '{}', 415, /urlencoded/],
    [[], 'grant_type=password', 415, /urlencoded/],
    [[...formType, 'Content-Encoding', 'gzip'], 'x', 415, /urlencoded/],
    [formType, '', 400, /grant_type: expected password/],
    [formType, 'grant_type=client_credentials', 400, /grant_type: expected password/],
    [formType, 'grant_type=password&grant_type=password', 400, /repeated/],
    [formType, 'grant_type=password&password=a&password=b', 400, /repeated/],
    [formType, 'x'.repeat(70_000), 400, /longer than 65536/],
  ] as const) {
    await t.rejects(readGrantForm(fields, bodyOf(body)), { status, message: words })
  }
})

t.test(
  'any query and any form is read or refused with a sentence, never an exception',
  async () => {
    const part = fc.oneof(
      fc.string(),
      fc.constantFrom(
        'scope=',
        'service=',
        'repository:a:pull',
        '&',
        '=',
        '%',
        '+',
        '%00',
        ':',
        ',',
      ),
      fc.constantFrom('grant_type=password&', 'username=', 'password=', 'refresh_token='),
    )
    const text = fc.array(part, { maxLength: 12 }).map((parts) => parts.join(''))
    const refused = (error: unknown): boolean =>
      error instanceof GatewayError && error.status === 400
    await search(
      1_000,
      fc.asyncProperty(text, async (any) => {
        try {
          if (readGrantQuery(any).scopes.length > scopesMax) return false
        } catch (error) {
          if (!refused(error)) return false
        }
        return await readGrantForm(formType, bodyOf(any)).then(() => true, refused)
      }),
    )
  },
)
