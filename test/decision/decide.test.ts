// The promises of decision/decide.ts: who may do what, which reason is told, and in which words.

import t from 'tap'
import type { Access, Denial, Requirement, Rights } from '../../gateway/decision/access.ts'
import { decide, describeDenial, narrowestScopes } from '../../gateway/decision/decide.ts'
import { buildScopeCatalog } from '../../gateway/decision/scope.ts'

const here = '192.0.2.1'
const current = '/arvados/v1/api_client_authorizations/current'

const catalog = buildScopeCatalog([
  { name: 'read', description: 'Read', implies: [], privileged: false },
  { name: 'write', description: 'Write', implies: ['read'], privileged: false },
  { name: 'erase', description: 'Erase', implies: [], privileged: false },
  { name: 'left', description: 'Left', implies: ['right'], privileged: false },
  { name: 'right', description: 'Right', implies: ['left'], privileged: false },
  { name: 'root', description: 'Everything', implies: [], privileged: true },
])

t.test('named scopes', (t) => {
  const rows: [readonly string[], Requirement | undefined, boolean, string][] = [
    [['read'], any('read'), true, 'the scope itself'],
    [['write'], any('read'), true, 'a scope that implies it'],
    [['read'], any('write'), false, 'a scope that it implies'],
    [['all'], any('write'), true, 'all covers a declared scope'],
    [['all'], any('root'), false, 'all does not cover a privileged scope'],
    [['root'], any('root'), true, 'a privileged scope by name'],
    [['root'], any('read'), false, 'a privileged scope covers nothing else by itself'],
    [['unknown'], any('unknown'), false, 'an undeclared scope covers not even its own name'],
    [['all'], any('unknown'), false, 'all does not cover an undeclared scope'],
    [['erase'], any('read', 'erase'), true, 'one of several is enough for any'],
    [['erase'], all('read', 'erase'), false, 'one of several is not enough for all'],
    [['erase', 'write'], all('read', 'erase'), true, 'every one, one by implication'],
    [['all'], any(), false, 'any of nothing is met by nobody'],
    [['all'], all(), false, 'all of nothing is met by nobody'],
    [['READ'], any('read'), false, 'case matters'],
    [['unknown'], { kind: 'authenticated' }, true, 'authenticated: any scope at all'],
    [[], { kind: 'authenticated' }, false, 'authenticated: a token without a scope is not enough'],
    [[], { kind: 'public' }, true, 'public'],
    [[], { kind: 'optional' }, true, 'optional'],
    [['all', 'root'], undefined, false, 'an action that the route does not list'],
  ]
  for (const [scopes, requirement, permitted, sentence] of rows) {
    const decision = decide(rights({ scopes }), access({ requirement }), here, catalog)
    t.equal(decision.outcome, permitted ? 'permit' : 'deny', sentence)
  }
  t.end()
})

