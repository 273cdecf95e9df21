// Git over HTTP (gitprotocol-http): which access each request is, told from its path, its query and, for a
// push, its command list. Fetches pass unread. It never guesses: a query, a type or an encoding that git
// does not write is refused, because servers read those in their own ways.

import { GatewayError } from '../../errors.ts'
import type { GitService } from '../../routes/route.ts'
import { fieldValues } from '../fields.ts'
import { relativeLocation } from '../location.ts'
import type { FieldList, Intent, Protocol, ProtocolRequest } from '../protocol.ts'
import { gitAccess, pushActions } from './accesses.ts'
import { inspectPush, pushEncodings } from './push.ts'
import { refuseInWords } from './refusal.ts'

/** The git protocol. */
export const git: Protocol = { name: 'git', read, refuse: refuseInWords }

const pushType = 'application/x-git-receive-pack-request'

const methods = {
  'info/refs': ['GET', 'HEAD'],
  dumb: ['GET', 'HEAD'],
  'git-upload-pack': ['POST'],
  'git-upload-archive': ['POST'],
  'git-receive-pack': ['POST'],
} as const satisfies Record<GitService['service'], readonly string[]>

/** The queries of info/refs, byte for byte, and what they lead to. Without a query it is a dumb file. */
const queries: ReadonlyMap<string | undefined, 'fetch' | 'push'> = new Map([
  [undefined, 'fetch'],
  ['service=git-upload-pack', 'fetch'],
  ['service=git-receive-pack', 'push'],
])

function read(request: ProtocolRequest): Intent {
  const service = request.match.git?.service
  if (service === undefined) throw new GatewayError('no_route', 'this is no git service')
  checkMethod(request.method, service)
  const purpose = readPurpose(request, service)
  const access = gitAccess(request)
  const reply = relocate
  if (purpose === 'fetch') return { accesses: [access('fetch')], quantifier: 'all', reply }
  const accesses = pushActions.map((action) => access(action))
  if (service === 'info/refs') return { accesses, quantifier: 'any', reply }
  checkPushFields(request.fields)
  const inspect: Intent['inspect'] = (context) => inspectPush(request, context)
  return { accesses, quantifier: 'any', inspect, reply }
}

function checkMethod(method: string, service: GitService['service']): void {
  const allowed: readonly string[] = methods[service]
  if (allowed.includes(method)) return
  const sentence = `${method} is no method of this git service; it takes ${allowed.join(' and ')}`
  throw new GatewayError('method_not_allowed', sentence, { allow: allowed.join(', ') })
}

function readPurpose(
  { target }: ProtocolRequest,
  service: GitService['service'],
): 'fetch' | 'push' {
  if (service === 'info/refs') {
    const purpose = queries.get(target.query)
    if (purpose !== undefined) return purpose
    const sentence =
      'the query of info/refs is exactly service=git-upload-pack or service=git-receive-pack'
    throw new GatewayError('bad_request', sentence)
  }
  if (target.query !== undefined) {
    throw new GatewayError(
      'bad_request',
      'this git service takes no query; leave out `?` and all behind it',
    )
  }
  return service === 'git-receive-pack' ? 'push' : 'fetch'
}

function checkPushFields(fields: FieldList): void {
  const types = fieldValues(fields, 'content-type')
  if (types.length !== 1 || types[0] !== pushType) {
    const sentence = `the Content-Type of a push is exactly ${pushType}`
    throw new GatewayError('bad_request', sentence, { status: 415 })
  }
  const encodings = fieldValues(fields, 'content-encoding')
  if (encodings.length > 1 || !encodings.every((encoding) => pushEncodings.includes(encoding))) {
    const sentence = `the Content-Encoding of a push is none, or one of ${pushEncodings.join(', ')}`
    throw new GatewayError('bad_request', sentence, { status: 415 })
  }
}

// A redirect that names the upstream would lead clients past the gateway, or nowhere.
function relocate(
  _status: number,
  fields: FieldList,
  upstreamOrigin: string,
  basePath: string,
): FieldList {
  return fields.map((text, i) =>
    i % 2 === 1 && fields[i - 1]!.toLowerCase() === 'location'
      ? relativeLocation(text, upstreamOrigin, basePath)
      : text,
  )
}
