// What a client asks of the token service: from the query of a GET (distribution, auth/token.md), from the
// form of a POST (auth/oauth.md). Pure but for the body. `account`, `client_id`, `offline_token` and
// `access_type` say nothing here: there are no further tokens to be had.

import { type Credentials, readPassword } from '../../credentials/credentials.ts'
import { GatewayError } from '../../errors.ts'
import { fieldValue } from '../../protocols/fields.ts'
import type { FieldList, RequestBody } from '../../protocols/protocol.ts'
import { readWhole } from '../../protocols/read-whole.ts'
import { parseScope } from '../../protocols/registry/scope.ts'
import type { GrantScope } from '../../tokens/grant.ts'

export type GrantRequest = {
  /** The registry, by the name that its challenge says; undefined: not named. */
  readonly service: string | undefined
  readonly scopes: readonly GrantScope[]
}

export type GrantForm = GrantRequest & { readonly credentials: Credentials }

/** Scopes of one request, repeated and separated by spaces alike. */
export const scopesMax = 64
const formBytesMax = 64 * 1024
const formType = 'application/x-www-form-urlencoded'

/** Throws `bad_request`. */
export function readGrantQuery(query: string | undefined): GrantRequest {
  return readParameters(new URLSearchParams(query))
}

/** Reads the form whole. Rejects with `bad_request`. */
export async function readGrantForm(fields: FieldList, body: RequestBody): Promise<GrantForm> {
  const type = fieldValue(fields, 'content-type')?.split(';')[0]?.trim().toLowerCase()
  if (type !== formType || fieldValue(fields, 'content-encoding') !== undefined) {
    throw new GatewayError('bad_request', `a POST here is a form; send it as ${formType}`, {
      status: 415,
    })
  }
  const bytes = await readWhole(body, formBytesMax)
  if (bytes === undefined) {
    throw new GatewayError('bad_request', `the form is longer than ${formBytesMax} bytes`)
  }
  const form = new URLSearchParams(bytes.toString('utf8'))
  return { ...readParameters(form), credentials: readFormCredentials(form) }
}

function readParameters(parameters: URLSearchParams): GrantRequest {
  const written = parameters
    .getAll('scope')
    .join(' ')
    .split(/\s+/)
    .filter((scope) => scope !== '')
  if (written.length > scopesMax) {
    throw new GatewayError(
      'bad_request',
      `${written.length} scopes are too many; ask for ${scopesMax} at most`,
    )
  }
  return { service: only(parameters, 'service'), scopes: written.map(readScope) }
}

function readScope(text: string): GrantScope {
  const scope = parseScope(text)
  if (scope !== undefined) return scope
  throw new GatewayError(
    'bad_request',
    'a scope has the form type:name:actions, as in repository:acme/app:pull,push',
  )
}

/** RFC 6749 4.3.2 and 6: the token is the password, or what docker calls an identity token. */
function readFormCredentials(form: URLSearchParams): Credentials {
  const grantType = only(form, 'grant_type')
  if (grantType === 'password') {
    return readPassword(bytesOf(only(form, 'username')), bytesOf(only(form, 'password')))
  }
  if (grantType === 'refresh_token') return readPassword('', bytesOf(only(form, 'refresh_token')))
  throw new GatewayError(
    'bad_request',
    'grant_type: expected password (with username and password) or refresh_token',
  )
}

/** One character a byte, as header fields have them. */
function bytesOf(text = ''): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}

function only(parameters: URLSearchParams, name: string): string | undefined {
  const values = parameters.getAll(name)
  if (values.length > 1) {
    throw new GatewayError('bad_request', `the parameter ${name} is repeated; send it once`)
  }
  return values[0]
}
