// Path scopes: `METHOD /path`, compared with a request's method and path. Both sides are compared in
// their escaped form with hex in upper case and `%7E` as `~` (RFC 3986 6.2.2); the query plays no part.
// Pure. It never decodes: what `%2F` stands for is the upstream's to say.

import { allScope } from './scope.ts'

/** The path scope that permits exactly this request: one trailing slash dropped, `/` stays. */
export function pathScopeFor(method: string, path: string): string {
  const bare = path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path
  return `${method} ${canonicalEscapes(bare)}`
}

/**
 * Does one of the scopes cover the request: equal to `METHOD path`, or ending in `/` and its beginning?
 * HEAD is covered by the GET scope too, and `all` covers everything.
 */
export function coversPath(scopes: readonly string[], method: string, path: string): boolean {
  const wanted = pathScopeFor(method, path)
  const asGet = method === 'HEAD' ? pathScopeFor('GET', path) : wanted
  for (const scope of scopes) {
    if (scope === allScope) return true
    const held = canonicalEscapes(scope)
    if (coversOne(held, wanted) || coversOne(held, asGet)) return true
  }
  return false
}

/** Is it the question for the token in use, which every active token may ask, even without a scope? */
export function isCurrentTokenQuestion(method: string, path: string): boolean {
  return (method === 'GET' || method === 'HEAD') && pathScopeFor('GET', path) === currentToken
}

/** Compared whole: with only its ending compared, any record below which it stands would be open. */
const currentToken = 'GET /arvados/v1/api_client_authorizations/current'

/** A scope that ends in `/` and begins `METHOD path` has its whole `METHOD /`, so it is a path scope. */
function coversOne(held: string, wanted: string): boolean {
  return held === wanted || (held.endsWith('/') && wanted.startsWith(held))
}

function canonicalEscapes(text: string): string {
  if (!text.includes('%')) return text
  return text.replace(/%[0-9A-Fa-f]{2}/g, (found) => {
    const upper = found.toUpperCase()
    return upper === '%7E' ? '~' : upper
  })
}
