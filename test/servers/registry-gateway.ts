// A gateway with the route map that the product brings, before one registry, and tokens for it by their
// rights.

import { join } from 'node:path'
import { type Gateway, projectFolder, startGateway } from './gateway.ts'
import { tokenMaker } from './token-maker.ts'

export type RegistryGateway = {
  readonly gateway: Gateway
  readonly url: string
  /** The field with a token of these rights, made once; `repository=PATTERN` among the scopes limits it. */
  credentials(...rights: readonly string[]): Promise<string>
  stop(): Promise<void>
}

export const scopes = {
  pull: 'containers:read',
  push: 'containers:read-update',
  delete: 'containers:delete',
} as const

const nowhere = 'http://127.0.0.1:9'

/** Starts it; `hub` is what the upstream's configuration says beside its address. */
export async function startRegistryGateway(
  registryUrl: string,
  hub: object = {},
): Promise<RegistryGateway> {
  const gateway = await startGateway({
    include: [join(projectFolder, 'config', 'routes', 'foundries.yaml')],
    upstreams: {
      api: { url: nowhere },
      git: { url: nowhere },
      hub: { url: registryUrl, ...hub },
    },
  })
  const tokenWith = tokenMaker(gateway)
  return {
    gateway,
    url: gateway.url,
    credentials: async (...rights) => basic(await tokenWith(...rights)),
    stop: () => gateway.stop(),
  }
}

/** The field that holds a token as docker sends it. */
export function basic(token: string): string {
  return `Authorization: Basic ${Buffer.from(`user:${token}`).toString('base64')}`
}
