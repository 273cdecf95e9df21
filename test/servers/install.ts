// Makes sure that the servers which the tests start, and the clients that they use, are on this machine:
// run before the tests, done at once when all are there. On Debian and its relatives, as root, it installs
// what is missing and says so first; anywhere else it names what is missing and how to get it, and fails.
// A missing server is never a skipped test. The tests start their servers themselves, on ports of their
// own: whatever a package starts by itself is left alone.

import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Another installation may hold the package manager's lock. */
const lockTimeoutSeconds = 120

type Need = {
  /** Its name on PATH; where `folder` is given, the name of a library. */
  readonly program: string
  /** Where a library is. */
  readonly folder?: string
  /** Packages that bring it on Debian, of which a release has at least one: the first that there is. */
  readonly debian: readonly string[]
  /** The same for Homebrew; undefined: not to be had there. */
  readonly homebrew: string | undefined
  readonly reason: string
}

const needs: readonly Need[] = [
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
    folder: '/usr/lib/python3/dist-packages/pygit2',
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
  { program: 'curl', debian: ['curl'], homebrew: 'curl', reason: 'a REST client' },
  {
    program: 'redis-server',
    debian: ['redis-server'],
    homebrew: 'redis',
    reason: 'the cache that gateways share',
  },
]

const missing = needs.filter((need) => !isHere(need))
if (missing.length > 0) process.exit(install(missing))

function install(wanted: readonly Need[]): number {
  if (!isPresent('apt-get') || process.getuid?.() !== 0) return explain(wanted)
  const programs = wanted.map(({ program }) => program).join(', ')
  console.error(`The tests need what is not here yet: ${programs}`)
  console.error('Installing it from the distribution (apt-get) …')
  const options = ['-q', '-o', `DPkg::Lock::Timeout=${lockTimeoutSeconds}`]
  aptGet([...options, 'update'])
  const packages = new Set(wanted.map(({ debian }) => debian.find(isKnown) ?? debian[0]!))
  aptGet([...options, 'install', '-y', '--no-install-recommends', ...packages])
  const left = wanted.filter((need) => !isHere(need))
  return left.length === 0 ? 0 : explain(left)
}

// What it could not do shows in what is still missing; its own words are on stderr.
function aptGet(args: readonly string[]): void {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  spawnSync('apt-get', args, { env, stdio: ['ignore', 2, 2] })
}

function isKnown(name: string): boolean {
  return spawnSync('apt-cache', ['show', '--no-all-versions', name]).status === 0
}

function explain(wanted: readonly Need[]): number {
  console.error('The tests start real servers and clients. These are missing here:')
  for (const { program, reason } of wanted) console.error(`  ${program}: ${reason}`)
  if (process.platform === 'darwin') {
    const formulas = new Set(wanted.flatMap(({ homebrew }) => homebrew ?? []))
    if (formulas.size > 0) console.error(`Homebrew has: brew install ${[...formulas].join(' ')}`)
    const rest = wanted.filter(({ homebrew }) => homebrew === undefined)
    const names = rest.map(({ program }) => program).join(', ')
    if (names !== '')
      console.error(`Not in Homebrew: ${names}. Run the tests in a Debian container.`)
  } else {
    const packages = new Set(wanted.map(({ debian }) => debian.at(-1)))
    console.error(`On Debian or Ubuntu: sudo apt-get install ${[...packages].join(' ')}`)
    console.error('Elsewhere: the packages of the same programs, so that they are on PATH.')
  }
  return 1
}

function isHere({ program, folder }: Need): boolean {
  return folder === undefined ? isPresent(program) : existsSync(folder)
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
