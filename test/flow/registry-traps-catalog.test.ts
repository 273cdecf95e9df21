// The catalog through the gateway, of a registry whose pages a test makes: a token sees what it may pull, in
// pages that lead on, and never a name more; one request costs the registry a bounded number of pages.

import t, { type Test } from 'tap'
import { type RegistryGateway, scopes, startRegistryGateway } from '../servers/registry-gateway.ts'
import {
  catalogOf,
  type ScriptedRegistry,
  startScriptedRegistry,
} from '../servers/scripted-registry.ts'
import { ask } from './raw-exchange.ts'

/** What one request may cost the registry. */
const pagesMax = 100

const registry: ScriptedRegistry = await startScriptedRegistry()
const gateway: RegistryGateway = await startRegistryGateway(registry.url)
t.teardown(async () => {
  await gateway.stop()
  await registry.stop()
})

const limited = await gateway.credentials(scopes.pull, 'repository=acme/*')
const unlimited = await gateway.credentials(scopes.pull)
const writer = await gateway.credentials(scopes.delete)

const visible = numbered('acme/app', 40)
const hidden = [
  ...numbered('acme/app', 40).map((name) => `${name}/deep`),
  ...numbered('secret', 60),
]
const names = [...visible, ...hidden].sort()

function numbered(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, at) => `${name}-${String(at).padStart(4, '0')}`)
}

async function list(query: string, credentials = limited) {
  const reply = await ask(gateway.url, `GET /v2/_catalog${query}`, [credentials])
  const link = reply.field('link')
  return {
    status: reply.status,
    repositories: (reply.problem.repositories ?? []) as string[],
    next: /^<\/v2\/_catalog(\?[^>]+)>; rel="next"$/.exec(link ?? '')?.[1],
    link,
    text: `${reply.fields.join('\n')}\n${reply.body}`,
  }
}

/** Follows Link from page to page. */
async function walk(t: Test, query: string) {
  const pages: string[][] = []
  for (let next: string | undefined = query; next !== undefined; ) {
    const page = await list(next)
    t.equal(page.status, 200, next)
    t.notMatch(
      decodeURIComponent(page.text),
      /secret|deep/,
      `${next}: no hidden name, also in Link`,
    )
    if (page.link !== undefined) t.ok(page.next, `${page.link} is a page of the gateway`)
    if (page.next !== undefined) {
      const last = new URLSearchParams(page.next).get('last')
      t.equal(last, page.repositories.at(-1), 'Link goes on from the last visible name')
    }
    pages.push(page.repositories)
    next = page.next
    if (pages.length > names.length) throw new Error('the pages do not end')
  }
  return pages
}

t.test(
  'pages are full, lead on and hold what may be pulled, however the registry pages',
  async (t) => {
    for (const most of [3, 10, 1000]) {
      registry.answer(catalogOf(names, most))
      const pages = await walk(t, '?n=15')
      t.strictSame(pages.flat(), visible, `${most} a page`)
      t.strictSame(
        pages.map(({ length }) => length),
        [15, 15, 10],
        `${most} a page`,
      )
    }
  },
)

const links: readonly (readonly [why: string, write: (next: string) => string])[] = [
  ['absolute', (next) => `<${registry.url}/v2/_catalog?${next}>; rel="next"`],
  ['of another host', (next) => `<https://registry.internal:5000/v2/_catalog?${next}>; rel="next"`],
  ['with other parameters', (next) => `</v2/_catalog?${next}>; title="more"; rel="next"`],
  ['rel without quotes', (next) => `</v2/_catalog?${next}>; rel=next`],
]

t.test('and however it writes Link', async (t) => {
  for (const [why, write] of links) {
    registry.answer(catalogOf(names, 10, write))
    t.strictSame((await walk(t, '?n=15')).flat(), visible, why)
    for (const { target } of registry.requests) t.match(target, /^\/v2\/_catalog/, target)
  }
})

t.test('another token sees other names', async (t) => {
  registry.answer(catalogOf(names, 1000))
  t.strictSame((await list('?n=1000', unlimited)).repositories, names)
  const none = await list('?n=1000', writer)
  t.equal(none.status, 200)
  t.strictSame(none.repositories, [])
  t.equal(none.link, undefined)
})

t.test('a client may go on from any name, also one that it cannot see', async (t) => {
  registry.answer(catalogOf(names, 10))
  const after = await list('?n=3&last=acme%2Fapp-0004%2Fdeep')
  t.ok(after.repositories.every((name) => name > 'acme/app-0004/deep' && visible.includes(name)))
  t.equal(after.repositories.length, 3)
})

t.test('a catalog without an end costs a bounded number of pages', async (t) => {
  let page = 0
  registry.answer(() => {
    const name = `secret/${String(++page).padStart(8, '0')}`
    return {
      fields: ['Link', `</v2/_catalog?last=${encodeURIComponent(name)}&n=1>; rel="next"`],
      body: JSON.stringify({ repositories: [name] }),
    }
  })
  const seen = await registry.seenDuring(async () => {
    const { status, repositories, link } = await list('?n=5')
    t.equal(status, 200)
    t.strictSame(repositories, [])
    t.equal(link, undefined)
  })
  t.ok(seen.length > 1 && seen.length <= pagesMax, `${seen.length} pages`)
})

t.test('so does one whose pages lead back to where they were', async (t) => {
  registry.answer(() => ({
    fields: ['Link', '</v2/_catalog?last=acme%2Fapp&n=1>; rel="next"'],
    body: JSON.stringify({ repositories: ['acme/app', 'secret/base'] }),
  }))
  const seen = await registry.seenDuring(async () => {
    const { status, repositories } = await list('?n=100')
    t.equal(status, 200)
    t.strictSame([...new Set(repositories)], ['acme/app'])
  })
  t.ok(seen.length <= pagesMax, `${seen.length} pages`)
})

t.test('a number that is none is refused, and a large one is cut', async (t) => {
  registry.answer(catalogOf(numbered('acme/x', 1500), 5000))
  for (const n of ['x', '-1', '1.5', '', '1e3', '0x10', '%31%30a']) {
    const seen = await registry.seenDuring(async () => {
      t.equal((await list(`?n=${n}`)).status, 400, `n=${n}`)
    })
    t.strictSame(seen, [], `n=${n}`)
  }
  const { repositories, next } = await list('?n=99999999999999999999')
  t.ok(repositories.length <= 1000, `${repositories.length} names`)
  t.ok(next, 'and the next page is named')
})
