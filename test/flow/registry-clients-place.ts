// Where clients of registries are tried: a registry with an image in it, a gateway before it that asks for
// credentials in one way, and users of each client who have logged in with tokens by their rights.

import { join } from 'node:path'
import t from 'tap'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import {
  createImageClient,
  type ImageClient,
  imageClientNames,
  type Session,
} from '../servers/image-clients.ts'
import { makeFolder, removeFolder } from '../servers/lifetime.ts'
import { type OciImage, writeOciLayout } from '../servers/oci-layout.ts'
import { type RegistryServer, startRegistry } from '../servers/registry-server.ts'

export type Challenge = 'basic' | 'bearer'

export const read = 'containers:read'
export const push = 'containers:read-update'
export const remove = 'containers:delete'

/** Scopes, and limits written `KEY=PATTERN`. */
export type Rights = readonly string[]

export type Manifest = {
  readonly config: { readonly digest: string }
  readonly layers: readonly { readonly digest: string }[]
}

export type Place = {
  readonly gateway: Gateway
  readonly upstream: RegistryServer
  readonly clients: readonly ImageClient[]
  /** In the registry as acme/app:v1 and team/app:v1; the list acme/app:list names it. */
  readonly image: OciImage
  /** Of random bytes: no registry and no client has seen it. */
  newImage(): OciImage
  /** A user of the client who has logged in, once, with a token of these rights. */
  sessionOf(client: ImageClient, rights: Rights): Promise<Session>
  /** What the registry is asked of repositories while `act` runs, as `METHOD URI STATUS`. */
  seenDuring(act: () => Promise<unknown>): Promise<string[]>
  /** How often the gateway was asked for a grant so far. */
  grantsAsked(): number
  /** The registry's own reply for `REPOSITORY:TAG` or `REPOSITORY@DIGEST`. */
  replyAt(name: string): Promise<Response>
  manifestAt(name: string): Promise<Manifest>
  /** What stands in the registry: the image's configuration, and whether all of its blobs are there. */
  imageAt(name: string): Promise<{ readonly config: string; readonly whole: boolean }>
}

const imageType = 'application/vnd.oci.image.manifest.v1+json'
const indexType = 'application/vnd.oci.image.index.v1+json'
/** docker's own index, which every version of every client can show. */
const listType = 'application/vnd.docker.distribution.manifest.list.v2+json'
const layerBytes = [10, 70_000]
const tokenPath = '/registry-token'

/** Starts all of it; it ends with the test file. */
export async function startPlace(challenge: Challenge): Promise<Place> {
  const upstream: RegistryServer = await startRegistry()
  const gateway: Gateway = await startGateway(configuration(challenge, upstream.url))
  const folder = makeFolder('images')
  const clients = imageClientNames.map((name) => createImageClient(name, hostOf(gateway.url)))
  t.teardown(async () => {
    for (const client of clients) client.remove()
    await gateway.stop()
    await upstream.stop()
    removeFolder(folder)
  })
  const tokens = new Map<string, Promise<string>>()
  const sessions = new Map<string, Promise<Session>>()
  let images = 0
  const image = newImage()
  await put(image)
  const asked = { seenDuring, grantsAsked, replyAt, manifestAt, imageAt }
  return { gateway, upstream, clients, image, newImage, sessionOf, ...asked }

  function newImage(): OciImage {
    return writeOciLayout(join(folder, `image-${++images}`), layerBytes)
  }

  /** A token, made once. */
  function tokenWith(rights: Rights): Promise<string> {
    const key = rights.join()
    const args = rights.flatMap((right) => [right.includes('=') ? '--resource' : '--scope', right])
    const made = tokens.get(key) ?? gateway.token('--subject', 'ada', ...args)
    tokens.set(key, made)
    return made
  }

  function sessionOf(client: ImageClient, rights: Rights): Promise<Session> {
    const key = `${client.name} ${rights.join()}`
    const logIn = async (): Promise<Session> => {
      const session = client.session()
      const { code, stderr } = await session.login(await tokenWith(rights))
      if (code !== 0) throw new Error(`${client.name} cannot log in: ${stderr}`)
      return session
    }
    const session = sessions.get(key) ?? logIn()
    sessions.set(key, session)
    return session
  }

  /** Puts an image into the registry behind the gateway's back, and a list that names it. */
  async function put(image: OciImage): Promise<void> {
    const client = createImageClient('skopeo', hostOf(upstream.url))
    for (const name of ['acme/app:v1', 'team/app:v1']) {
      const { code, stderr } = await client.session().push!(image, name)
      if (code !== 0) throw new Error(`the image was not taken: ${stderr}`)
    }
    client.remove()
    const manifest = await (await replyAt('acme/app:v1')).text()
    const platform = { architecture: 'amd64', os: 'linux' }
    const of = { mediaType: imageType, digest: image.digest, size: manifest.length, platform }
    const taken = await fetch(`${upstream.url}/v2/acme/app/manifests/list`, {
      method: 'PUT',
      headers: { 'Content-Type': listType },
      body: JSON.stringify({ schemaVersion: 2, mediaType: listType, manifests: [of] }),
    })
    if (taken.status !== 201) throw new Error(`the list was not taken: ${await taken.text()}`)
  }

  async function seenDuring(act: () => Promise<unknown>): Promise<string[]> {
    const before = (await upstream.requests()).length
    await act()
    const requests = (await upstream.requests()).slice(before)
    return requests
      .filter(({ uri }) => uri !== '/v2/')
      .map(({ method, uri, status }) => `${method} ${uri} ${status}`)
  }

  function grantsAsked(): number {
    return gateway.log().filter(({ msg, path }) => msg === 'request' && path === tokenPath).length
  }

  async function replyAt(name: string): Promise<Response> {
    const [repository, reference] = name.split(/[:@](.*)/)
    const accept = [imageType, indexType, listType]
    const url = `${upstream.url}/v2/${repository}/manifests/${reference}`
    return await fetch(url, { headers: { Accept: accept.join() } })
  }

  async function manifestAt(name: string): Promise<Manifest> {
    return (await (await replyAt(name)).json()) as Manifest
  }

  async function imageAt(name: string): Promise<{ config: string; whole: boolean }> {
    const { config, layers } = await manifestAt(name)
    const [repository] = name.split(/[:@]/)
    const replies = [config, ...layers].map(({ digest }) =>
      fetch(`${upstream.url}/v2/${repository}/blobs/${digest}`, { method: 'HEAD' }),
    )
    const statuses = (await Promise.all(replies)).map(({ status }) => status)
    return { config: config.digest, whole: statuses.every((status) => status === 200) }
  }
}

function configuration(challenge: Challenge, upstream: string): object {
  const tokenService = { path: tokenPath, service: 'registry-token', allow: 'public' }
  return {
    scopes: {
      [read]: 'Pull images',
      [push]: { description: 'Push images', implies: [read] },
      [remove]: 'Delete images',
    },
    upstreams: { hub: { url: upstream } },
    routes: [
      {
        protocol: 'registry',
        upstream: 'hub',
        ...(challenge === 'bearer' && { challenge }),
        allow: { pull: read, push, delete: remove, catalog: 'authenticated' },
      },
      ...(challenge === 'bearer' ? [tokenService] : []),
    ],
  }
}

function hostOf(url: string): string {
  return url.replace('http://', '')
}
