// The promises of decision/scope.ts: what covers what, and what is near to what.

import t from 'tap'
import {
  buildScopeCatalog,
  builtInScopes,
  isPathScope,
  nearestScope,
  type ScopeDeclaration,
} from '../../gateway/decision/scope.ts'

const catalog = buildScopeCatalog([
  declare('source:read'),
  declare('source:read-update', ['source:read']),
  declare('source:admin', ['source:read-update', 'tokens:admin', 'vault:open']),
  declare('left', ['right']),
  declare('right', ['left']),
  { ...declare('vault:open', ['vault:list']), privileged: true },
  declare('vault:list'),
])

t.test('what covers a scope', (t) => {
  const rows = [
    ['source:read', ['all', 'source:admin', 'source:read', 'source:read-update'], 'transitively'],
    ['source:read-update', ['all', 'source:admin', 'source:read-update'], 'not what it implies'],
    ['left', ['all', 'left', 'right'], 'a circle of implications ends'],
    [
      'vault:open',
      ['vault:open'],
      'privileged: by its name only, not by all, not by an implication',
    ],
    [
      'vault:list',
      ['all', 'vault:list', 'vault:open'],
      'not through a privileged scope in between',
    ],
    ['tokens:admin', ['tokens:admin'], 'the gateway’s privileged scope: by its name only'],
    ['tokens:read', ['all', 'tokens:read', 'tokens:read-update'], 'the gateway’s own are there'],
    ['nobody:knows', [], 'an undeclared scope: nothing, not even itself'],
    ['__proto__', [], 'a name of JavaScript’s own: nothing'],
  ] as const
  for (const [name, expected, sentence] of rows) {
    t.strictSame([...catalog.grantedBy(name)].sort(), expected, `${name}: ${sentence}`)
  }
  t.end()
})

t.test('a declaration cannot overrule one of the gateway’s own', (t) => {
  const overruled = buildScopeCatalog([declare('tokens:admin')])
  t.notOk(overruled.grantedBy('tokens:admin').has('all'))
  t.end()
})

t.test('the gateway declares six scopes, one of them privileged', (t) => {
  t.strictSame(
    builtInScopes.map(({ name }) => name),
    [
      'tokens:read',
      'tokens:create',
      'tokens:read-update',
      'tokens:rotate',
      'tokens:delete',
      'tokens:admin',
    ],
  )
  t.strictSame(
    builtInScopes.filter(({ privileged }) => privileged).map(({ name }) => name),
    ['tokens:admin'],
  )
  t.end()
})

t.test('the nearest scope', (t) => {
  const rows = [
    ['source:raed', 'source:read', 'two letters swapped'],
    ['Source:Read', 'source:read', 'another case'],
    ['sourceread', 'source:read', 'a colon forgotten'],
    ['source:write-update', 'source:read-update', 'another word'],
    ['al', 'all', 'all is among them'],
    [`source:read${'x'.repeat(100_000)}`, 'source:read', 'a long one costs no more'],
  ] as const
  for (const [name, expected, sentence] of rows) {
    t.equal(nearestScope(catalog, name), expected, sentence)
  }
  t.end()
})

t.test('what is a path scope', (t) => {
  const rows = [
    ['GET /', true, 'the root'],
    ['PATCH /arvados/v1/collections/', true, 'a prefix'],
    ['M-SEARCH /x', true, 'any method name'],
    ['GET /a%20b', true, 'escapes'],
    ['source:read', false, 'a named scope'],
    ['GET', false, 'no path'],
    ['GET  /x', false, 'two spaces'],
    ['GET x', false, 'a path without its slash'],
    [' /x', false, 'no method'],
    ['GET /a b', false, 'a space in the path'],
    ['GET /é', false, 'a character that no request has unescaped'],
    ['GET /x\n', false, 'a line break at the end'],
  ] as const
  for (const [scope, expected, sentence] of rows) {
    t.equal(isPathScope(scope), expected, `${JSON.stringify(scope)}: ${sentence}`)
  }
  t.end()
})

function declare(name: string, implies: string[] = []): ScopeDeclaration {
  return { name, description: name, implies, privileged: false }
}