t.test('path scopes', (t) => {
  const list = '/arvados/v1/collections'
  const one = '/arvados/v1/collections/U'
  const rows: [readonly string[], string, boolean, string][] = [
    [[`GET ${list}`], `GET ${list}`, true, 'the path itself'],
    [[`GET ${list}`], `HEAD ${list}`, true, 'HEAD by the GET scope'],
    [[`GET ${list}`], `GET ${list}/`, true, 'with a trailing slash'],
    [[`GET ${list}`], `HEAD ${list}/`, true, 'HEAD with a trailing slash'],
    [[`GET ${list}`], `POST ${list}`, false, 'another method'],
    [[`GET ${list}`], 'GET /arvados/v1/groups', false, 'another path'],
    [[`GET ${list}`], `GET ${one}`, false, 'a path below'],
    [[`GET ${list}`], `GET ${list}2`, false, 'a path that begins the same'],
    [[`GET ${list}/`], `GET ${one}`, true, 'a prefix that ends in a slash'],
    [[`GET ${list}/`], `GET ${one}/x/y`, true, 'a prefix, far below'],
    [[`GET ${list}/`], `GET ${list}`, false, 'a prefix does not cover the path itself'],
    [[`GET ${list}/`], `GET ${list}/`, false, 'nor with a trailing slash, which is dropped'],
    [[`GET ${one}`], `GET ${one}`, true, 'one record'],
    [[`GET ${one}`], `GET ${list}/V`, false, 'another record'],
    [[`GET ${one}`], `GET ${list}`, false, 'the list'],
    [[`GET ${one}`], `PATCH ${one}`, false, 'a change of it'],
    [[`POST ${list}`], `POST ${list}`, true, 'create'],
    [[`POST ${list}`], `GET ${list}`, false, 'create does not read'],
    [[`POST ${list}`], `PATCH ${one}`, false, 'create does not update'],
    [[`PATCH ${list}/`], `PATCH ${one}`, true, 'update'],
    [[`PATCH ${list}/`], `GET ${list}`, false, 'update does not list'],
    [[`PATCH ${list}/`], `POST ${list}`, false, 'update does not create'],
    [['HEAD /x'], 'HEAD /x', true, 'HEAD by its own scope'],
    [['HEAD /x'], 'GET /x', false, 'GET is not covered by the HEAD scope'],
    [['GET /'], 'GET /', true, 'the root keeps its slash'],
    [['GET /'], 'GET /x', true, 'the root is a prefix of everything'],
    [['GET /x'], 'GET /X', false, 'case matters'],
    [['get /x'], 'GET /x', false, 'the case of the method too'],
    [['GET /a%2fb'], 'GET /a%2Fb', true, 'hex in either case in the scope'],
    [['GET /a%2Fb'], 'GET /a%2fb', true, 'hex in either case in the request'],
    [['GET /%7Eme'], 'GET /~me', true, '%7E is a tilde in the scope'],
    [['GET /~me'], 'GET /%7eme', true, '%7e is a tilde in the request'],
    [['GET /a b'], 'GET /a%20b', false, 'nothing else is decoded'],
    [['GET /a/b'], 'GET /a%2Fb', false, 'an escaped slash is no slash'],
    [['GET /a%'], 'GET /a%', true, 'what is no escape stays'],
    [['all'], 'DELETE /anything', true, 'all covers every path scope'],
    [['read'], 'GET /x', false, 'a named scope covers no path'],
    [['G'], 'GET /x', false, 'a beginning that ends in no slash'],
    [[''], 'GET /x', false, 'the empty scope'],
    [['/'], 'GET /x', false, 'a path without its method'],
    [[], `GET ${current}`, true, 'the token in use, with no scope at all'],
    [[], `HEAD ${current}/`, true, 'its head, with a trailing slash'],
    [[], `DELETE ${current}`, false, 'but it is only for reading'],
    [[], `GET ${current}/x`, false, 'and nothing below'],
    [[], `GET /x${current}`, false, 'nor where a longer path ends so'],
    [[], `GET ${list}`, false, 'no scope, no access'],
  ]
  for (const [scopes, request, permitted, sentence] of rows) {
    const [method = '', path = ''] = request.split(' ')
    const wanted = access({ requirement: { kind: 'path-scope' }, method, path })
    const decision = decide(rights({ scopes }), wanted, here, catalog)
    t.equal(decision.outcome, permitted ? 'permit' : 'deny', `${scopes}: ${request}: ${sentence}`)
  }
  t.end()
})

t.test('which denial is told', (t) => {
  const limited = { scopes: ['read'], resources: { factory: ['acme'] }, allowedIps: ['10.0.0.0/8'] }
  const rows: [Partial<Rights>, Partial<Access>, string, Denial['reason'] | 'permit', string][] = [
    [limited, {}, '10.1.1.1', 'resource_not_allowed', 'a resource, where all else is right'],
    [limited, { requirement: any('erase') }, '10.1.1.1', 'insufficient_scope', 'scope first'],
    [limited, { requirement: any('erase') }, here, 'address_not_allowed', 'address before all'],
    [limited, { requirement: undefined }, '10.1.1.1', 'insufficient_scope', 'an unlisted action'],
    [limited, { resources: null }, '10.1.1.1', 'permit', 'an access that needs no resources'],
    [limited, { requirement: { kind: 'public' } }, here, 'permit', 'public asks for nothing'],
    [
      limited,
      { requirement: { kind: 'optional' } },
      here,
      'address_not_allowed',
      'an optional token lends its identity, so its addresses bind',
    ],
    [
      limited,
      { requirement: { kind: 'optional' } },
      '10.1.1.1',
      'resource_not_allowed',
      'and so do its resources',
    ],
    [
      { ...limited, scopes: [] },
      { requirement: { kind: 'path-scope' }, path: current },
      '10.1.1.1',
      'permit',
      'the token in use needs no resources',
    ],
    [
      limited,
      { requirement: any('read'), path: current },
      '10.1.1.1',
      'resource_not_allowed',
      'unless the route demands a named scope there',
    ],
    [
      { ...limited, scopes: [] },
      { requirement: { kind: 'path-scope' }, path: current },
      here,
      'address_not_allowed',
      'but an allowed address',
    ],
  ]
  for (const [own, wanted, address, expected, sentence] of rows) {
    const decision = decide(rights(own), access(wanted), address, catalog)
    t.equal(decision.outcome === 'deny' ? decision.reason : 'permit', expected, sentence)
  }
  t.end()
})

