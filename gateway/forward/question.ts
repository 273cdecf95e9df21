// A request of the gateway's own to an upstream, with a small answer that is read whole: what a protocol
// asks before it decides (is this blob there?) or answers from (the catalog).

import type { Dispatcher } from 'undici'
import { GatewayError } from '../errors.ts'
import type { Exchange } from '../listener/exchange.ts'
import type { UpstreamAnswer, UpstreamQuestion } from '../protocols/protocol.ts'
import { upstreamFailure } from './failure.ts'
import { fieldsOf } from './headers.ts'
import type { SentHead } from './sent-head.ts'
import type { Upstream } from './upstreams.ts'

/** Where the upstream has no limit of its own. */
export const questionTimeoutMs = 60_000

/**
 * The question ends with the exchange for which it is asked. Rejects with
 * GatewayError `upstream_unreachable` or `upstream_timeout`.
 */
export async function ask(
  exchange: Exchange,
  upstream: Upstream,
  question: UpstreamQuestion,
  head: SentHead,
): Promise<UpstreamAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<UpstreamAnswer>()
  const { name, basePath, timeouts } = upstream.settings
  const timeoutMs = question.timeoutMs ?? timeouts.headersMs ?? questionTimeoutMs
  const chunks: Buffer[] = []
  let bytes = 0
  let status = 0
  let answerFields: string[] = []
  let stopListening: (() => void) | undefined
  const answer = (): void => resolve({ status, fields: answerFields, body: Buffer.concat(chunks) })
  upstream.dispatch(
    {
      path: basePath + question.path,
      method: question.method as Dispatcher.HttpMethod,
      head,
      body: question.body ?? null,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      reset: false,
    },
    {
      onRequestStart(controller) {
        stopListening = exchange.onAbort((error) => controller.abort(error))
      },
      onResponseStart(controller, code) {
        status = code
        answerFields = fieldsOf(controller.rawHeaders)
      },
      onResponseData(controller, chunk) {
        bytes += chunk.length
        if (bytes > question.bodyBytesMax) {
          controller.abort(tooLong(name))
          return
        }
        // The bytes may be overwritten.
        chunks.push(Buffer.from(chunk))
        if (question.isEnough?.(Buffer.concat(chunks)) !== true) return
        answer()
        controller.abort(new Error('the rest of the answer is not wanted'))
      },
      onResponseEnd: answer,
      onResponseError(_controller, error) {
        reject(upstreamFailure(name, error))
      },
    },
  )
  try {
    return await promise
  } finally {
    stopListening?.()
  }
}

function tooLong(name: string): GatewayError {
  return new GatewayError(
    'upstream_unreachable',
    `upstream ${name} answered with more than expected`,
  )
}
