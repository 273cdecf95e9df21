// What clients do with blobs that the registry has in another repository: they have them mounted where the
// token may pull them there, and send them where it may not.

import type { Test } from 'tap'
import type { Finished } from '../servers/command.ts'
import type { ImageClient } from '../servers/image-clients.ts'
import {
  elsewhere,
  lacks,
  type Place,
  push,
  type Rights,
  read,
  well,
} from './registry-clients-place.ts'

export function tryMounts(t: Test, place: Place, client: ImageClient): Promise<void> {
  return client.name === 'docker' ? mountLists(t, place, client) : mountImages(t, place, client)
}

/** Of an image whose layers the client knows to stand in another repository. */
async function mountImages(t: Test, place: Place, client: ImageClient): Promise<void> {
  const { upstream, sessionOf, seenDuring, imageAt } = place
  const known = place.newImage()
  const from = `acme/${client.name}-base`
  const to = `acme/${client.name}-mounted`
  const beyond = `team/${client.name}-sent`
  const copy = async (rights: Rights, target: string): Promise<Finished> => {
    const { push: copy } = await sessionOf(client, rights)
    return await copy!(known, `${target}:v1`)
  }
  well(t, await copy([push], from))

  const before = upstream.stored()
  const refused = await copy([read], to)
  t.not(refused.code, 0)
  t.match(refused.stderr, lacks(push, to))
  t.strictSame(upstream.stored(), before, 'nothing has changed')

  const mounting = await seenDuring(async () => well(t, await copy([push], to)))
  t.equal(mountsFrom(from, mounting), known.layers.length, 'every layer is mounted')
  t.same(await imageAt(`${to}:v1`), { config: known.config, whole: true })

  const sending = await seenDuring(async () => well(t, await copy([push, elsewhere], beyond)))
  const ofSource = sending.filter((line) => line.includes('acme'))
  t.strictSame(ofSource, [], 'what it may not pull is sent, and the source not named')
  t.same(await imageAt(`${beyond}:v1`), { config: known.config, whole: true })
}

/** docker, unlike the others, does not look at the source before it has its blobs mounted. */
async function mountLists(t: Test, place: Place, client: ImageClient): Promise<void> {
  const { upstream, seenDuring } = place
  const session = client.session()
  well(t, await session.login(await place.tokenWith([push])))
  well(t, await session.makeList!('team/listed:v1', 'acme/app:v1'))
  well(t, await session.login(await place.tokenWith([push, elsewhere])))
  const seen = await seenDuring(async () => {
    const finished = await session.pushList!('team/listed:v1')
    t.not(finished.code, 0, 'it has no blobs that it could send instead')
  })
  t.match(
    seen,
    [/^POST \S+\/uploads\/ 202$/, /^DELETE \S+ 204$/],
    'it begins an upload, and cancels it',
  )
  const ofSource = seen.filter((line) => line.includes('acme'))
  t.strictSame(ofSource, [], 'the registry hears no word of the source')
  const blobs = upstream.stored().filter((line) => line.includes('/team/listed/_layers/'))
  t.strictSame(blobs, [], 'no blob is there')
}

/** How many blobs the registry took from that repository. */
export function mountsFrom(repository: string, seen: readonly string[]): number {
  const from = `from=${encodeURIComponent(repository)}`
  return seen.filter(
    (line) => line.startsWith('POST ') && line.includes(from) && line.endsWith(' 201'),
  ).length
}
