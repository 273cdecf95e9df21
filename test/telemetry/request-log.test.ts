// The lines of requests (gateway/telemetry/request-log.ts), which are put together a moment later: they say what
// was when the request ended, and stand in the order of the ends.

import pino from 'pino'
import t from 'tap'
import { GatewayError } from '../../gateway/errors.ts'
import { Exchange, type ReplyWriter, type RequestHead } from '../../gateway/listener/exchange.ts'
import { GatheredLines } from '../../gateway/telemetry/gathered-lines.ts'
import { RequestLog } from '../../gateway/telemetry/request-log.ts'

type Line = { readonly msg: string; readonly [field: string]: unknown }

function open(): { log: pino.Logger; requests: RequestLog; lines: () => Line[] } {
  let written = ''
  const destination = { write: (piece: Buffer) => (written += piece.toString()), flushSync() {} }
  const log = pino({ base: null }, new GatheredLines(destination, 64 * 1024))
  const lines = (): Line[] =>
    written.split('\n').flatMap((line) => (line === '' ? [] : JSON.parse(line)))
  return { log, requests: new RequestLog(log), lines }
}

function exchangeOf(path: string): Exchange {
  const head = { method: 'GET', rawHeaders: [] } as unknown as RequestHead
  const exchange = new Exchange(head, {} as ReplyWriter)
  exchange.path = path
  exchange.status = 200
  return exchange
}

t.test('a line says what was when the request ended', (t) => {
  const { log, requests, lines } = open()
  const exchange = exchangeOf('/a')
  exchange.framesIn = 7
  exchange.cause = new Error('the first')
  const before = Date.now()
  requests.request(exchange, 12.5)
  const after = Date.now()
  exchange.framesIn = 8
  exchange.cause = new Error('the second')
  while (Date.now() === after);
  log.info('now')
  const [line] = lines() as [Line]
  t.match(line, { msg: 'request', path: '/a', bytesIn: 7, durationMs: 12.5, cause: 'the first' })
  const at = Date.parse(String(line.time))
  t.ok(before <= at && at <= after, String(line.time))
  t.end()
})

t.test('times are written to the millisecond, whichever way the clock goes', (t) => {
  const { log, requests, lines } = open()
  const times = [5, 1_764_460_799_007, 1_764_460_799_999, 1_764_460_800_000, 1_764_460_799_060, -1]
  const { now } = Date
  t.teardown(() => {
    Date.now = now
  })
  for (const at of times) {
    Date.now = () => at
    requests.request(exchangeOf('/a'), 1)
  }
  Date.now = now
  log.info('now')
  const written = lines().slice(0, times.length)
  t.strictSame(
    written.map(({ time }) => time),
    times.map((at) => new Date(at).toISOString()),
  )
  t.end()
})

t.test('lines stand in the order of the ends, whatever else is told between', (t) => {
  const { log, requests, lines } = open()
  const address = '127.0.0.1'
  requests.request(exchangeOf('/1'), 1)
  requests.unread({ requestId: 'unread', error: new GatewayError('bad_request', 'no'), address })
  requests.request(exchangeOf('/2'), 1)
  log.info('told')
  requests.request(exchangeOf('/3'), 1)
  log.info('the last')
  const told = lines().map(({ msg, path, requestId }) => path ?? (path === null ? requestId : msg))
  t.strictSame(told, ['/1', 'unread', '/2', 'told', '/3', 'the last'])
  t.end()
})

t.test('none is missing of many', (t) => {
  const { log, requests, lines } = open()
  const paths = Array.from({ length: 100 }, (_, i) => `/${i}`)
  for (const path of paths) requests.request(exchangeOf(path), 1)
  log.info('now')
  t.strictSame(
    lines().map(({ path }) => path ?? 'now'),
    [...paths, 'now'],
  )
  t.end()
})
