// A request of the gateway's own to an upstream, with a small answer that is read whole: what a protocol
// asks before it decides (is this blob there?) or answers from (the catalog).

import type { Dispatcher } from 'undici'
import { GatewayError } from '../errors.ts'
import type { UpstreamAnswer, UpstreamQuestion } from '../protocols/protocol.ts'
import { upstreamFailure } from './failure.ts'
import type { Upstream } from './upstreams.ts'

export const questionTimeoutMs = 60_000

/** `fields` is the whole head. Rejects with GatewayError `upstream_unreachable` or `upstream_timeout`. */
export function ask(
  upstream: Upstream,
  question: UpstreamQuestion,
  fields: readonly string[],
): Promise<UpstreamAnswer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let bytes = 0
    let status = 0
    let answerFields: string[] = []
    upstream.dispatch(
      {
        path: upstream.settings.basePath + question.path,
        method: question.method as Dispatcher.HttpMethod,
        headers: [...fields],
        body: question.body ?? null,
        headersTimeout: questionTimeoutMs,
        bodyTimeout: questionTimeoutMs,
        reset: false,
      },
      {
        onRequestStart() {},
        onResponseStart(controller, code) {
          status = code
          const raw = Array.isArray(controller.rawHeaders) ? controller.rawHeaders : []
          answerFields = raw.map((part) =>
            typeof part === 'string' ? part : part.toString('latin1'),
          )
        },
        onResponseData(controller, chunk) {
          bytes += chunk.length
          if (bytes <= question.bodyBytesMax) chunks.push(chunk)
          else controller.abort(tooLong(upstream.settings.name))
        },
        onResponseEnd() {
          resolve({ status, fields: answerFields, body: Buffer.concat(chunks) })
        },
        onResponseError(_controller, error) {
          reject(upstreamFailure(upstream.settings.name, error))
        },
      },
    )
  })
}

function tooLong(name: string): GatewayError {
  return new GatewayError(
    'upstream_unreachable',
    `upstream ${name} answered with more than expected`,
  )
}
