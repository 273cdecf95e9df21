// Refusals as git shows them: a text/plain body, each line of which the client prints behind `remote: `
// when it stands in a reply to info/refs (remote-curl.c). 401 asks for the token as a password; git's
// credential helpers forget a password on 401 and keep it on 403. A refusal never holds what the client
// sent beyond the names of repository and request.

import { writeChallenge } from '../../credentials/challenge.ts'
import { describeDenial } from '../../decision/decide.ts'
import type { GatewayError } from '../../errors.ts'
import { readResources } from '../../routes/resources.ts'
import type { RefusalContext, Reply } from '../protocol.ts'
import { adviseDenied } from './advice.ts'
import { toOneLine } from './one-line.ts'

const lineBytesMax = 800

/** The reply for a refusal. */
export function refuseInWords(error: GatewayError, context: RefusalContext): Reply {
  const fields = ['Content-Type', 'text/plain; charset=utf-8', 'Cache-Control', 'no-store']
  const challenge = challengeFor(error, context)
  if (challenge !== undefined) fields.push('WWW-Authenticate', challenge)
  if (error.allow !== undefined) fields.push('Allow', error.allow)
  if (error.retryAfter !== undefined) fields.push('Retry-After', `${error.retryAfter}`)
  const lines = [...sentences(error, context), `request id ${context.requestId}`]
  const body = lines.map((line) => `scopegate: ${toOneLine(line, lineBytesMax)}\n`).join('')
  return { status: error.status, fields, body }
}

function challengeFor(error: GatewayError, { denial }: RefusalContext): string | undefined {
  const realm = 'scopegate'
  if (error.status === 401) return writeChallenge('Basic', { realm })
  if (error.status !== 403) return undefined
  const scope = denial?.required.join(' ')
  const parameters = { realm, error: 'insufficient_scope' }
  return writeChallenge('Basic', scope ? { ...parameters, scope } : parameters)
}

function sentences(error: GatewayError, context: RefusalContext): readonly string[] {
  const repository = repositoryOf(context)
  switch (error.status) {
    case 401:
      return context.presented
        ? [
            `${error.message} (${repository})`,
            'give another token as the password, and remove this one from where git found it',
          ]
        : [`${repository} needs a token`, 'give a token as the password, with any user name']
    case 403:
      if (context.denial === undefined) return [`${error.message} (${repository})`]
      return [`${describeDenial(context.denial)} (${repository})`, adviseDenied(context.denial)]
    case 503:
      return [`${error.message} (${repository})`, 'your token may well be good: try again shortly']
    default:
      return [error.message]
  }
}

function repositoryOf({ request }: RefusalContext): string {
  if (request === undefined) return 'this repository'
  const { match, target, method } = request
  return readResources(match, target, method).get('repository') ?? target.path
}
