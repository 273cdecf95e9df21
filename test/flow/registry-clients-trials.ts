// What every client of a registry can do through the gateway, and what it is told when its token is one right
// short: the same trials for each way of asking for credentials. Of what is refused, nothing may have
// changed in the registry, and it may not have seen what it should not have been asked.

import t, { type Test } from 'tap'
import type { Finished } from '../servers/command.ts'
import type { ImageClient, ImageClientName, Session } from '../servers/image-clients.ts'
import { until } from '../servers/ready.ts'
import { mountsFrom, tryMounts } from './registry-clients-mounts.ts'
import {
  elsewhere,
  lacks,
  limited,
  type Place,
  push,
  type Rights,
  read,
  remove,
  well,
} from './registry-clients-place.ts'

/** What a client does; undefined where it cannot. */
type Act = (session: Session) => (() => Promise<Finished>) | undefined

/** Some clients show the status alone: they ask by HEAD first, or do not read that reply. */
type Short = readonly [Rights, sentence: string, wordless?: readonly ImageClientName[]]

type Trial = {
  readonly what: string
  readonly act: Act
  readonly granted: Rights
  /** Each one right short, with the sentence that says so. */
  readonly short: readonly Short[]
  /** Requests that the registry must not see of a refused one. */
  readonly unseen: RegExp
  /** What is true once it is done. */
  readonly done: (t: Test, finished: Finished, seen: readonly string[]) => void | Promise<void>
}

/** Of a wrong password; docker shows the words of the token service. */
const loginRefusals = {
  basic: '401 Unauthorized',
  bearer: 'unauthorized: the token is unknown',
  other: 'invalid username/password',
}

