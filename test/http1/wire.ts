// Made-up heads and replies: written well, or with what real and hostile peers do wrong, and then cut into
// pieces as a network may.

import fc from 'fast-check'

/** Mostly what is right. */
function mostly(right: readonly string[], wrong: readonly string[]): fc.Arbitrary<string> {
  return fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...right) },
    { weight: 1, arbitrary: fc.constantFrom(...wrong) },
  )
}

const nl = mostly(['\r\n'], ['\n', '\r', '\r\n ', '\r\r\n'])
const name = mostly(['A', 'x-b', 'Set-Cookie', 'X_c', '~!#$'], ['', 'a b', 'a\t', 'Ä', 'x:', '\0'])
const value = mostly(
  ['', 'v', ' v ', '\tv\t', 'a b', 'é', ':', '"q"'],
  ['a\0b', 'a\rb', '\x7f', '\x01'],
)

/** Fields that say how a body is framed, or what becomes of the connection. */
const framing = fc.constantFrom(
  'Content-Length: 0',
  'Content-Length: 5',
  'Content-Length: 05',
  'content-length:5',
  'Content-Length: 5 ',
  'Content-Length: +5',
  'Content-Length: 5, 5',
  'Content-Length: 0x5',
  'Content-Length: 99999999999999999999',
  'Content-Length: ',
  'Content-Length : 5',
  'Transfer-Encoding: chunked',
  'transfer-encoding: CHUNKED',
  'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: identity',
  'Transfer-Encoding: chunked ',
  'Connection: close',
  'Connection: keep-alive',
  'Connection: x, Close',
  'Proxy-Connection: close',
  'Keep-Alive: timeout=5',
  'Upgrade: websocket',
  'Expect: 100-continue',
  'Trailer: T',
)

const line = fc.oneof(
  { weight: 2, arbitrary: framing },
  { weight: 4, arbitrary: fc.tuple(name, value).map(([n, v]) => `${n}: ${v}`) },
  { weight: 1, arbitrary: fc.tuple(name, value).map(([n, v]) => `${n}${v}`) },
)

function head(start: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const lines = fc.array(fc.tuple(line, nl), { maxLength: 4 })
  return fc.tuple(start, nl, lines, nl).map(([first, end, all, last]) => {
    return `${first}${end}${all.map(([text, feed]) => text + feed).join('')}${last}`
  })
}

const statusLine = mostly(
  [
    'HTTP/1.1 200 OK',
    'HTTP/1.0 200 OK',
    'HTTP/1.1 200 ',
    'HTTP/1.1 204 No Content',
    'HTTP/1.1 304 Not Modified',
    'HTTP/1.1 404 Not Foünd',
    'HTTP/1.1 103 Early Hints',
  ],
  [
    'HTTP/1.1 200',
    'HTTP/1.1 100 Continue',
    'HTTP/1.1 099 Odd',
    'HTTP/1.1 20 OK',
    'HTTP/1.1 2000 OK',
    'HTTP/1.1  200 OK',
    'HTTP/1.2 200 OK',
    'HTTP/2.0 200 OK',
    'http/1.1 200 OK',
    'ICY 200 OK',
    '',
  ],
)

const body = fc.constantFrom(
  '',
  'hello',
  'hello world',
  '5\r\nhello\r\n0\r\n\r\n',
  '5;a=b\r\nhello\r\n0\r\n\r\n',
  '5 \r\nhello\r\n0\r\n\r\n',
  '05\r\nhello\r\n00\r\n\r\n',
  '5\r\nhello\r\n0\r\nT: v\r\n\r\n',
  '5\r\nhello\r\n0\r\nT : v\r\n\r\n',
  '5\nhello\n0\n\n',
  '5\r\nhello0\r\n\r\n',
  '5\r\nhelloworld\r\n0\r\n\r\n',
  '-5\r\nhello\r\n0\r\n\r\n',
  '0x5\r\nhello\r\n0\r\n\r\n',
  'fffffffffffffffff\r\nhello',
  '5\r\nhel',
  '0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
)

/** What a server may send in answer to one request. */
export const replies: fc.Arbitrary<string> = fc
  .tuple(fc.array(head(statusLine), { minLength: 1, maxLength: 2 }), body)
  .map(([heads, rest]) => heads.join('') + rest)

const requestLine = fc
  .tuple(
    mostly(
      ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'POST', 'PUT', 'PATCH'],
      ['PURGE', 'get', 'G T', 'CONNECT', ''],
    ),
    mostly([' '], ['  ', '\t', '']),
    mostly(
      ['/', '/a?b=c', '/a#b', '/%zz', '/"<>^`{|}'],
      ['*', 'http://a/', '/é', '/a b', '/\x7f', ''],
    ),
    mostly([' HTTP/1.1'], [' HTTP/1.0', ' HTTP/1.1 ', ' http/1.1', '']),
  )
  .map((parts) => parts.join(''))

/** What a client may send as a head; all of it in one piece. */
export const requestHeads: fc.Arbitrary<string> = head(requestLine)

const hex = /^[0-9a-f]{1,4}/i

/** One chunk: a size, as a client may write it, and so many bytes, or nearly so. */
const chunk = fc
  .tuple(
    mostly(
      [
        '1',
        '5',
        'a',
        'A',
        '10',
        '005',
        '5;a',
        '5;a=b',
        '5;a="b c"',
        '5;a=b;c',
        '0000000000005',
        '00000000000000005',
        '5;a="\\""',
      ],
      [
        '',
        '5 ',
        ' 5',
        '5 ;a',
        '5; a',
        '5;',
        '5;=b',
        '5;a=',
        '5;a="b',
        '5;a b',
        '5;\xe9',
        '-5',
        '+5',
        '0x5',
        '5g',
        'fffffffffffffffff',
        '5;a\n',
        '5;a\r',
        '5\0',
      ],
    ),
    nl,
    mostly([''], ['x', '\r\n']),
    nl,
  )
  .map(([size, first, beside, last]) => {
    const content = 'hello world, hello!'.slice(0, Number.parseInt(hex.exec(size)?.[0] ?? '5', 16))
    return `${size}${first}${content}${beside}${last}`
  })

const trailers = fc
  .array(fc.tuple(name, value, nl), { maxLength: 2 })
  .map((all) => all.map(([n, v, feed]) => `${n}: ${v}${feed}`).join(''))

/** What a client may send as the chunks of a body, or of its beginning. */
export const chunkedBodies: fc.Arbitrary<string> = fc
  .tuple(
    fc.array(chunk, { maxLength: 4 }),
    mostly(['0', '000', '0;a'], ['', '0 ', '5']),
    nl,
    mostly([''], ['T: v\r\n', 'Content-Length: 5\r\n', 'transfer-encoding: chunked\r\n']),
    fc.oneof({ weight: 3, arbitrary: fc.constant('') }, { weight: 1, arbitrary: trailers }),
    nl,
  )
  .map(([chunks, ...rest]) => chunks.join('') + rest.join(''))
