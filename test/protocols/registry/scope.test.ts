// The scopes of grants: how clients write them, and what a token gets of what it asks for.

import fc from 'fast-check'
import t from 'tap'
import type { Requirement } from '../../../gateway/decision/access.ts'
import { decide } from '../../../gateway/decision/decide.ts'
import { holdsScope, parseScope, writeScope } from '../../../gateway/protocols/registry/scope.ts'
import { grantedScopes } from '../../../gateway/services/registry-token/granted-scopes.ts'
import type { GrantScope } from '../../../gateway/tokens/grant.ts'
import { search } from '../../search.ts'
import { catalog, rights, route } from './calls.ts'

const forms: readonly (readonly [sentence: string, text: string, scope: GrantScope | undefined])[] =
  [
    ['one action', 'repository:a/b:pull', scope('a/b', 'pull')],
    ['several', 'repository:a/b:push,pull', scope('a/b', 'push', 'pull')],
    ['all', 'repository:a:*', scope('a', '*')],
    ['a port in the name', 'repository:h:5000/a:pull', scope('h:5000/a', 'pull')],
    ['a class', 'repository(plugin):a:pull', scope('a', 'pull')],
    ['the catalog', 'registry:catalog:*', { type: 'registry', name: 'catalog', actions: ['*'] }],
    ['an unknown type', 'cloud:x:fly', { type: 'cloud', name: 'x', actions: ['fly'] }],
    ['no actions', 'repository:a', undefined],
    ['empty actions', 'repository:a:', undefined],
    ['an empty action', 'repository:a:pull,,push', undefined],
    ['no name', 'repository::pull', undefined],
    ['no type', ':a:pull', undefined],
    ['an open class', 'repository(plugin:a:pull', undefined],
    ['an upper-case action', 'repository:a:Pull', undefined],
    ['nothing', '', undefined],
  ]

function scope(name: string, ...actions: string[]): GrantScope {
  return { type: 'repository', name, actions }
}

for (const [sentence, text, expected] of forms) {
  t.test(`a scope with ${sentence}`, async (t) => t.strictSame(parseScope(text), expected))
}

t.test('a scope that is read is written as it was, but for its class', async () => {
  const word = fc.stringMatching(/^[a-z0-9]+$/)
  const actions = fc.array(fc.constantFrom('pull', 'push', 'delete', '*'), { minLength: 1 })
  await search(
    500,
    fc.property(word, fc.string({ minLength: 1 }), actions, (type, name, list) => {
      const text = `${type}:${name}:${list.join(',')}`
      const read = parseScope(text)
      // The pattern takes no line break.
      return read === undefined ? /[\n\r\u2028\u2029]/.test(name) : writeScope(read) === text
    }),
  )
  await search(
    2_000,
    fc.property(fc.string(), (text) => {
      const read = parseScope(text)
      return read === undefined || writeScope(read).length <= text.length
    }),
  )
})

const pull = 'containers:read'
const push = 'containers:read-update'
const remove = 'containers:delete'

const grants: readonly (readonly [
  sentence: string,
  scopes: readonly string[],
  limit: readonly string[] | undefined,
  asked: string,
  granted: string,
])[] = [
  ['all of it', [push], undefined, 'repository:a:pull,push', 'repository:a:pull,push'],
  ['what the token may', [pull], undefined, 'repository:a:push,pull', 'repository:a:pull'],
  ['nothing of another', [pull], ['b/*'], 'repository:a:pull', ''],
  [
    'the one that is in its limit',
    [pull],
    ['b'],
    'repository:a:pull repository:b:pull',
    'repository:b:pull',
  ],
  [
    'for * what it may',
    [push, remove],
    undefined,
    'repository:a:*',
    'repository:a:pull,push,delete',
  ],
  ['deletion alone', [remove], undefined, 'repository:a:*', 'repository:a:delete'],
  [
    'each repository once',
    [push],
    undefined,
    'repository:a:pull repository:a:push repository:b:pull',
    'repository:a:pull,push repository:b:pull',
  ],
  ['the catalog', [pull], undefined, 'registry:catalog:*', 'registry:catalog:*'],
  ['no catalog for another action', [pull], undefined, 'registry:catalog:pull', ''],
  ['nothing of a name with a port', [push], undefined, 'repository:h:5000/a:pull', ''],
  ['nothing of an unknown action', [push], undefined, 'repository:a:fly', ''],
  ['nothing of an unknown type', [push], undefined, 'cloud:a:pull', ''],
  ['nothing without a scope', [], undefined, 'repository:a:pull registry:catalog:*', ''],
]

function granted(
  asked: readonly GrantScope[],
  token: ReturnType<typeof rights>,
  to = route,
): readonly GrantScope[] {
  return grantedScopes(
    asked,
    to,
    (access) => decide(token, access, '192.0.2.1', catalog).outcome === 'permit',
  )
}

for (const [sentence, scopes, limit, asked, expected] of grants) {
  t.test(`a token gets ${sentence}`, async (t) => {
    const parsed = asked.split(' ').map((text) => parseScope(text) as GrantScope)
    t.equal(granted(parsed, rights(scopes, limit)).map(writeScope).join(' '), expected)
  })
}

t.test('path scopes are judged on each request: what is asked for is granted', async (t) => {
  const requirement: Requirement = { kind: 'path-scope' }
  const byPath = { ...route, allow: new Map([['pull', requirement]]) }
  const asked = [scope('a', 'pull', 'push')]
  t.strictSame(granted(asked, rights(['GET /v2/b/']), byPath), [scope('a', 'pull')])
})

t.test('nothing is granted that was not asked for, or that the token may not do', async () => {
  const name = fc.constantFrom('a', 'b/c', 'b/d', 'x:1/y', 'UPPER')
  const action = fc.constantFrom<string>('pull', 'push', 'delete', '*', 'fly')
  const asked = fc.array(
    fc.record({
      type: fc.constantFrom('repository', 'registry', 'cloud'),
      name: fc.oneof(name, fc.constant('catalog')),
      actions: fc.array(action, { minLength: 1, maxLength: 3 }),
    }),
    { maxLength: 6 },
  )
  const held = fc.subarray([pull, push, remove])
  const limit = fc.option(fc.subarray(['a', 'b/*', 'b/c']), { nil: undefined })
  await search(
    1_000,
    fc.property(asked, held, limit, (scopes, token, repositories) => {
      const record = rights(token, repositories)
      const grant = { tokenId: 'x', access: granted(scopes, record) }
      return grant.access.every(({ type, name, actions }) => {
        if (type === 'registry') return scopes.some((one) => one.type === type)
        return actions.every((action) => {
          const wasAsked = scopes.some(
            (one) =>
              one.type === type &&
              one.name === name &&
              (one.actions.includes(action) || one.actions.includes('*')),
          )
          const requirement = route.allow.get(action)
          const resources = new Map([['repository', name]])
          const access = { action, requirement, method: 'GET', path: '/', resources }
          const may = decide(record, access, '192.0.2.1', catalog).outcome === 'permit'
          return wasAsked && may && holdsScope(grant, scope(name, action))
        })
      })
    }),
  )
})
