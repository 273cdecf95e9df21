// `service: registry-token`, the token service of registries (distribution, auth/token.md and auth/oauth.md):
// who shows an API token gets a grant of what it asks for and the token may do. Less than was asked for is no
// error: the registry says what is missing, in words that clients show. Without credentials there is a grant
// only where a registry lets anyone pull.

import { type Credentials, oneOf, readCredentials } from '../../credentials/credentials.ts'
import { GatewayError } from '../../errors.ts'
import type { ProtocolRequest, Reply } from '../../protocols/protocol.ts'
import { RegistryError } from '../../protocols/registry/errors.ts'
import { refuse } from '../../protocols/registry/refuse.ts'
import { writeScope } from '../../protocols/registry/scope.ts'
import { rest } from '../../protocols/rest/rest.ts'
import type { Route } from '../../routes/route.ts'
import { type Grant, grantCharsMax, grantLifetimeSeconds } from '../../tokens/grant.ts'
import type { Service, ServiceCall } from '../service.ts'
import { readGrantForm, readGrantQuery } from './grant-request.ts'
import { grantedScopes } from './granted-scopes.ts'

/** The token service. Its refusals are the registry's: docker shows the message of these alone. */
export const registryToken: Service = { read, refuse, answer }

const methods = ['GET', 'HEAD', 'POST']

function read(request: ProtocolRequest): ReturnType<Service['read']> {
  const { method } = request
  if (!methods.includes(method)) {
    const allow = methods.join(', ')
    throw new RegistryError(
      'method_not_allowed',
      'UNSUPPORTED',
      `${method} asks for no grant; ${allow} do`,
      { allow },
    )
  }
  return rest.read(request)
}

async function answer(call: ServiceCall): Promise<Reply> {
  const { request } = call
  const isForm = request.method === 'POST'
  const form = isForm ? await readGrantForm(request.fields, call.body) : undefined
  const asked = form ?? readGrantQuery(request.target.query)
  const registry = registryFor(asked.service, call)
  const presented = presentedBy(request)
  // A form speaks for itself, but not against the head.
  if (form !== undefined) oneOf(presented, form.credentials)
  const tokenId = await holder(form?.credentials ?? presented, registry, call)
  const access = grantedScopes(
    asked.scopes,
    registry,
    (access) => call.decide(access).outcome === 'permit',
  )
  const token = signWithin({ tokenId, access }, registry, call)
  const reply = {
    token,
    access_token: token,
    token_type: 'Bearer',
    expires_in: grantLifetimeSeconds,
    ...(isForm && { scope: access.map(writeScope).join(' ') }),
  }
  return {
    status: 200,
    fields: ['Content-Type', 'application/json', 'Cache-Control', 'no-store'],
    body: `${JSON.stringify(reply)}\n`,
  }
}

/** The registry that the client names as `service`, of those that this route serves. */
function registryFor(name: string | undefined, { request, routes }: ServiceCall): Route {
  const served = routes.filter(({ tokenRoute }) => tokenRoute === request.match.route)
  const [only, ...others] = served
  if (name === undefined && only !== undefined && others.length === 0) return only
  const found = served.find((registry) => registry.name === name)
  if (found !== undefined) return found
  const names = served.map((registry) => registry.name).join(', ') || 'none'
  throw new GatewayError(
    'bad_request',
    `service: expected the one that the registry's challenge names; this token service serves ${names}`,
  )
}

function presentedBy({ fields, target, match }: ProtocolRequest): Credentials {
  return readCredentials(fields, target.query, match.route.credentials)
}

/** The id of the token that was presented; undefined: of nobody, where anyone may pull. */
async function holder(
  credentials: Credentials,
  registry: Route,
  call: ServiceCall,
): Promise<string | undefined> {
  if (credentials.kind === 'none' && isOpen(registry)) return undefined
  return (await call.authenticate(credentials)).id
}

function isOpen({ allow }: Route): boolean {
  return ['pull', 'catalog'].some((action) => {
    const kind = allow.get(action)?.kind
    return kind === 'public' || kind === 'optional'
  })
}

/** Clients send a grant in a field of a head, whose size is bounded. */
function signWithin(grant: Grant, registry: Route, call: ServiceCall): string {
  const token = call.sign(grant, registry.name)
  if (token.length <= grantCharsMax) return token
  throw new GatewayError(
    'bad_request',
    `a grant of all these scopes would have more than ${grantCharsMax} characters; ask for fewer`,
  )
}