t.test('a denial names the access, what would be needed and what is there', (t) => {
  const wanted = access({ requirement: any('read', 'erase') })
  t.strictSame(decide(rights({ scopes: ['x'] }), wanted, here, catalog), {
    outcome: 'deny',
    reason: 'insufficient_scope',
    access: wanted,
    required: ['read', 'erase'],
    granted: ['x'],
  })
  t.end()
})

t.test('the words of a denial', (t) => {
  const elsewhere = access({ resources: new Map([['factory', 'other']]) })
  const ref = access({ action: 'update', ref: 'refs/heads/main' })
  const many = Array.from({ length: 10 }, (_, i) => `f${i}`)
  const rows: [Partial<Rights>, Access, string][] = [
    [{}, access({ requirement: any('erase') }), 'token lacks scope erase'],
    [
      {},
      access({ requirement: any('root', 'erase') }),
      'token lacks one of the scopes root, erase',
    ],
    [{}, access({ requirement: all('root', 'erase') }), 'token lacks the scopes root and erase'],
    [
      { scopes: ['erase'] },
      access({ requirement: all('root', 'erase') }),
      'token lacks scope root',
    ],
    [
      { scopes: [] },
      access({ requirement: { kind: 'authenticated' } }),
      'token has no scope; any one would do',
    ],
    [
      {},
      access({ requirement: { kind: 'path-scope' }, path: '/a%2fb/' }),
      'token lacks scope GET /a%2Fb',
    ],
    [
      {},
      access({ requirement: undefined, action: 'force' }),
      'this route permits force to no token',
    ],
    [
      { resources: { factory: ['acme', 'umbrella'] } },
      elsewhere,
      'token is limited to factory acme, umbrella; this request is for factory other',
    ],
    [
      { resources: { factory: ['acme'] } },
      access({ resources: new Map() }),
      'token is limited to factory acme; this request names no factory',
    ],
    [
      { resources: { factory: [] } },
      elsewhere,
      'token is limited to no factory at all; this request is for factory other',
    ],
    [
      { resources: { factory: many } },
      elsewhere,
      'token is limited to factory f0, f1, f2, f3, f4, f5, f6, f7 and 2 more; this request is for factory other',
    ],
    [
      { resources: { ref: ['refs/heads/dev/**'] } },
      ref,
      'token is limited to ref refs/heads/dev/**; this request is for ref refs/heads/main',
    ],
    [{ allowedIps: [] }, access({}), 'token is not allowed from address 192.0.2.1'],
  ]
  for (const [own, wanted, sentence] of rows) t.equal(wordsOf(own, wanted), sentence)
  t.end()
})

t.test('the words of a denial stay on one line and of bounded length', (t) => {
  const value = `a\r\nb\u202ec\u2028d\u0085${'e'.repeat(8000)}`
  const words = wordsOf(
    { resources: { factory: ['acme'] } },
    access({ resources: new Map([['factory', value]]) }),
  )
  t.notMatch(words, /[\p{C}\p{Zl}\p{Zp}]/u)
  t.ok(words.length < 700)
  t.end()
})

t.test('the narrowest scopes that would permit', (t) => {
  const rows: [Requirement | undefined, readonly string[], string][] = [
    [any('write', 'read'), ['read'], 'of any, the one that grants the fewest'],
    [any('root', 'write'), ['write'], 'a privileged one only at last'],
    [any('root'), ['root'], 'a privileged one where there is no other'],
    [any('unknown'), [], 'none, where no token can have it'],
    [all('read', 'erase'), ['read', 'erase'], 'of all, every one'],
    [all('read', 'write'), ['write'], 'of all, without what another grants'],
    [all('left', 'right'), ['left'], 'the first of two that grant each other'],
    [{ kind: 'path-scope' }, ['GET /x'], 'the path scope of the request'],
    [{ kind: 'public' }, [], 'none is needed'],
    [undefined, [], 'none would permit'],
  ]
  for (const [requirement, expected, sentence] of rows) {
    const request = { method: 'GET', path: '/x/' }
    t.strictSame(narrowestScopes(requirement, catalog, request), expected, sentence)
  }
  t.end()
})

function any(...scopes: string[]): Requirement {
  return { kind: 'any', scopes }
}

function all(...scopes: string[]): Requirement {
  return { kind: 'all', scopes }
}

function rights(own: Partial<Rights>): Rights {
  return { scopes: ['read'], resources: null, allowedIps: null, ...own }
}

function access(own: Partial<Access>): Access {
  return {
    action: 'GET',
    requirement: any('read'),
    method: 'GET',
    path: '/x',
    resources: new Map(),
    ...own,
  }
}

function wordsOf(own: Partial<Rights>, wanted: Access): string {
  const decision = decide(rights(own), wanted, here, catalog)
  return decision.outcome === 'deny' ? describeDenial(decision) : 'permit'
}
