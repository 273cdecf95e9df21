// What must hold of a request's head before its target is read: version, framing, expectation
// (RFC 9112 2.3, 6.1 to 6.3; RFC 9110 10.1.1). The parser has refused much already; this refuses what it
// lets through. Pure.

import { GatewayError } from '../errors.ts'
import { METHODS } from '../node-http.ts'

/** The parts of a parsed head that framing is told from. */
export type Head = {
  readonly method?: string | undefined
  readonly httpVersion: string
  readonly headers: {
    readonly 'transfer-encoding'?: string | undefined
    readonly 'content-length'?: string | undefined
    readonly expect?: string | undefined
  }
}

export type Framing = {
  readonly hasBody: boolean
  /** Bytes; undefined for a chunked body or none. */
  readonly length: number | undefined
}

const methods = new Set(METHODS)

/** Throws GatewayError `bad_request` (400, 501, 505) or `expectation_failed` (417). */
export function readFraming(head: Head): Framing {
  // The parser takes `SOURCE /x ICE/1.0`, the only protocol with this method, for HTTP/1.0.
  const isIcecast = head.method === 'SOURCE' && head.httpVersion === '1.0'
  if ((head.httpVersion !== '1.1' && head.httpVersion !== '1.0') || isIcecast) {
    throw new GatewayError('bad_request', 'only HTTP/1.0 and HTTP/1.1 are spoken here', {
      status: 505,
    })
  }
  if (!methods.has(head.method ?? '')) {
    throw new GatewayError('bad_request', 'the method is none that HTTP has, in upper case')
  }
  const coding = head.headers['transfer-encoding']
  const declared = head.headers['content-length']
  if (head.headers.expect !== undefined && head.headers.expect.toLowerCase() !== '100-continue') {
    throw new GatewayError('expectation_failed', 'the only expectation met here is 100-continue')
  }
  if (coding !== undefined) return readCoding(coding, declared, head.httpVersion)
  if (declared === undefined) return { hasBody: false, length: undefined }
  const length = Number(declared)
  if (!/^[0-9]+$/.test(declared) || !Number.isSafeInteger(length)) {
    throw new GatewayError('bad_request', 'Content-Length is not a number of bytes')
  }
  return { hasBody: length > 0, length }
}

function readCoding(coding: string, declared: string | undefined, version: string): Framing {
  if (version === '1.0') {
    throw new GatewayError('bad_request', 'HTTP/1.0 has no Transfer-Encoding')
  }
  if (declared !== undefined) {
    throw new GatewayError('bad_request', 'Content-Length and Transfer-Encoding exclude each other')
  }
  if (coding.toLowerCase() !== 'chunked') {
    throw new GatewayError('bad_request', 'the only transfer coding is chunked, once', {
      status: 501,
    })
  }
  return { hasBody: true, length: undefined }
}
