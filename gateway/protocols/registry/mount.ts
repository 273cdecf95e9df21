// Cross-repository mounts (OCI distribution-spec end-11): a mount reads `from` as well as it writes the
// target, so it is handed on only for a token that may pull `from`, and only of a blob that is there. Any
// other mount becomes a plain upload, which the specification lets a registry do at will. Distribution reads
// `mount` and `from` from form bodies too (Go's FormValue), so forms are read here and never reach the
// upstream as forms.

import type { Access } from '../../decision/access.ts'
import { GatewayError } from '../../errors.ts'
import type { Grant, GrantScope } from '../../tokens/grant.ts'
import { fieldValue, fieldValues } from '../fields.ts'
import { isForm, readFormFields } from '../forms.ts'
import type {
  AnswerContext,
  InspectContext,
  Inspected,
  ProtocolRequest,
  RequestBody,
} from '../protocol.ts'
import { readWhole } from '../read-whole.ts'
import type { RegistryCall } from './endpoints.ts'
import { NarrowGrant } from './errors.ts'
import { isDigest, isRepositoryName } from './grammar.ts'
import { type CallQuery, repeated, withQuery, writeParameter } from './query.ts'
import { holdsScope, repositoryScope, scopeOf } from './scope.ts'

/** A longer body that is sent as a form is refused. */
const formBytesMax = 64 * 1024

const blobType = 'application/octet-stream'

/** The access of pulling from a repository, as the mount's source or an entry of the catalog. */
export type PullAccess = (repository: string, method: string, path: string) => Access

type Upload = {
  readonly call: RegistryCall
  readonly query: CallQuery
  /** The Content-Type of a body that counts as a form, which has yet to be read. */
  readonly formType: string | undefined
  readonly pullAccess: PullAccess
}

/**
 * What is to be looked at before an upload step is handed on; undefined where nothing is: no mount asked
 * for, and no body that a registry could take for a form. Throws `bad_request` for an unreadable head.
 */
export function inspectUpload(
  request: ProtocolRequest,
  call: RegistryCall,
  query: CallQuery,
  pullAccess: PullAccess,
): ((context: InspectContext) => Promise<Inspected>) | undefined {
  const types = fieldValues(request.fields, 'content-type')
  if (types.length > 1) throw new GatewayError('bad_request', 'Content-Type is repeated')
  const type = types[0]
  const hasBody = fieldValue(request.fields, 'content-length') !== '0'
  const formType = hasBody && isForm(type) ? type : undefined
  if (call.endpoint.kind === 'upload') {
    // A later step mounts nothing; only its type is replaced, as curl sends blobs as forms by default.
    return formType === undefined
      ? undefined
      : async ({ body }) => forward(body.rest([]), body.length)
  }
  const asksMount = query.mount !== undefined || query.from !== undefined
  if (!asksMount && (!hasBody || type === blobType)) return undefined
  if (formType !== undefined && fieldValue(request.fields, 'content-encoding') !== undefined) {
    throw new GatewayError('bad_request', `an encoded form cannot be read; send ${blobType}`)
  }
  return (context) => inspectStart({ call, query, formType, pullAccess }, context)
}

/** The first step of an upload: decides on the mount, from query or form. */
async function inspectStart(upload: Upload, context: InspectContext): Promise<Inspected> {
  const { call, query, formType } = upload
  const { body } = context
  const form = formType === undefined ? undefined : await readForm(body)
  const fields = form && readFormFields(formType, form)
  const mount = theOne('mount', query.mount, fields)
  const from = theOne('from', query.from, fields)
  const path = (await isMountable(upload, mount, from, context))
    ? withQuery(call.path, [query.text, ...mountParameters(mount, from)].filter(Boolean).join('&'))
    : withQuery(call.path, query.text)
  if (fields?.has('mount') || fields?.has('from')) return forward(Buffer.alloc(0), 0, path)
  if (form !== undefined) return forward(form, form.length, path)
  return body.length === 0
    ? forward(Buffer.alloc(0), 0, path)
    : forward(body.rest([]), body.length, path)
}

/** What a grant must hold of a mount's source. */
export function sourceScope(from: string): GrantScope[] {
  return isRepositoryName(from) ? [repositoryScope(from, ['pull'])] : []
}

/**
 * May this blob be mounted: are its parameters whole, may the token pull the source, is the blob there? Throws
 * where the token may and only its grant may not.
 */
async function isMountable(
  upload: Upload,
  mount: string | undefined,
  from: string | undefined,
  context: InspectContext,
): Promise<boolean> {
  if (mount === undefined || from === undefined) return false
  if (!isDigest(mount) || !isRepositoryName(from)) return false
  const path = `/v2/${from}/blobs/${mount}`
  const access = upload.pullAccess(from, 'HEAD', path)
  if (context.decide(access).outcome !== 'permit') return false
  if (access.requirement?.kind !== 'public') checkGrant(context.grant, upload.call, from)
  // Zot mounts what it finds in any repository, whatever `from` says.
  return await isPresent(path, context)
}

function checkGrant(grant: Grant | undefined, call: RegistryCall, from: string): void {
  const source = sourceScope(from)
  if (grant === undefined || source.every((scope) => holdsScope(grant, scope))) return
  const target = scopeOf(call)
  throw new NarrowGrant(target === undefined ? source : [target, ...source])
}

async function isPresent(path: string, context: AnswerContext): Promise<boolean> {
  try {
    const { status } = await context.ask({ method: 'HEAD', path, bodyBytesMax: 0 })
    // 307: a blob that is there, in outside storage.
    return status === 200 || status === 307
  } catch (error) {
    if (error instanceof GatewayError) return false
    throw error
  }
}

function mountParameters(mount = '', from = ''): string[] {
  return [writeParameter('mount', mount), writeParameter('from', from)]
}

/** The one value of a parameter in query and form together. */
function theOne(
  name: string,
  queried: string | undefined,
  fields: ReadonlyMap<string, readonly string[]> | undefined,
): string | undefined {
  const values = [...(queried === undefined ? [] : [queried]), ...(fields?.get(name) ?? [])]
  if (values.length > 1) throw repeated(name)
  return values[0]
}

async function readForm(body: RequestBody): Promise<Buffer> {
  const form = await readWhole(body, formBytesMax)
  if (form !== undefined) return form
  throw new GatewayError(
    'bad_request',
    `a form of more than ${formBytesMax} bytes is no upload; send Content-Type: ${blobType}`,
  )
}

function forward(
  body: (Inspected & { kind: 'forward' })['body'],
  length: number | undefined,
  path?: string,
): Inspected {
  const set = ['Content-Type', blobType]
  return { kind: 'forward', body, length, set, ...(path !== undefined && { path }) }
}
