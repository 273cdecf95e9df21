// Where clients of registries are tried: a registry with an image in it, a gateway before it that asks for
// credentials in one way, and users of each client who have logged in with tokens by their rights.

import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Finished, mustRun } from '../servers/command.ts'
import { type Gateway, startGateway } from '../servers/gateway.ts'
import {
  createImageClient,
  type ImageClient,
  imageClientNames,
  type Session,
} from '../servers/image-clients.ts'
import { makeFolder, removeFolder } from '../servers/lifetime.ts'
import { type OciImage, sha256, writeOciLayout } from '../servers/oci-layout.ts'
import { type RegistryServer, startRegistry } from '../servers/registry-server.ts'

export type Challenge = 'basic' | 'bearer'

export const read = 'containers:read'
export const push = 'containers:read-update'
export const remove = 'containers:delete'

/** A limit; nearly all that the trials use is in acme/. */
export const elsewhere = 'repository=team/*'

/** Scopes, and limits written `KEY=PATTERN`. */
export type Rights = readonly string[]

export type Manifest = {
  readonly config: { readonly digest: string }
  readonly layers: readonly { readonly digest: string }[]
}

export type Place = {
  readonly challenge: Challenge
  readonly gateway: Gateway
  readonly upstream: RegistryServer
  readonly clients: readonly ImageClient[]
  /** In the registry as acme/app:v1 and team/app:v1; the list acme/app:list names it. */
  readonly image: OciImage
  /** Of random bytes: no registry and no client has seen it. */
  newImage(): OciImage
  /** A token, made once. */
  tokenWith(rights: Rights): Promise<string>
  /** A user of the client who has logged in, once, with a token of these rights. */
  sessionOf(client: ImageClient, rights: Rights): Promise<Session>
  /** What the registry is asked of repositories while `act` runs, as `METHOD URI STATUS`. */
  seenDuring(act: () => Promise<unknown>): Promise<string[]>
  /** How often the gateway was asked for a grant so far. */
  grantsAsked(): Promise<number>
  /** The registry's own reply for `REPOSITORY:TAG` or `REPOSITORY@DIGEST`. */
  replyAt(name: string): Promise<Response>
  manifestAt(name: string): Promise<Manifest>
  /** What stands in the registry: the image's configuration, and whether all of its blobs are there. */
  imageAt(name: string): Promise<{ readonly config: string; readonly whole: boolean }>
}

/** What the refusal says of a token without the scope, and of one that is limited to other repositories. */
export function lacks(scope: string, repository: string): string {
  return `requested access to the resource is denied: token lacks scope ${scope} on ${repository}`
}
export function limited(repository: string): string {
  return `requested access to the resource is denied: token is limited to repository team/*; this request is for repository ${repository}`
}

const imageType = 'application/vnd.docker.distribution.manifest.v2+json'
const listType = 'application/vnd.docker.distribution.manifest.list.v2+json'
/** What clients push by themselves. */
const ociTypes = ['manifest', 'index'].map((kind) => `application/vnd.oci.image.${kind}.v1+json`)
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
  let markers = 0
  const made = newImage()
  const image = { ...made, digest: await put(made) }
  const asked = { seenDuring, grantsAsked, replyAt, manifestAt, imageAt }
  return { challenge, gateway, upstream, clients, image, newImage, tokenWith, sessionOf, ...asked }

  function newImage(): OciImage {
    return writeOciLayout(join(folder, `image-${++images}`), layerBytes)
  }

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

  /**
   * Puts an image into the registry behind the gateway's back, and a list that names it. Both as docker itself
   * writes them, which every version of every client reads. Resolves with the digest of its manifest.
   */
  async function put({ source }: OciImage): Promise<string> {
    const env = { HOME: folder, XDG_RUNTIME_DIR: folder }
    const copy = [
      '--insecure-policy',
      'copy',
      '--format',
      'v2s2',
      '--dest-tls-verify=false',
      source,
    ]
    for (const name of ['acme/app:v1', 'team/app:v1']) {
      await mustRun('skopeo', [...copy, `docker://${hostOf(upstream.url)}/${name}`], { env })
    }
    const manifest = dockerText(await manifestAt('acme/app:v1'))
    const digest = sha256(manifest)
    await putManifest('acme/app:v1', imageType, manifest)
    const platform = { architecture: 'amd64', os: 'linux' }
    const entry = { mediaType: imageType, size: manifest.length, digest, platform }
    const list = { schemaVersion: 2, mediaType: listType, manifests: [entry] }
    await putManifest('acme/app:list', listType, dockerText(list))
    return digest
  }

  async function putManifest(name: string, type: string, body: string): Promise<void> {
    const init = { method: 'PUT', headers: { 'Content-Type': type }, body }
    const reply = await fetch(manifestUrl(name), init)
    if (reply.status !== 201) throw new Error(`${name} was not taken: ${await reply.text()}`)
  }

  async function seenDuring(act: () => Promise<unknown>): Promise<string[]> {
    const before = (await upstream.requests()).length
    await act()
    const requests = (await upstream.requests()).slice(before)
    return requests
      .filter(({ uri }) => uri !== '/v2/')
      .map(({ method, uri, status }) => `${method} ${uri} ${status}`)
  }

  async function grantsAsked(): Promise<number> {
    // Lines are written in order, but not at once: ours stands behind all earlier ones.
    const requestId = `marker-${++markers}`
    await (await fetch(gateway.url, { headers: { 'X-Request-Id': requestId } })).arrayBuffer()
    await gateway.logged(requestId, (line) => line.requestId === requestId)
    return gateway.log().filter(({ msg, path }) => msg === 'request' && path === tokenPath).length
  }

  async function replyAt(name: string): Promise<Response> {
    const accept = [imageType, listType, ...ociTypes]
    return await fetch(manifestUrl(name), { headers: { Accept: accept.join() } })
  }

  function manifestUrl(name: string): string {
    const [repository, reference] = name.split(/[:@](.*)/)
    return `${upstream.url}/v2/${repository}/manifests/${reference}`
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

/** docker before version 23 writes manifests anew, and takes the digest of what it wrote. */
function dockerText(manifest: object): string {
  return JSON.stringify(manifest, null, 3)
}

function hostOf(url: string): string {
  return url.replace('http://', '')
}

/** It ended well; otherwise the failure shows what it said. */
export function well(t: Test, finished: Finished | undefined, what = 'it ended well'): void {
  t.equal(finished?.code, 0, finished?.code === 0 ? what : `${what}: ${finished?.stderr}`)
}
