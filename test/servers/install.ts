// Makes sure that the servers which the tests start are on this machine: run before the tests, done at
// once when all are there. On Debian and its relatives, as root, it installs what is missing and says so
// first; anywhere else it names what is missing and how to get it, and fails. A missing server is never a
// skipped test. It starts nothing: tests start their servers themselves, on ports of their own.

import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Another installation may hold the package manager's lock. */
const lockTimeoutSeconds = 120

type Need = {
  /** The package that brings it, on Debian. */
  readonly debian: string
  /** The same for Homebrew; undefined: not to be had there. */
  readonly homebrew: string | undefined
  readonly reason: string
  readonly present: () => boolean
}

const needs: readonly Need[] = [
  need('git', 'git', 'git', 'clients that clone and push'),
  {
    debian: 'git',
    homebrew: 'git',
    reason: 'git-http-backend, the git server behind the gateway',
    present: hasGitBackend,
  },
  need('nginx', 'nginx', 'nginx', 'the web server of the git server'),
  need('fcgiwrap', 'fcgiwrap', 'fcgiwrap', 'runs git-http-backend for nginx'),
  need(
    'docker-registry',
    'docker-registry',
    undefined,
    'the container registry behind the gateway',
  ),
  need('skopeo', 'skopeo', 'skopeo', 'a client that pushes and pulls images'),
  need('curl', 'curl', 'curl', 'a REST client'),
  need('redis-server', 'redis-server', 'redis', 'the cache that gateways share'),
]

const missing = needs.filter((one) => !one.present())
if (missing.length > 0) process.exit(install(missing))

function install(wanted: readonly Need[]): number {
  const packages = [...new Set(wanted.map((one) => one.debian))]
  if (!isExecutable('apt-get') || process.getuid?.() !== 0) return explain(wanted, packages)
  console.error(`The tests need these packages, which are not here yet: ${packages.join(' ')}`)
  console.error('Installing them from the distribution (apt-get) …')
  const lock = ['-o', `DPkg::Lock::Timeout=${lockTimeoutSeconds}`, '-q']
  aptGet([...lock, 'update'])
  aptGet([...lock, 'install', '-y', '--no-install-recommends', ...packages])
  const left = wanted.filter((one) => !one.present())
  return left.length === 0 ? 0 : explain(left, packages)
}

// What it could not do shows in what is still missing; its own words are on stderr.
function aptGet(args: readonly string[]): void {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  spawnSync('apt-get', args, { env, stdio: ['ignore', 2, 2] })
}

function explain(wanted: readonly Need[], packages: readonly string[]): number {
  console.error('The tests start real servers and clients. These are missing here:')
  for (const { debian, reason } of wanted) console.error(`  ${debian}: ${reason}`)
  if (process.platform === 'darwin') {
    const formulas = [...new Set(wanted.flatMap((one) => one.homebrew ?? []))]
    if (formulas.length > 0) console.error(`Homebrew has: brew install ${formulas.join(' ')}`)
    const rest = wanted.filter((one) => one.homebrew === undefined).map((one) => one.debian)
    if (rest.length > 0)
      console.error(`Not in Homebrew: ${rest.join(' ')}; test in a Debian container`)
  } else {
    console.error(`On Debian or Ubuntu: sudo apt-get install ${packages.join(' ')}`)
    console.error('Elsewhere: the packages of the same programs, so that they are on PATH.')
  }
  return 1
}

function need(program: string, debian: string, homebrew: string | undefined, reason: string): Need {
  return { debian, homebrew, reason, present: () => isExecutable(program) }
}

function hasGitBackend(): boolean {
  const folder = spawnSync('git', ['--exec-path'], { encoding: 'utf8' }).stdout?.trim()
  return folder !== undefined && isExecutable('git-http-backend', [folder])
}

// Debian keeps servers out of an ordinary user's PATH.
function isExecutable(program: string, folders?: readonly string[]): boolean {
  const places = folders ?? [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin']
  return places.some((place) => {
    try {
      accessSync(join(place, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}
