// Makes sure that programs are on this machine: run by itself, those that the tests start and use, before the
// tests, done at once when all are there. On Debian and its relatives, as root, it installs what is missing
// and says so first; anywhere else it names what is missing and how to get it, and fails.
// A missing server is never a skipped test. The tests start their servers themselves, on ports of their
// own: whatever a package starts by itself is left alone.

import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Another installation may hold the package manager's lock. */
const lockTimeoutSeconds = 120

/** A program or library that must be there. */
export type Need = {
  /** Its name on PATH; where `path` is given, the name of a library. */
  readonly program: string
  /** Where a library is: a folder or a file. */
  readonly path?: string
  /** Packages that bring it on Debian, of which a release has at least one: the first that there is. */
  readonly debian: readonly string[]
  /** The same for Homebrew; undefined: not to be had there. */
  readonly homebrew: string | undefined
  readonly reason: string
}

const testNeeds: readonly Need[] = [
  { program: 'git', debian: ['git'], homebrew: 'git', reason: 'a client that clones and pushes' },
  {
    program: 'git-http-backend',
    debian: ['git'],
    homebrew: 'git',
    reason: 'the git server behind the gateway',
  },
  {
    program: 'nginx',
    debian: ['nginx'],
    homebrew: 'nginx',
    reason: 'the web server of the git server',
  },
  {
    program: 'fcgiwrap',
    debian: ['fcgiwrap'],
    homebrew: 'fcgiwrap',
    reason: 'runs git-http-backend for nginx',
  },
  {
    program: 'apache2',
    debian: ['apache2-bin'],
    homebrew: undefined,
    reason: 'another web server of the git server',
  },
  {
    program: 'pygit2',
    path: '/usr/lib/python3/dist-packages/pygit2',
    debian: ['python3-pygit2'],
    homebrew: undefined,
    reason: 'libgit2, a client that clones and pushes without git',
  },
  {
    program: 'docker-registry',
    debian: ['docker-registry'],
    homebrew: undefined,
    reason: 'the container registry behind the gateway',
  },
  {
    program: 'docker',
    debian: ['docker-cli', 'docker.io'],
    homebrew: 'docker',
    reason: 'a client that logs in to the registry; its daemon is not needed',
  },
  {
    program: 'skopeo',
    debian: ['skopeo'],
    homebrew: 'skopeo',
    reason: 'a client that pushes and pulls images',
  },
  {
    program: 'podman',
    debian: ['podman'],
    homebrew: undefined,
    reason: 'another one, which keeps images; it runs no containers here',
  },
  {
    program: 'buildah',
    debian: ['buildah'],
    homebrew: undefined,
    reason: 'a third one; it builds nothing here',
  },
  { program: 'curl', debian: ['curl'], homebrew: 'curl', reason: 'a REST client' },
  {
    program: 'redis-server',
    debian: ['redis-server'],
    homebrew: 'redis',
    reason: 'the cache that gateways share',
  },
]

if (import.meta.main) process.exit(install(testNeeds, 'The tests'))

/** Exit status: 0 once all of it is there. `who`, as a sentence begins, needs it. */
export function install(needs: readonly Need[], who: string): number {
  const wanted = findMissing(needs)
  if (wanted.length === 0) return 0
  if (!isPresent('apt-get') || process.getuid?.() !== 0) return explain(wanted, who)
  const programs = wanted.map(({ program }) => program).join(', ')
  console.error(`${who} need what is not here yet: ${programs}`)
  console.error('Installing it from the distribution (apt-get) …')
  const options = ['-q', '-o', `DPkg::Lock::Timeout=${lockTimeoutSeconds}`]
  aptGet([...options, 'update'])
  const packages = new Set(wanted.map(({ debian }) => debian.find(isKnown) ?? debian[0]!))
  aptGet([...options, 'install', '-y', '--no-install-recommends', ...packages])
  const left = findMissing(wanted)
  return left.length === 0 ? 0 : explain(left, who)
}

export function findMissing(needs: readonly Need[]): Need[] {
  return needs.filter(({ program, path }) =>
    path === undefined ? !isPresent(program) : !existsSync(path),
  )
}

// What it could not do shows in what is still missing; its own words are on stderr.
function aptGet(args: readonly string[]): void {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  spawnSync('apt-get', args, { env, stdio: ['ignore', 2, 2] })
}

function isKnown(name: string): boolean {
  return spawnSync('apt-cache', ['show', '--no-all-versions', name]).status === 0
}

/** Names what is missing and how to get it. Exit status: 1. */
export function explain(wanted: readonly Need[], who: string): number {
  console.error(`${who} start real servers and clients. These are missing here:`)
  for (const { program, reason } of wanted) console.error(`  ${program}: ${reason}`)
  if (process.platform === 'darwin') {
    const formulas = new Set(wanted.flatMap(({ homebrew }) => homebrew ?? []))
    if (formulas.size > 0) console.error(`Homebrew has: brew install ${[...formulas].join(' ')}`)
    const rest = wanted.filter(({ homebrew }) => homebrew === undefined)
    const names = rest.map(({ program }) => program).join(', ')
    if (names !== '') console.error(`Not in Homebrew: ${names}. Run this in a Debian container.`)
  } else {
    const packages = new Set(wanted.map(({ debian }) => debian.at(-1)))
    console.error(`On Debian or Ubuntu: sudo apt-get install ${[...packages].join(' ')}`)
    console.error('Elsewhere: the packages of the same programs, so that they are on PATH.')
  }
  return 1
}

// Debian keeps servers out of an ordinary user's PATH, and git its backend in a folder of its own.
function isPresent(program: string): boolean {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin']
  if (program === 'git-http-backend') {
    folders.push(spawnSync('git', ['--exec-path'], { encoding: 'utf8' }).stdout?.trim() ?? '')
  }
  return folders.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
