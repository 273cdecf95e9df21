// Writes to a git repository past git's own services: the dumb push over WebDAV (RFC 4918) and its kin.
// They know no refs, so no rule of a git route could hold them: they are refused, whatever else
// matches. Pure. Names are compared without case, since there are servers that find files so.

import type { Route } from './route.ts'

/** Methods that write nothing past git's services; OPTIONS is there for CORS preflights. */
const harmless: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'OPTIONS'])

/**
 * The git route below whose pattern the request would write; undefined for none. That is a path with a
 * segment in `.git`; or one whose tail is a file of a repository, unless a plain route takes it to
 * another upstream. `count` segments count; `plain` is the route that would take the request.
 */
export function findRepositoryWrite(
  gitRoutes: readonly Route[],
  method: string,
  segments: readonly string[],
  count: number,
  plain: Route | undefined,
): Route | undefined {
  if (harmless.has(method) || gitRoutes.length === 0) return undefined
  const names = segments.slice(0, count).map((segment) => segment.toLowerCase())
  const named = names.some((name) => name.endsWith('.git'))
  const tails = names.map((_, index) => isRepositoryFile(names, index))
  if (!named && !tails.includes(true)) return undefined
  const lastTail = tails.lastIndexOf(true)
  return gitRoutes.find((route) => {
    const tail = tailBelow(route, segments, count)
    if (tail === undefined) return false
    if (named) return true
    if (plain !== undefined && plain.upstream !== route.upstream) return false
    return tail.open ? lastTail >= tail.from : tails[tail.from] === true
  })
}

/**
 * The git route past which the plain route would take a POST to one of git's services, in any spelling of
 * its name, to the same upstream: a push that nobody judged by its refs. LFS, which no route claims, too.
 */
export function findServicePast(
  gitRoutes: readonly Route[],
  method: string,
  segments: readonly string[],
  plain: Route,
): Route | undefined {
  if (method !== 'POST' || gitRoutes.length === 0) return undefined
  const names = segments.map((segment) => segment.toLowerCase())
  const isService = names.some(
    (name, i) => services.has(name) || (name === 'lfs' && names[i - 1] === 'info'),
  )
  return isService ? gitRoutes.find(({ upstream }) => upstream === plain.upstream) : undefined
}

const services: ReadonlySet<string> = new Set([
  'git-upload-pack',
  'git-receive-pack',
  'git-upload-archive',
])
const folders: ReadonlySet<string> = new Set(['info', 'objects', 'refs'])
const files: ReadonlySet<string> = new Set(['head', 'packed-refs', 'config', 'git-upload-archive'])

/** Does what begins at `index` read as a path inside a bare repository (gitrepository-layout)? */
function isRepositoryFile(names: readonly string[], index: number): boolean {
  const name = names[index]!
  if (folders.has(name)) return true
  if (index < names.length - 1) return false
  return files.has(name) || (name.startsWith('git-') && name.endsWith('-pack'))
}

/** Where the tail below a git route's repository begins; open: there or anywhere later. */
function tailBelow(
  { pattern: { segments: pattern } }: Route,
  segments: readonly string[],
  count: number,
): { readonly from: number; readonly open: boolean } | undefined {
  for (const [i, part] of pattern.entries()) {
    if (part.kind === 'rest') return { from: Math.max(i, 1), open: true }
    const segment = i < count ? segments[i]! : ''
    if (segment === '') return undefined
    if (part.kind === 'one' || segment === part.value) continue
    const last = i === pattern.length - 1
    if (!last || withoutGit(segment) !== withoutGit(part.value)) return undefined
  }
  return { from: pattern.length, open: false }
}

function withoutGit(segment: string): string {
  return segment.toLowerCase().endsWith('.git') ? segment.slice(0, -'.git'.length) : segment
}
