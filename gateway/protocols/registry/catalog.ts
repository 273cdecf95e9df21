// The catalog of repositories (distribution's `_catalog`), answered by the gateway: only the repositories
// that the token may pull, paged as the client asked. It must never show another name, in Link neither.

import { GatewayError } from '../../errors.ts'
import { fieldValue } from '../fields.ts'
import type { AnswerContext, Reply, UpstreamAnswer } from '../protocol.ts'
import { apiVersionField, RegistryError } from './errors.ts'
import { isRepositoryName } from './grammar.ts'
import type { PullAccess } from './mount.ts'
import { queryValue, withQuery, writeParameter } from './query.ts'

const catalogPath = '/v2/_catalog'
const namesDefault = 100
const namesMax = 1000
/** The upstream is asked for this many names at a time: distribution's own maximum by default. */
const upstreamNamesMax = 1000
/** One request looks at this many pages; what follows them needs a further request. */
const upstreamPagesMax = 100
const upstreamPageBytesMax = 4 * 1024 * 1024
const lastCharsMax = 512

type Page = { readonly names: readonly string[]; readonly next: string | undefined }

/** What the client asks for. */
export type CatalogQuery = { readonly count: number; readonly last: string | undefined }

/** Reads `n` (default 100, at most 1000) and `last`. Throws RegistryError 400. */
export function readCatalogQuery(query: string | undefined): CatalogQuery {
  const n = queryValue(query, 'n')
  const last = queryValue(query, 'last')
  if (n !== undefined && !/^[0-9]+$/.test(n)) {
    throw new RegistryError(
      'bad_request',
      'PAGINATION_NUMBER_INVALID',
      `invalid n: a whole number from 0; more than ${namesMax} counts as ${namesMax}`,
    )
  }
  if (last !== undefined && last.length > lastCharsMax) {
    throw new RegistryError('bad_request', 'NAME_INVALID', 'invalid last: a repository name')
  }
  return { count: Math.min(n === undefined ? namesDefault : Number(n), namesMax), last }
}

/** Pages through the upstream's catalog until the client's page is full, or the bound is reached. */
export async function answerCatalog(
  { count, last }: CatalogQuery,
  context: AnswerContext,
  pullAccess: PullAccess,
): Promise<Reply> {
  const visible: string[] = []
  const from = last === undefined ? [] : [writeParameter('last', last)]
  let next: string | undefined = [writeParameter('n', `${upstreamNamesMax}`), ...from].join('&')
  if (count === 0) next = undefined
  for (let page = 0; next !== undefined && visible.length <= count; page++) {
    // Without a visible name there is nothing that Link could name: the list ends here.
    if (page === upstreamPagesMax) return writePage(visible, visible.length > 0)
    const read: Page = readPage(
      await context.ask({
        method: 'GET',
        path: withQuery(catalogPath, next),
        bodyBytesMax: upstreamPageBytesMax,
      }),
    )
    for (const name of read.names) if (mayPull(name)) visible.push(name)
    next = read.next
  }
  return writePage(visible.slice(0, count), visible.length > count)

  function writePage(names: readonly string[], more: boolean): Reply {
    const fields = ['Content-Type', 'application/json', ...apiVersionField]
    if (more) {
      const query = [writeParameter('last', names.at(-1) ?? ''), writeParameter('n', `${count}`)]
      fields.push('Link', `<${withQuery(catalogPath, query.join('&'))}>; rel="next"`)
    }
    return { status: 200, fields, body: `${JSON.stringify({ repositories: names })}\n` }
  }

  function mayPull(name: string): boolean {
    const access = pullAccess(name, 'GET', `/v2/${name}/tags/list`)
    return context.decide(access).outcome === 'permit'
  }
}

/** The names of the upstream's page, and the query of the next one. Throws for any other answer. */
function readPage(answer: UpstreamAnswer): Page {
  if (answer.status !== 200) {
    const code = answer.status === 401 ? 'upstream_rejected_gateway' : 'upstream_unreachable'
    throw new GatewayError(code, `the registry answered ${answer.status} for its catalog`)
  }
  const names = parseNames(answer.body).filter(isRepositoryName)
  return { names, next: nextQuery(fieldValue(answer.fields, 'link') ?? '') }
}

/** The query of the next page, from Link (RFC 8288); only the catalog's own path counts. */
function nextQuery(link: string): string | undefined {
  const [, target = '', parameters = ''] = /<([!-;=?-~]*)>([^,]*)/.exec(link) ?? []
  const mark = target.indexOf('?')
  const isNext = /;\s*rel="?next"?/i.test(parameters) && target.slice(0, mark).endsWith(catalogPath)
  return isNext ? target.slice(mark + 1) : undefined
}

function parseNames(body: Buffer): string[] {
  let parsed: unknown
  try {
    parsed = JSON.parse(body.toString('utf8'))
  } catch (cause) {
    throw new GatewayError('upstream_unreachable', "the registry's catalog is no JSON", { cause })
  }
  const names = (parsed as { repositories?: unknown } | null)?.repositories ?? []
  if (!Array.isArray(names)) {
    throw new GatewayError('upstream_unreachable', "the registry's catalog holds no list")
  }
  return names.filter((name) => typeof name === 'string')
}
