// The query of a registry request, read strictly and built anew: only parameters that the endpoint knows
// are handed on, each of them once. Pure. No two readers may see a different `mount`, `from` or `digest`
// in what it writes.

import { GatewayError } from '../../errors.ts'
import { badDigest, type RegistryCall } from './endpoints.ts'
import { isDigest, isDigestAlgorithm, isTag } from './grammar.ts'

/** What is handed on, and the mount that is asked for. */
export type CallQuery = {
  /** Encoded, without `?`; without mount and from. */
  readonly text: string
  readonly mount: string | undefined
  readonly from: string | undefined
}

/** More parameters than this are refused: room for a manifest's tags and a Location's state. */
const queryParametersMax = 128

/** Names that decide something; they are never opaque, in whatever case. */
const guarded = new Set(['mount', 'from', 'digest', 'digest-algorithm'])

/** Checks the parameters of a query and writes those that are handed on. Throws `bad_request`. */
export function readCallQuery(call: RegistryCall, query: string | undefined): CallQuery {
  const { parameters, opaque } = call.endpoint
  const kept: string[] = []
  const seen = new Map<string, string>()
  for (const { raw, name, value } of splitQuery(query)) {
    const known = parameters.includes(name) && (name !== 'tag' || call.action === 'push')
    if (known || guarded.has(name)) {
      if (seen.has(name) && name !== 'tag') throw repeated(name)
      seen.set(name, value)
    }
    if (known) {
      checkValue(name, value)
      if (name !== 'mount' && name !== 'from') kept.push(writeParameter(name, value))
    } else if (opaque === true && !guarded.has(name.toLowerCase())) {
      if (!/^[\w.~-]+$/.test(name) || !raw.startsWith(name)) {
        throw new GatewayError('bad_request', 'the query holds a parameter with an unusual name')
      }
      kept.push(raw)
    }
  }
  return { text: kept.join('&'), mount: seen.get('mount'), from: seen.get('from') }
}

/** The value of one parameter; undefined where it does not occur. Throws `bad_request` where it is repeated. */
export function queryValue(query: string | undefined, name: string): string | undefined {
  const values = splitQuery(query).filter((parameter) => parameter.name === name)
  if (values.length > 1) throw repeated(name)
  return values[0]?.value
}

/** `name=value`, escaped; both of them printable. */
export function writeParameter(name: string, value: string): string {
  return `${name}=${encodeURIComponent(value)}`
}

/** Path and query as one; an empty query is none. */
export function withQuery(path: string, query: string): string {
  return query === '' ? path : `${path}?${query}`
}

/** The error for a parameter that occurs twice, in the query or in query and body. */
export function repeated(name: string): GatewayError {
  return new GatewayError('bad_request', `the parameter ${name} is repeated; send it once`)
}

type Parameter = { readonly raw: string; readonly name: string; readonly value: string }

function splitQuery(query: string | undefined): Parameter[] {
  if (query === undefined || query === '') return []
  if (query.includes(';')) {
    throw new GatewayError('bad_request', 'the query holds a ";"; separate parameters by "&"')
  }
  const pairs = query.split('&').filter((pair) => pair !== '')
  if (pairs.length > queryParametersMax) {
    throw new GatewayError(
      'bad_request',
      `the query has more than ${queryParametersMax} parameters`,
    )
  }
  return pairs.map((raw) => {
    const equals = raw.indexOf('=')
    const name = decode(equals < 0 ? raw : raw.slice(0, equals))
    return { raw, name, value: equals < 0 ? '' : decode(raw.slice(equals + 1)) }
  })
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch (cause) {
    throw new GatewayError('bad_request', 'the query holds a malformed percent escape', { cause })
  }
}

function checkValue(name: string, value: string): void {
  if (name === 'digest' && !isDigest(value)) throw badDigest()
  if (name === 'digest-algorithm' && !isDigestAlgorithm(value)) {
    throw new GatewayError('bad_request', 'invalid digest-algorithm; send one like sha512')
  }
  if (name === 'tag' && !isTag(value)) {
    throw new GatewayError('bad_request', 'the parameter tag is not a tag')
  }
}
