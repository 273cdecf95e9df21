// A registry that does what a test says, and no more: it records the bytes of every request (recorder.ts),
// answers from a table, and otherwise as a registry at its most trusting, one that mounts a blob from
// wherever it is told to, without looking at `from`, also when a form in the body says so.

import { type Recorded, type Script, startRecorder } from './recorder.ts'

/** `undefined` leaves the request to the next answer, in the end to the trusting registry. */
export type Answer = (request: Recorded) => Script | undefined | Promise<Script | undefined>

export type ScriptedRegistry = {
  readonly url: string
  readonly port: number
  /** Every request whose head has been read, in order. */
  readonly requests: readonly Recorded[]
  /** What strict reading of HTTP objected to. A test of a gateway expects none. */
  readonly violations: readonly string[]
  /** Answers from now on; `at: 'head'` answers before the body is read. */
  answer(answer: Answer, at?: 'head' | 'body'): void
  /** What arrives while `act` runs, as `METHOD TARGET`. */
  seenDuring(act: () => Promise<unknown>): Promise<string[]>
  /** Resolves with the first request that fulfils the condition, now or later. */
  request(what: string, condition: (request: Recorded) => boolean): Promise<Recorded>
  stop(): Promise<void>
}

export const apiVersion = ['Docker-Distribution-Api-Version', 'registry/2.0'] as const
const emptyDigest = 'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

/** Starts it on a port of the system's choice. */
export async function startScriptedRegistry(): Promise<ScriptedRegistry> {
  const recorder = await startRecorder()
  recorder.respond(trusting)
  return {
    url: recorder.url,
    port: recorder.port,
    requests: recorder.requests,
    violations: recorder.violations,
    answer: (answer, at) =>
      recorder.respond(async (request) => (await answer(request)) ?? trusting(request), at),
    seenDuring: async (act) => {
      const before = recorder.requests.length
      await act()
      return recorder.requests.slice(before).map(({ method, target }) => `${method} ${target}`)
    },
    request: recorder.request,
    stop: recorder.stop,
  }
}

/** A catalog of these names, in their order, `most` a page; Link is made by `link` of the next query. */
export function catalogOf(
  names: readonly string[],
  most: number,
  link: (next: string) => string = (next) => `</v2/_catalog?${next}>; rel="next"`,
): Answer {
  return ({ target }) => {
    const url = new URL(target, 'http://registry')
    if (url.pathname !== '/v2/_catalog') return undefined
    const last = url.searchParams.get('last')
    const from = last === null ? 0 : names.findIndex((name) => name > last)
    const count = Math.min(Number(url.searchParams.get('n') ?? most), most)
    const page = from < 0 ? [] : names.slice(from, from + count)
    const isLast = from < 0 || from + count >= names.length
    const next = `last=${encodeURIComponent(page.at(-1) ?? '')}&n=${count}`
    return {
      fields: [...apiVersion, ...json, ...(isLast ? [] : ['Link', link(next)])],
      body: JSON.stringify({ repositories: page }),
    }
  }
}

const json = ['Content-Type', 'application/json'] as const

/** Everything is there, every upload goes on, every mount succeeds. */
function trusting(request: Recorded): Script {
  const [path = '', query = ''] = request.target.split('?')
  const repository = /^\/v2\/(.+?)\/(blobs|manifests|tags|referrers)\//.exec(path)?.[1] ?? ''
  if (request.method === 'POST' && path.endsWith('/blobs/uploads/')) {
    const mount = mountOf(query, request)
    const place = mount === undefined ? 'uploads/u1?_state=s1' : mount
    return {
      status: mount === undefined ? '202 Accepted' : '201 Created',
      fields: [...apiVersion, 'Location', `/v2/${repository}/blobs/${place}`],
    }
  }
  if (path.includes('/blobs/uploads/')) {
    const isWhole = request.method === 'PUT'
    const place = isWhole ? emptyDigest : 'uploads/u1?_state=s2'
    return {
      status: isWhole ? '201 Created' : '202 Accepted',
      fields: [...apiVersion, 'Location', `/v2/${repository}/blobs/${place}`],
    }
  }
  return { fields: [...apiVersion, ...json], body: JSON.stringify({ seen: request.target }) }
}

/** The blob to mount: as Go's FormValue finds it, the body of whatever form before the query. */
function mountOf(query: string, request: Recorded): string | undefined {
  const type = request.values('content-type').join().toLowerCase()
  const body = request.body.toString('latin1')
  const inForm = /name="?mount"?\r\n\r\n([^\r]+)/.exec(type.startsWith('multipart/') ? body : '')
  const encoded = type.startsWith('application/x-www-form-urlencoded') ? body : ''
  return (
    inForm?.[1] ??
    new URLSearchParams(encoded).get('mount') ??
    new URLSearchParams(query).get('mount') ??
    undefined
  )
}
