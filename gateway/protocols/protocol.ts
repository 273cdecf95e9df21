// What the pipeline asks of a protocol: REST, git smart-HTTP, registry. A protocol reads what a request
// wants and says refusals in its clients' language. It never touches a socket or a store, and protocols
// do not import each other. Sources of facts stand in the protocols' own files.

import type { Readable } from 'node:stream'
import type { Access, Decision, Denial } from '../decision/access.ts'
import type { GatewayError } from '../errors.ts'
import type { RequestTarget } from '../listener/target.ts'
import type { Match } from '../routes/route.ts'
import type { Grant } from '../tokens/grant.ts'

/** A flat list of names and values in turn, as on the wire (`rawHeaders`); names keep their case. */
export type FieldList = readonly string[]

/** What a protocol may know of a request. */
export type ProtocolRequest = {
  readonly method: string
  readonly target: RequestTarget
  readonly match: Match
  /** The request's fields as received. `fields.ts` has the readers. */
  readonly fields: FieldList
}

/** A gateway-made reply. The pipeline adds Date, X-Request-Id, Content-Length and Connection. */
export type Reply = {
  readonly status: number
  readonly fields: FieldList
  readonly body: string | Buffer
}

/** What a request wants, told from its head. */
export type Intent = {
  readonly accesses: readonly Access[]
  /** Must all of the accesses be permitted, or is one enough (git: may this token push at all)? */
  readonly quantifier: 'all' | 'any'
  /** Path and query to forward where they differ from what was received (registry: rebuilt from its parts). */
  readonly path?: string
  /** Fields (lower-case names) that are not forwarded. */
  readonly drop?: readonly string[]
  /** Looks at the start of the body before anything is forwarded. */
  readonly inspect?: (context: InspectContext) => Promise<Inspected>
  /** Answers instead of forwarding, after a permit (registry: the filtered catalog). */
  readonly answer?: (context: AnswerContext) => Promise<Reply>
  /** Rewrites the fields of the upstream's final reply (Location, Link). `upstreamOrigin` is `http://host:port`, `basePath` stands before every forwarded path. */
  readonly reply?: (
    status: number,
    fields: FieldList,
    upstreamOrigin: string,
    basePath: string,
  ) => FieldList
}

export type AnswerContext = {
  /** The same pure decision as the pipeline's, for further accesses, with the live record. */
  readonly decide: (access: Access) => Decision
  /** A request of the gateway's own to the route's upstream, with its configured credentials. */
  readonly ask: (request: UpstreamQuestion) => Promise<UpstreamAnswer>
}

export type InspectContext = AnswerContext & {
  readonly body: RequestBody
  /** Is the token limited to some values of this resource? */
  readonly isLimited: (key: string) => boolean
  /** What the request presented in place of its token; it may hold less. */
  readonly grant?: Grant | undefined
  /** Resolves once `decide` decides with what the token is now; a revoked token's request has been withdrawn then. */
  readonly refresh: () => Promise<void>
}

export type UpstreamQuestion = {
  readonly method: string
  /** Path and query as the upstream of the route sees them. */
  readonly path: string
  readonly fields?: FieldList
  readonly body?: Buffer
  /** Answers with a longer body fail with `upstream_unreachable`. */
  readonly bodyBytesMax: number
  /** Is this much of the body all that is wanted? The connection ends then. */
  readonly isEnough?: (body: Buffer) => boolean
  /** Where it is less than the upstream has for its own requests. */
  readonly timeoutMs?: number
}

export type UpstreamAnswer = {
  readonly status: number
  readonly fields: FieldList
  readonly body: Buffer
}

/** The request's body, taken chunk by chunk; what was not taken can still be forwarded. */
export type RequestBody = {
  /** Bytes as declared by Content-Length; undefined for a chunked body. */
  readonly length: number | undefined
  /** The next chunk; undefined at the clean end. Rejects with a GatewayError when the client leaves or stalls. */
  next(): Promise<Buffer | undefined>
  /** `first`, then all that `next` has not handed out, as one stream with back-pressure. */
  rest(first: readonly Buffer[]): Readable
}

export type Inspected =
  /** Permitted: forward this body instead of the one received. */
  | {
      readonly kind: 'forward'
      readonly body: Readable | Buffer
      /** Content-Length to send; undefined: chunked. Ignored for a Buffer. */
      readonly length: number | undefined
      /** Fields to drop (lower-case names), and fields to set instead. */
      readonly drop?: readonly string[]
      readonly set?: FieldList
      /** Path and query to forward instead. */
      readonly path?: string
      /** Set where the request is judged on while its body passes. */
      readonly guard?: Guard
    }
  /** The rest of the body is read and dropped. */
  | Refused

/**
 * A forwarded request that is judged until its body has passed: `body` withholds what would make it take
 * effect, and ends as something that the upstream refuses where the verdict says so. Nothing of the reply is
 * passed on before the verdict.
 */
export type Guard = {
  /** Never rejects. */
  readonly verdict: Promise<Verdict>
  /** The permit is withdrawn: the request is to end as a refusal. */
  withdraw(error: GatewayError): void
  /** The client has left, or what it sends is no body: the request is to end as a refusal that nobody hears. */
  abandon(error: GatewayError): void
  /** The upstream's reply has ended, or its connection: it takes no more of the body. */
  ended(): void
}

export type Verdict =
  | { readonly kind: 'permitted' }
  | Refused
  /** The upstream ended the exchange by itself before; its reply stands. */
  | { readonly kind: 'unasked' }

/** Refused after a look at the body. */
export type Refused = {
  readonly kind: 'refused'
  /** For the log, and for the client where there is no reply. */
  readonly error: GatewayError
  /** In the protocol's own words. */
  readonly reply?: Reply
  readonly denial?: Denial
}

/** How a refusal is said. */
export type RefusalContext = {
  readonly requestId: string
  /** A token was presented (so 401 says `invalid_token`). */
  readonly presented: boolean
  /** Set for 403. */
  readonly denial?: Denial
  /** Undefined where the refusal came before a route was found. */
  readonly request?: ProtocolRequest
  /** Scheme and authority by which the client found the gateway: `https://hub.example.com:8443`. */
  readonly requestUrl?: string
}

export type Protocol = {
  readonly name: 'rest' | 'git' | 'registry'
  /** Throws GatewayError (400, 404, 405) for what the protocol does not know. */
  read(request: ProtocolRequest): Intent
  /** The refusal in the client's language: body, Content-Type, WWW-Authenticate, Allow, Retry-After. */
  refuse(error: GatewayError, context: RefusalContext): Reply
  /** Throws where a grant does not hold what the head asks for. Protocols without grants lack it. */
  checkGrant?(request: ProtocolRequest, grant: Grant): void
}
