// The life of a request, in order: framing, target, route, the route's own rules, method, credentials,
// token, decision, forward. Every refusal on the way is said by the protocol of the route.

import { authenticate, checkDecision, reconsiderLater } from './authorize.ts'
import { contextOf, forward, type Journey } from './dispatch.ts'
import { withoutNominated } from './forward/headers.ts'
import { clientOrigin, type TrustedProxies } from './listener/address.ts'
import { ClientBody } from './listener/body.ts'
import type { Exchange } from './listener/exchange.ts'
import { readFraming } from './listener/framing.ts'
import { readTarget } from './listener/target.ts'
import { fieldValues } from './protocols/fields.ts'
import type { Inspected, Intent, ProtocolRequest, Refused, Verdict } from './protocols/protocol.ts'
import { answerPreflight } from './protocols/rest/cors.ts'
import {
  mayOverrideInBody,
  readBodyOverride,
  readHeadOverride,
} from './protocols/rest/method-override.ts'
import { type Progress, refuse, speakerOf } from './refusal.ts'
import { checkRouteRules, findRoute } from './routes/rules.ts'
import { serveBuiltIn } from './services/serve.ts'
import type { Snapshot, SnapshotUpstream } from './snapshot.ts'

/** A client of a service may be silent for so long in the middle of its request. */
const serviceIdleMs = 60_000

/** Serves one request to its end. Never rejects. */
export async function serve(
  snapshot: Snapshot,
  exchange: Exchange,
  trusted: TrustedProxies | undefined,
): Promise<void> {
  const progress: Progress = {}
  try {
    const { req } = exchange
    const received = req.rawHeaders
    const origin = clientOrigin(req.socket.remoteAddress ?? '', received, trusted, req.facts)
    exchange.address = origin.address
    progress.origin = origin
    const framing = readFraming(req)
    if (framing.hasBody) exchange.body = new ClientBody(exchange.incoming, framing.length)

    const target = readTarget(req.url ?? '', fieldValues(received, 'host'), origin.scheme)
    exchange.path = target.path

    const match = findRoute(snapshot.matcher, target, exchange.method)
    exchange.route = match.route.name
    const { service, upstream } = match.route
    const facing =
      service === undefined ? (snapshot.upstreams.get(upstream) as SnapshotUpstream) : undefined
    exchange.limitIdle(facing?.upstream.settings.timeouts.idleMs ?? serviceIdleMs)

    const fields = withoutNominated(received)
    let request: ProtocolRequest = { method: exchange.method, target, match, fields }
    progress.request = request
    checkRouteRules(match.route, target, exchange.method, framing.hasBody)
    const speaker = speakerOf(match.route)
    const known = readMethod(exchange, request)
    const early = known instanceof Promise ? await known : known
    request = become(early.method, request, snapshot)
    progress.request = request
    exchange.method = early.method
    const preflight = answerPreflight(request)
    if (preflight !== undefined) {
      exchange.reply(preflight)
      return
    }
    let intent = speaker.read(request)

    const permitted = permit(snapshot, exchange, request, intent, progress)
    if (permitted !== undefined) await permitted

    let form = early.form
    if (early.formIsDue && exchange.body !== undefined) {
      exchange.continue()
      const late = await readBodyOverride(match.route, early.method, fields, exchange.body)
      form = late.bytes
      if (late.method !== early.method) {
        request = become(late.method, request, snapshot)
        progress.request = request
        exchange.method = late.method
        intent = speaker.read(request)
        await permit(snapshot, exchange, request, intent, progress)
      }
    }
    if (facing === undefined) {
      exchange.continue()
      await serveBuiltIn(snapshot, exchange, request)
      return
    }
    const journey: Journey = { snapshot, exchange, origin, request, intent, facing }
    exchange.continue()
    const inspected = intent.inspect === undefined ? undefined : await inspect(journey)
    if (inspected?.kind === 'refused') {
      await sayRefused(exchange, progress, inspected)
      return
    }
    let replying: Promise<Verdict | undefined>
    try {
      replying =
        intent.answer === undefined
          ? forward(journey, inspected, form)
          : answer(journey, intent.answer)
    } finally {
      // A permitted request is a use, whatever becomes of it; noted now, that delays nothing.
      noteUse(journey)
    }
    const verdict = await replying
    if (verdict?.kind === 'refused') await sayRefused(exchange, progress, verdict)
  } catch (error) {
    refuse(exchange, error, progress)
  } finally {
    snapshot.open.leave(exchange)
  }
}

