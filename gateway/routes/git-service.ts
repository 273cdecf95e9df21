// Which requests are for git's services, told from the path alone: the table of `services` in git's
// http-backend.c (gitprotocol-http), with git-upload-archive. Pure. Methods and queries are the git
// protocol's to judge.

import type { GitService } from './route.ts'

/**
 * The service that the trailing segments name; undefined where they name none. One trailing slash makes
 * no difference, since there are servers that drop it; its empty segment counts in `length`.
 */
export function readGitService(segments: readonly string[]): GitService | undefined {
  const slashes = segments.at(-1) === '' ? 1 : 0
  const at = (back: number) => segments[segments.length - slashes - back] ?? ''
  for (const { service, length, matches } of services) {
    if (matches(at)) return { service, length: length + slashes }
  }
  return undefined
}

/**
 * A repository's segments without `.git`: `hello.git` is `hello`, and the folder `hello/.git` is
 * `hello` too, as git itself has it (`enter_repo` in path.c).
 */
export function bareRepository(segments: readonly string[]): readonly string[] {
  const last = segments.at(-1)
  if (last === undefined || !last.endsWith(gitSuffix)) return segments
  const bare = last.slice(0, -gitSuffix.length)
  return bare === '' ? segments.slice(0, -1) : [...segments.slice(0, -1), bare]
}

/** The ending of a repository's last segment that names the same repository with and without it. */
export const gitSuffix = '.git'

/** Segments counted from the end: `at(1)` is the last one. */
type Segments = (back: number) => string

type ServiceEntry = GitService & { readonly matches: (at: Segments) => boolean }

const infoFiles: ReadonlySet<string> = new Set(['packs', 'alternates', 'http-alternates'])

const services: readonly ServiceEntry[] = [
  {
    service: 'info/refs',
    length: 2,
    matches: (at) => at(1) === 'refs' && at(2) === 'info',
  },
  { service: 'git-upload-pack', length: 1, matches: (at) => at(1) === 'git-upload-pack' },
  { service: 'git-receive-pack', length: 1, matches: (at) => at(1) === 'git-receive-pack' },
  { service: 'git-upload-archive', length: 1, matches: (at) => at(1) === 'git-upload-archive' },
  { service: 'dumb', length: 1, matches: (at) => at(1) === 'HEAD' },
  { service: 'dumb', length: 3, matches: (at) => at(3) === 'objects' && isObjectFile(at) },
]

function isObjectFile(at: Segments): boolean {
  if (at(2) === 'info') return infoFiles.has(at(1))
  if (at(2) === 'pack') return /^pack-.+\.(pack|idx)$/.test(at(1))
  return /^[0-9a-f]{2}$/.test(at(2)) && /^([0-9a-f]{38}|[0-9a-f]{62})$/.test(at(1))
}
