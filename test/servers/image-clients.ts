// The clients of container registries that platform teams use, each as far as it goes without a daemon and
// without running a container: skopeo, podman, buildah and the docker command line. They keep credentials
// and images in folders of their own, speak plain HTTP, and trust every image.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { type CommandOptions, type Finished, run } from './command.ts'
import { makeFolder, plainEnvironment, removeFolder } from './lifetime.ts'
import type { OciImage } from './oci-layout.ts'

export const imageClientNames = ['skopeo', 'podman', 'buildah', 'docker'] as const

export type ImageClientName = (typeof imageClientNames)[number]

export type ImageClient = {
  readonly name: ImageClientName
  /** A user that has not logged in yet; what the client knows of images, its sessions share. */
  session(): Session
  /** A user whose credentials are kept by a helper program (`docker-credential-…`). */
  helpedSession(username: string, secret: string): Session
  remove(): void
}

/** Repositories are named without the host. What is undefined, the client has no command for. */
export type Session = {
  /** As people log in: any user name, the token as the password. The other calls use what it stores. */
  login(token: string): Promise<Finished>
  /** Whether a login is stored. */
  isLoggedIn(): boolean
  /** stdout is the manifest. */
  inspect(image: string): Promise<Finished>
  /** stdout is the digest of the image's configuration, once all of the image is here. */
  readonly pull?: (image: string) => Promise<Finished>
  /** Pushes the image of a layout, under this name. */
  readonly push?: (image: OciImage, to: string) => Promise<Finished>
  /** Makes a list, on this side, of one image of the registry, which may be of another repository. */
  readonly makeList?: (list: string, image: string) => Promise<Finished>
  /** Pushes a list that was made, and has the registry mount what it names. */
  readonly pushList?: (list: string) => Promise<Finished>
  /** stdout holds the tags. */
  readonly tags?: (repository: string) => Promise<Finished>
  /** stdout holds the names of the repositories. */
  readonly repositories?: () => Promise<Finished>
  readonly remove?: (image: string) => Promise<Finished>
}

/** `host` with its port, as clients name a registry. */
export function createImageClient(name: ImageClientName, host: string): ImageClient {
  const folder = makeFolder(name)
  const loaded = new Map<OciImage, Promise<Finished>>()
  let sessions = 0
  const newAccount = (): string => {
    const account = join(folder, `account-${++sessions}`)
    mkdirSync(dirname(loginFile(name, account)), { recursive: true })
    return account
  }
  const session = (account = newAccount()): Session =>
    start[name]({ host, folder, account, loaded })
  return {
    name,
    session: () => session(),
    helpedSession: (Username, Secret) => {
      const account = newAccount()
      const answer = JSON.stringify({ Username, Secret })
      const script = `#!/bin/sh\ncat > /dev/null\necho '${answer}'\n`
      writeFileSync(join(account, 'docker-credential-test'), script, { mode: 0o755 })
      writeFileSync(loginFile(name, account), JSON.stringify({ credHelpers: { [host]: 'test' } }))
      return session(account)
    },
    remove: () => removeFolder(folder),
  }
}

/** Where it keeps logins, in docker's format. */
function loginFile(name: ImageClientName, account: string): string {
  return join(account, name === 'docker' ? 'config.json' : 'containers/auth.json')
}

type Place = {
  readonly host: string
  /** Of the client: its images. */
  readonly folder: string
  /** Of the session: its home, with its credentials. */
  readonly account: string
  /** The images that were brought into the client's store. */
  readonly loaded: Map<OciImage, Promise<Finished>>
}

const start: Readonly<Record<ImageClientName, (place: Place) => Session>> = {
  skopeo: startSkopeo,
  podman: (place) => startStoring('podman', place),
  buildah: (place) => startStoring('buildah', place),
  docker: startDocker,
}

function startSkopeo(place: Place): Session {
  const { host, account } = place
  const skopeo = program('skopeo', ['--insecure-policy'], containersEnvironment(place))
  let pulls = 0
  return {
    ...loginOf(skopeo, host, loginFile('skopeo', account)),
    inspect: (image) => skopeo(['inspect', '--raw', `docker://${host}/${image}`]),
    pull: async (image) => {
      const to = join(account, `pulled-${++pulls}`)
      const pulled = await skopeo(['copy', `docker://${host}/${image}`, `dir:${to}`])
      if (pulled.code !== 0) return pulled
      const { config } = JSON.parse(readFileSync(join(to, 'manifest.json'), 'utf8'))
      return { ...pulled, stdout: config.digest }
    },
    push: (image, to) => skopeo(['copy', image.source, `docker://${host}/${to}`]),
    tags: (repository) => skopeo(['list-tags', `docker://${host}/${repository}`]),
    remove: (image) => skopeo(['delete', `docker://${host}/${image}`]),
  }
}

