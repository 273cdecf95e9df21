// The catalog that a token sees: what it may pull, and no other name.

import t from 'tap'
import type { Rights } from '../../../gateway/decision/access.ts'
import type { UpstreamQuestion } from '../../../gateway/protocols/protocol.ts'
import { registry } from '../../../gateway/protocols/registry/registry.ts'
import { type Answers, contextFor, request, rights } from './calls.ts'

const names = [
  ...Array.from({ length: 30 }, (_, i) => `acme/app-${String(i).padStart(2, '0')}`),
  'secret/one',
  'secret/two',
]

/** A registry that has these repositories and gives at most `most` of them a page. */
function registryOf(repositories: readonly string[], most = 1000): Answers {
  return ({ path }: UpstreamQuestion) => {
    const query = new URLSearchParams(path.split('?')[1])
    const last = query.get('last') ?? ''
    const count = Math.min(Number(query.get('n')), most)
    const after = repositories.filter((name) => name > last)
    const page = after.slice(0, count)
    const next = new URLSearchParams({ last: page.at(-1) ?? '', n: `${count}` })
    return {
      status: 200,
      fields: after.length > count ? ['Link', `</v2/_catalog?${next}>; rel="next"`] : [],
      body: Buffer.from(JSON.stringify({ repositories: page })),
    }
  }
}

async function list(query: string, granted: Rights, answers: Answers) {
  const context = contextFor(granted, answers)
  const reply = await registry.read(request('GET', `/v2/_catalog${query}`)).answer?.(context)
  if (reply === undefined) throw new Error('there is no answer')
  const link = reply.fields[reply.fields.indexOf('Link') + 1]
  return {
    status: reply.status,
    fields: reply.fields,
    repositories: JSON.parse(String(reply.body)).repositories as string[],
    link: reply.fields.includes('Link') ? link : undefined,
    questions: context.questions,
  }
}

const acme = rights(['containers:read'], ['acme/*'])
const secret = rights(['containers:read'], ['secret/*'])
const everything = rights(['containers:read'])

t.test('only repositories that the token may pull are listed', async (t) => {
  t.strictSame((await list('', secret, registryOf(names))).repositories, names.slice(30))
  t.strictSame((await list('', everything, registryOf(names))).repositories, names)
  const { repositories } = await list('', rights(['containers:delete']), registryOf(names))
  t.strictSame(repositories, [], 'a scope that is no pull lists nothing')
})

t.test('the reply is a registry’s', async (t) => {
  const { status, fields } = await list('', acme, registryOf(names))
  t.equal(status, 200)
  t.match(fields, ['Content-Type', 'application/json', 'Docker-Distribution-Api-Version'])
})

t.test('a page holds exactly n names, and Link leads on from its last visible one', async (t) => {
  const mixed = names.flatMap((name, i) => [name, `other/x${i}`]).sort()
  for (const most of [1, 3, 7, 1000]) {
    const upstream = registryOf(mixed, most)
    const first = await list('?n=2', secret, upstream)
    t.strictSame(first.repositories, ['secret/one', 'secret/two'], `${most} a page`)
    t.equal(first.link, undefined, `${most} a page: no more to come, whatever is hidden`)
  }
  for (const most of [5, 7]) t.strictSame(await walk(mixed, most), names.slice(0, 30), `${most}`)

  async function walk(mixed: readonly string[], most: number): Promise<string[]> {
    const seen: string[] = []
    let query: string | undefined = '?n=7'
    while (query !== undefined) {
      const page = await list(query, acme, registryOf(mixed, most))
      seen.push(...page.repositories)
      if (page.link !== undefined) t.equal(page.repositories.length, 7)
      query = /^<\/v2\/_catalog(\?[^>]+)>; rel="next"$/.exec(page.link ?? '')?.[1]
    }
    return seen
  }
})

t.test('no hidden name stands in Link', async (t) => {
  const { link } = await list('?n=29', acme, registryOf(names))
  t.equal(link, '</v2/_catalog?last=acme%2Fapp-28&n=29>; rel="next"')
})

t.test('n is 100 by default, 1000 at most, and may be 0', async (t) => {
  const many = Array.from({ length: 1500 }, (_, i) => `r${String(i).padStart(5, '0')}`)
  const count = async (query: string) =>
    (await list(query, everything, registryOf(many))).repositories.length
  t.equal(await count(''), 100)
  t.equal(await count('?n=1000000'), 1000)
  t.equal(await count(`?n=${'9'.repeat(400)}`), 1000)
  t.equal(await count('?n=0'), 0)
  t.equal((await list('?n=0', everything, registryOf(many))).link, undefined)
})

t.test('one request looks at a bounded number of pages', async (t) => {
  const many = Array.from({ length: 200 }, (_, i) => `hidden/r${i}`).sort()
  const nothing = await list('', acme, registryOf(many, 1))
  t.equal(nothing.questions.length, 100)
  t.equal(nothing.link, undefined, 'without a visible name there is none to go on from')
  const some = await list('', acme, registryOf(['acme/a', ...many], 1))
  t.equal(some.link, '</v2/_catalog?last=acme%2Fa&n=100>; rel="next"')
})

t.test('names that are none are left out', async (t) => {
  const answers: Answers = () => ({
    status: 200,
    fields: [],
    body: Buffer.from(JSON.stringify({ repositories: ['a', '../b', 7, 'C', '<d>'] })),
  })
  t.strictSame((await list('', everything, answers)).repositories, ['a'])
})

t.test('the next page is asked of the catalog only', async (t) => {
  const links = [
    '<http://evil.example/steal?x=1>; rel="next"',
    '</v2/_catalog?n=1>; rel="prev"',
    'x',
  ]
  for (const link of links) {
    const answers: Answers = () => ({
      status: 200,
      fields: ['Link', link],
      body: Buffer.from('{"repositories":["a"]}'),
    })
    t.equal((await list('', everything, answers)).questions.length, 1, link)
  }
})

const failures: readonly (readonly [why: string, status: number, body: string, code: string])[] = [
  ['an error of the registry', 500, '', 'upstream_unreachable'],
  ['a registry without a catalog', 404, '', 'upstream_unreachable'],
  ['a registry that wants other credentials', 401, '', 'upstream_rejected_gateway'],
  ['a page that is no JSON', 200, '<html>', 'upstream_unreachable'],
  ['a page that holds no list', 200, '{"repositories":"a"}', 'upstream_unreachable'],
]

t.test('an upstream that fails is a 502', async (t) => {
  for (const [why, status, body, code] of failures) {
    const answers: Answers = () => ({ status, fields: [], body: Buffer.from(body) })
    await t.rejects(list('', everything, answers), { code, status: 502 }, why)
  }
})