/** Has every client do all that it can, and be refused it, as tests of the calling file. */
export function tryClients(place: Place): void {
  const { challenge, gateway, upstream, clients, image, sessionOf, seenDuring, imageAt } = place

  for (const client of clients) {
    t.test(`${client.name}, challenged for ${challenge}`, async (t) => {
      await tryLogins(t, client)
      for (const trial of trialsOf(client.name)) {
        await t.test(trial.what, (t) => tryRights(t, client, trial))
      }
      await t.test('mount', (t) => tryMounts(t, place, client))
    })
  }

  t.test('a login ends with its token', async (t) => {
    const args = ['token', 'create', '--scope', read, '--json']
    const { id, token } = JSON.parse((await gateway.command(...args)).stdout)
    const users = clients.map((client) => ({ name: client.name, session: client.session() }))
    for (const { name, session } of users) {
      well(t, await session.login(token), name)
      well(t, await session.inspect('acme/app:list'), name)
    }
    t.equal((await gateway.command('token', 'revoke', id)).code, 0)
    const headers = { Authorization: `Basic ${Buffer.from(`user:${token}`).toString('base64')}` }
    await until('the gateway knows it', async () => {
      return (await fetch(`${gateway.url}/v2/`, { headers })).status === 401 || undefined
    })
    const seen = await seenDuring(async () => {
      for (const { name, session } of users) {
        const refused = await session.inspect('acme/app:list')
        t.not(refused.code, 0, name)
        // docker looks on after the registry's 401, and finds nothing in the end.
        const isWordless = name === 'docker' && challenge === 'basic'
        t.match(refused.stderr, isWordless ? 'no such manifest' : /token revoked on \d{4}-/, name)
        t.not((await session.login(token)).code, 0, name)
      }
    })
    t.strictSame(seen, [])
  })

  async function tryLogins(t: Test, client: ImageClient): Promise<void> {
    await t.test('login', async (t) => {
      const stranger = client.session()
      const seen = await seenDuring(async () => {
        const bad = await stranger.login('sgt_wrong')
        t.not(bad.code, 0)
        t.match(bad.stderr, loginRefusals[client.name === 'docker' ? challenge : 'other'])
        t.equal(stranger.isLoggedIn(), false, 'nothing is stored')
        const refused = await stranger.inspect('acme/app:list')
        t.not(refused.code, 0)
        t.match(refused.stderr, /a token is required|no basic auth credentials/)
      })
      t.strictSame(seen, [], 'the registry saw nothing of either')

      const grants = await place.grantsAsked()
      for (const rights of [[read], [remove], [push, elsewhere]]) {
        const session = await sessionOf(client, rights)
        t.equal(session.isLoggedIn(), true, rights.join(' '))
      }
      t.equal(
        (await place.grantsAsked()) > grants,
        challenge === 'bearer',
        'it goes the way of the challenge',
      )
    })
  }

  async function tryRights(t: Test, client: ImageClient, trial: Trial): Promise<void> {
    for (const [rights, sentence, wordless] of trial.short) {
      const before = upstream.stored()
      let refused: Finished | undefined
      const seen = await seenDuring(async () => {
        refused = await trial.act(await sessionOf(client, rights))?.()
      })
      const which = rights.join(' ')
      t.not(refused?.code, 0, which)
      const told = wordless?.includes(client.name) ? /403/ : sentence
      t.match(refused?.stderr, told, which)
      t.strictSame(upstream.stored(), before, `${which}: nothing has changed`)
      t.strictSame(
        seen.filter((line) => trial.unseen.test(line)),
        [],
        `${which}: the registry was not asked`,
      )
    }
    let permitted: Finished | undefined
    const seen = await seenDuring(async () => {
      permitted = await trial.act(await sessionOf(client, trial.granted))?.()
    })
    well(t, permitted)
    await trial.done(t, permitted as Finished, seen)
  }

  function trialsOf(name: ImageClientName): Trial[] {
    const pushed = place.newImage()
    const own = `acme/${name}`
    const readShort = (...wordless: readonly ImageClientName[]): readonly Short[] => [
      [[remove], lacks(read, 'acme/app'), wordless],
      [[push, elsewhere], limited('acme/app'), wordless],
    ]
    const all: readonly Trial[] = [
      {
        what: 'inspect',
        act: (session) => () => session.inspect('acme/app:list'),
        granted: [read],
        short: readShort(),
        unseen: /\/acme\/app\//,
        done: (t, { stdout }) => {
          t.match(JSON.parse(stdout), { manifests: [{ digest: image.digest }] })
        },
      },
      {
        what: 'pull',
        act: ({ pull }) => pull && (() => pull('acme/app:v1')),
        granted: [read],
        short: readShort(),
        unseen: /\/acme\/app\//,
        done: (t, { stdout }) => {
          t.equal(stdout, image.config)
        },
      },
      {
        what: 'list of tags',
        act: ({ tags }) => tags && (() => tags('acme/app')),
        granted: [read],
        short: readShort('skopeo', 'podman'),
        unseen: /\/acme\/app\//,
        done: (t, { stdout }) => {
          t.match(stdout, /\bv1\b/)
        },
      },
      {
        what: 'list of repositories',
        act: ({ repositories }) => repositories,
        granted: [push, elsewhere],
        short: [],
        unseen: /./,
        done: (t, { stdout }) => {
          t.match(stdout, 'team/app')
          t.notMatch(stdout, 'acme/')
        },
      },
      {
        what: 'push',
        act: (session) => session.push && (() => session.push!(pushed, `${own}:v1`)),
        granted: [push],
        short: [
          [[read], lacks(push, own)],
          [[remove], lacks(read, own), ['skopeo', 'podman', 'buildah']],
          [[push, elsewhere], limited(own), ['skopeo', 'podman', 'buildah']],
        ],
        unseen: /^(POST|PATCH|PUT|DELETE) /,
        done: async (t) => {
          t.same(await imageAt(`${own}:v1`), { config: pushed.config, whole: true })
        },
      },
      {
        what: 'push of a list',
        act: (session) => session.pushList && (() => listed(session, 'acme/app:pushed')),
        granted: [push],
        short: [
          [[read], lacks(push, 'acme/app')],
          [[remove], lacks(read, 'acme/app')],
          [[push, elsewhere], limited('acme/app')],
        ],
        unseen: /^(POST|PATCH|PUT|DELETE) /,
        done: async (t) => {
          t.match(await place.manifestAt('acme/app:pushed'), {
            manifests: [{ digest: image.digest }],
          })
        },
      },
      {
        what: 'push of a list of what stands in another repository, by mounts',
        act: (session) => session.pushList && (() => listed(session, 'acme/listed:v1')),
        granted: [push],
        short: [
          [[read], lacks(push, 'acme/listed')],
          [[push, elsewhere], limited('acme/app')],
        ],
        unseen: /^(POST|PATCH|PUT|DELETE) /,
        done: async (t, _, seen) => {
          t.equal(mountsFrom('acme/app', seen), 1 + image.layers.length)
          const listed = await imageAt(`acme/listed@${image.digest}`)
          t.same(listed, { config: image.config, whole: true })
        },
      },
      {
        what: 'delete',
        act: (session) => session.remove && (() => session.remove!(`${own}:v1`)),
        granted: [read, remove],
        short: [
          [[push], lacks(remove, own)],
          [[remove], lacks(read, own)],
          [[push, elsewhere], limited(own)],
        ],
        unseen: /^DELETE /,
        done: async (t) => {
          t.equal((await place.replyAt(`${own}:v1`)).status, 404)
        },
      },
    ]
    const some = clients.find((client) => client.name === name)!.session()
    return all.filter(({ act }) => act(some) !== undefined)
  }
}

/** A list of acme/app:v1, made and pushed. */
export async function listed(session: Session, list: string): Promise<Finished> {
  const made = await session.makeList!(list, 'acme/app:v1')
  return made.code === 0 ? await session.pushList!(list) : made
}