/** podman and buildah: they push from a store of images, and pull into one. */
function startStoring(name: 'podman' | 'buildah', place: Place): Session {
  const { host, folder, account, loaded } = place
  const global = ['--storage-driver', 'vfs', '--runroot', join(folder, 'run')]
  // Without containers there is nothing to report, and no control group to make.
  const quiet = ['--events-backend', 'none', '--cgroup-manager', 'cgroupfs']
  if (name === 'podman') global.push(...quiet, '--tmpdir', join(folder, 'tmp'))
  const env = containersEnvironment(place)
  const withStore = (store: string): Program => program(name, [...global, '--root', store], env)
  const client = withStore(join(folder, 'images'))
  let pulls = 0
  const load = (image: OciImage): Promise<Finished> => {
    // The image's name becomes the path of its layout, and a name has no capitals: a relative one.
    const from = ['pull', '-q', `oci:${basename(image.folder)}:latest`]
    const taken = loaded.get(image) ?? client(from, { cwd: dirname(image.folder) })
    loaded.set(image, taken)
    return taken
  }
  return {
    ...loginOf(client, host, loginFile(name, account)),
    inspect: (image) => client(['manifest', 'inspect', `${host}/${image}`]),
    pull: async (image) => {
      // What is in a store already would not be asked for again.
      const empty = withStore(join(account, `pulled-${++pulls}`))
      const pulled = await empty(['pull', '-q', `docker://${host}/${image}`])
      return pulled.code === 0 ? { ...pulled, stdout: `sha256:${pulled.stdout.trim()}` } : pulled
    },
    push: async (image, to) => {
      const taken = await load(image)
      if (taken.code !== 0) throw new Error(`${name} cannot read the image: ${taken.stderr}`)
      return await client(['push', taken.stdout.trim(), `docker://${host}/${to}`])
    },
    ...(name === 'podman' && {
      tags: (repository) => client(['search', '--list-tags', `${host}/${repository}`]),
      repositories: () => client(['search', `${host}/`]),
    }),
  }
}

/** Without its daemon docker has no images; `docker manifest` speaks to registries by itself. */
function startDocker({ host, account }: Place): Session {
  const docker = program('docker', ['--config', account], environmentOf(account))
  return {
    ...loginOf(docker, host, loginFile('docker', account)),
    inspect: (image) => docker(['manifest', 'inspect', '--insecure', `${host}/${image}`]),
    makeList: (list, image) =>
      docker(['manifest', 'create', '--insecure', `${host}/${list}`, `${host}/${image}`]),
    pushList: (list) => docker(['manifest', 'push', '--insecure', '--purge', `${host}/${list}`]),
  }
}

type Program = (args: readonly string[], options?: CommandOptions) => Promise<Finished>

function program(name: string, global: readonly string[], env: NodeJS.ProcessEnv): Program {
  return (args, options) => run(name, [...global, ...args], { env, ...options })
}

function loginOf(
  client: Program,
  host: string,
  file: string,
): Pick<Session, 'login' | 'isLoggedIn'> {
  return {
    login: (token) =>
      client(['login', '--username', 'user', '--password-stdin', host], { input: token }),
    isLoggedIn: () => {
      if (!existsSync(file)) return false
      const { auths = {} } = JSON.parse(readFileSync(file, 'utf8'))
      return Object.hasOwn(auths, host)
    },
  }
}

/** The account is the user's home, and holds the user's own programs. */
function environmentOf(account: string): NodeJS.ProcessEnv {
  return { PATH: `${account}:${plainEnvironment().PATH}`, HOME: account, TMPDIR: account }
}

/** skopeo, podman and buildah read the same files; they need to be told of a registry without TLS. */
function containersEnvironment({ host, account }: Place): NodeJS.ProcessEnv {
  const settings = join(account, '.config', 'containers')
  mkdirSync(settings, { recursive: true })
  const registry = `[[registry]]\nlocation = "${host}"\ninsecure = true\n`
  writeFileSync(join(settings, 'registries.conf'), registry)
  return { ...environmentOf(account), XDG_RUNTIME_DIR: account }
}
