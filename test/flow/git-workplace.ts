// What git's tests share: the gateway with the route map that the product brings, a real git server behind
// it, tokens by their scopes, and repositories with something to push.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Finished } from '../servers/command.ts'
import { type Gateway, projectFolder, startGateway } from '../servers/gateway.ts'
import { createGitClient, type GitClient } from '../servers/git-client.ts'
import { type GitServer, startGitServer } from '../servers/git-server.ts'

const nowhere = 'http://127.0.0.1:9'

/** The git server that tests ask what it saw. */
export const upstream: GitServer = await startGitServer()
/** The gateway before it. */
export const gateway: Gateway = await startGateway({
  include: [join(projectFolder, 'config', 'routes', 'foundries.yaml')],
  upstreams: {
    api: { url: nowhere },
    hub: { url: nowhere },
    git: { url: upstream.url, identity: { subject: 'X-Remote-User' } },
  },
})
t.teardown(async () => {
  await gateway.stop()
  await upstream.stop()
})

const tokens = new Map<string, Promise<string>>()
let repositories = 0

/** A token with these scopes, made once. */
export function tokenWith(...scopes: readonly string[]): Promise<string> {
  const key = scopes.join()
  const made = tokens.get(key) ?? gateway.token('--subject', 'ada', '--scope', key)
  tokens.set(key, made)
  return made
}

/** The address of a repository with credentials in it, as people paste it. */
export function remote(repository: string, token: string, user = 'user'): string {
  return `${gateway.url.replace('://', `://${user}:${token}@`)}/${repository}`
}

export type Workplace = {
  readonly client: GitClient
  /** `acme/r1`. */
  readonly name: string
  /** A push from the clone, with a token of these scopes. */
  push(scopes: readonly string[], ...args: readonly string[]): Promise<Finished>
  /** What the git server was asked for this repository since the last call, as `POST git-receive-pack`. */
  seen(): Promise<string[]>
  /** What the server's refs are. */
  refs(): Promise<string>
}

/** A repository with one commit on main, a branch `old` and a tag `v1`, and a clone with a commit to push. */
export async function workplace(
  t: Test,
  objectFormat: 'sha1' | 'sha256' = 'sha1',
): Promise<Workplace> {
  const client = createGitClient()
  t.teardown(() => client.remove())
  const name = `acme/r${++repositories}`
  const direct = `${upstream.url}/${name}.git`
  await upstream.createRepository(name, { objectFormat })
  await client.git('', 'init', '-q', `--object-format=${objectFormat}`, 'work')
  await client.git('work', 'commit', '-q', '--allow-empty', '-m', 'first')
  await client.git('work', 'tag', '-a', 'v1', '-m', 'v1')
  await client.git('work', 'push', '-q', direct, 'main', 'main:old', 'v1')
  writeFileSync(join(client.folder, 'work', 'file'), 'text\n')
  await client.git('work', 'add', 'file')
  await client.git('work', 'commit', '-q', '-m', 'second')
  const arrived = async (): Promise<string[]> => {
    const requests = (await upstream.requests()).filter(({ uri }) =>
      uri.startsWith(`/${name}.git/`),
    )
    return requests.map(({ method, uri }) => `${method} ${uri.slice(name.length + 6)}`)
  }
  let seenBefore = (await arrived()).length
  return {
    client,
    name,
    push: async (scopes, ...args) =>
      client.run('work', ['push', remote(`${name}.git`, await tokenWith(...scopes)), ...args]),
    seen: async () => {
      const requests = (await arrived()).slice(seenBefore)
      seenBefore += requests.length
      return requests
    },
    refs: () => upstream.git(name, 'show-ref'),
  }
}