async function answer(
  journey: Journey,
  make: NonNullable<Intent['answer']>,
): Promise<Verdict | undefined> {
  journey.exchange.reply(await make(contextOf(journey)))
  return undefined
}

function noteUse({ snapshot, exchange, request }: Journey): void {
  const { address, record } = exchange
  if (record === undefined) return
  snapshot.lastUse.note(record.id, address, request.match.route.protocol, Date.now())
}

/**
 * Finds the token and decides; nothing to wait for where memory knows the token. From then on a change of the
 * token ends the request, also one since the token was looked up.
 */
function permit(
  snapshot: Snapshot,
  exchange: Exchange,
  request: ProtocolRequest,
  intent: Intent,
  progress: Progress,
): Promise<void> | undefined {
  const decideAndEnter = (): void => {
    checkDecision(snapshot, exchange, intent, progress)
    if (exchange.grant !== undefined) {
      speakerOf(request.match.route).checkGrant?.(request, exchange.grant)
    }
    snapshot.open.enter(exchange, reconsiderLater(snapshot, exchange, intent))
  }
  const looking = authenticate(snapshot, exchange, intent, request)
  if (looking === undefined) {
    decideAndEnter()
    return undefined
  }
  return looking.then(() => {
    decideAndEnter()
    return snapshot.open.renew(exchange, snapshot.lookup)
  })
}

type EarlyMethod = {
  readonly method: string
  /** The form that was read to know the method. */
  readonly form: Buffer | undefined
  /** The form is still to be read: its client waits for a permit first. */
  readonly formIsDue: boolean
}

/** The method that is judged and forwarded, where the route lets it be overridden. */
function readMethod(
  exchange: Exchange,
  request: ProtocolRequest,
): EarlyMethod | Promise<EarlyMethod> {
  const { body } = exchange
  const { method, fields, target } = request
  const { route } = request.match
  if (route.protocol !== 'rest') return { method, form: undefined, formIsDue: false }
  const asked = readHeadOverride(route, method, fields, target.query)
  const looksInside = body !== undefined && mayOverrideInBody(route, method, fields)
  if (!looksInside) return { method: asked, form: undefined, formIsDue: false }
  if (exchange.awaitsContinue) return { method: asked, form: undefined, formIsDue: true }
  return readBodyOverride(route, asked, fields, body).then((read) => {
    return { method: read.method, form: read.bytes, formIsDue: false }
  })
}

/** The request with the method that it asks for, which its path must take as if it had been sent. */
function become(method: string, request: ProtocolRequest, { matcher }: Snapshot): ProtocolRequest {
  if (method === request.method) return request
  return { ...request, method, match: findRoute(matcher, request.target, method) }
}

/** Lets the protocol look at the start of the body. */
async function inspect(journey: Journey): Promise<Inspected | undefined> {
  const { exchange, intent } = journey
  const body = exchange.body ?? new ClientBody(undefined, 0)
  const { snapshot } = journey
  return await intent.inspect?.({
    ...contextOf(journey),
    body,
    isLimited: (key) => exchange.record?.resources?.[key] !== undefined,
    grant: exchange.grant,
    refresh: () => snapshot.open.renew(exchange, snapshot.lookup),
  })
}

/** What the body says is refused; where a part was forwarded, it has ended at the upstream as a refusal. */
async function sayRefused(
  exchange: Exchange,
  progress: Progress,
  { error, reply, denial }: Refused,
): Promise<void> {
  if (denial !== undefined) progress.decision = denial
  if (reply === undefined || exchange.gone) throw error
  await exchange.readToEnd()
  if (exchange.gone) throw error
  exchange.cause = error.cause
  exchange.reason = error.code
  exchange.reply(reply)
}
