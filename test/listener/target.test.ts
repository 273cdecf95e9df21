// The request target: a table of raw targets, one for every known way in which two servers read one path
// differently, and the property behind it: what is accepted has one reading only.

import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { GatewayError } from '../../gateway/errors.ts'
import { pathForScopes, type RequestTarget, readTarget } from '../../gateway/listener/target.ts'
import { seed } from '../search.ts'

const table = new URL('../fixtures/request-targets.tsv', import.meta.url)
const host = 'gateway.example'

t.test('every target of the table is read or refused as it says', async (t) => {
  let rows = 0
  for (const line of readFileSync(table, 'utf8').split('\n')) {
    const [raw, hosts, expected, why] = line.split('\t')
    if (raw === undefined || hosts === undefined || expected === undefined) continue
    rows += 1
    t.equal(outcome(unescapeBytes(raw), hostsOf(hosts)), expected, `${raw} ${hosts}: ${why}`)
  }
  t.ok(rows > 150, 'the table was read')
})

t.test('segments are decoded, path and query are as received', async (t) => {
  t.strictSame(read('/a/b%20c/?x=%41'), {
    path: '/a/b%20c/',
    query: 'x=%41',
    segments: ['a', 'b c', ''],
    host,
    authority: host,
    hasParameters: false,
    hasEncodedSlash: false,
  })
  t.strictSame(read('/').segments, [''])
  t.strictSame(read('/a%2fb;c/%7E%C3%A9').segments, ['a/b;c', '~é'])
  t.equal(read('/x').query, undefined)
  t.equal(read('/x?').query, '')
  t.equal(read(`http://${host}?a/b`).query, 'a/b')
  t.equal(read(`http://${host}/a%2fb?c`).path, '/a%2fb')
})

t.test('the host is normalised, the authority is as received', async (t) => {
  const target = readTarget('/', ['GateWay.Example.:8080'], 'http')
  t.equal(target.host, host)
  t.equal(target.authority, 'GateWay.Example.:8080')
  t.equal(readTarget('/', ['[2001:DB8::1]:8080'], 'http').host, '[2001:db8::1]')
})

t.test('the default port is the one of the scheme', async (t) => {
  t.equal(readTarget('https://a:443/', ['a'], 'https').host, 'a')
  t.equal(readTarget('https://a/', ['a:443'], 'http').host, 'a')
  t.throws(() => readTarget('https://a:80/', ['a'], 'https'), { code: 'bad_target' })
  t.throws(() => readTarget('http://a/', ['a'], 'https'), { code: 'bad_target' })
})

t.test('a refusal says what is wrong and what would be right', async (t) => {
  const sentences: [string, RegExp][] = [
    ['/a%2', /without two hex digits .* as %25/],
    ['/%61', /needless escape %61; write it as "a"/],
    ['/a%252e', /encoded twice .* once/],
    ['/a b', /a space; write it as %20/],
    ['/a#b', /"#"; leave the fragment out/],
    ['/caf\xe9', /byte 0xe9; write UTF-8 in percent encoding/],
    ['/../a', /"\.\." segment; send the path that it leads to/],
    [`http://u@${host}/`, /names a user; send credentials in a header field/],
    ['http://other/', /different hosts; they must agree/],
  ]
  for (const [raw, sentence] of sentences) t.match(refusal(raw, [host])?.message, sentence, raw)
})

t.test('no sentence repeats the target', async (t) => {
  const secret = 'sgt_secret'
  for (const raw of [`/${secret}/..`, `/x?${secret}#`, `http://${secret}@${host}/`, secret]) {
    const error = refusal(raw, [host])
    t.ok(error !== undefined && !error.message.includes(secret), error?.message ?? 'accepted')
  }
})

t.test('path scopes compare with upper-case escapes and a plain tilde', async (t) => {
  t.equal(pathForScopes('/a%2fb/%c3%A9/%7eu/%7E/~'), '/a%2Fb/%C3%A9/~u/~/~')
  t.equal(pathForScopes('/Plain/Path/'), '/Plain/Path/')
})

t.test('any bytes are read or refused as bad_target, and pass unchanged', async () => {
  const bytes = fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 12 })
  const anything = fc.oneof(
    targets(),
    bytes.map((codes) => `/${String.fromCharCode(...codes)}`),
  )
  fc.assert(
    fc.property(anything, (raw) => {
      const target = accepted(raw)
      if (target === undefined) return
      const query = target.query === undefined ? '' : `?${target.query}`
      if (target.path + query !== raw) throw new Error(`${raw} became ${target.path}${query}`)
    }),
    { seed, numRuns: 5_000 },
  )
})

t.test('what is accepted has the same segments under every common reading', async (t) => {
  let compared = 0
  fc.assert(
    fc.property(targets(), readings(), (raw, steps) => {
      const target = accepted(raw)
      if (target === undefined || target.hasParameters || target.hasEncodedSlash) return
      compared += 1
      // Letters that fold into other letters (decomposed ones) are the same name here.
      const reading = JSON.stringify(readAs(raw, steps).map(fold))
      const own = JSON.stringify(target.segments.map(fold))
      if (reading !== own) throw new Error(`${raw} is ${own}, and ${steps.join(', ')}: ${reading}`)
    }),
    { seed, numRuns: 20_000 },
  )
  t.ok(compared > 1_000, `${compared} readings were compared`)
})

t.test('no reading makes an ASCII name out of another name', async (t) => {
  let compared = 0
  fc.assert(
    fc.property(targets(), readings(), (raw, steps) => {
      const target = accepted(raw)
      if (target === undefined || target.hasParameters || target.hasEncodedSlash) return
      for (const [i, name] of readAs(raw, steps).entries()) {
        if (/[\u0080-\uffff]/.test(name)) continue
        compared += 1
        if (name !== target.segments[i]) throw new Error(`${raw}: ${name}, by ${steps.join(', ')}`)
      }
    }),
    { seed, numRuns: 10_000 },
  )
  t.ok(compared > 1_000, `${compared} names were compared`)
})

t.test(
  'dots and empty parts are refused even where slashes and parameters are allowed',
  async (t) => {
    let compared = 0
    fc.assert(
      fc.property(targets(), fc.subarray(['decode', 'fold'] as const), (raw, steps) => {
        const target = accepted(raw)
        if (target === undefined) return
        compared += 1
        const names = readAs(raw, [...steps, 'strip'])
        const inner = names.slice(0, -1)
        if (names.some((name) => name === '.' || name === '..') || inner.includes('')) {
          throw new Error(`${raw} is ${JSON.stringify(names)} by ${steps.join(', ')}, strip`)
        }
      }),
      { seed, numRuns: 10_000 },
    )
    t.ok(compared > 1_000, `${compared} targets were accepted`)
  },
)

/** What another server may do to a path before it looks at the segments, in any order. */
const steps = {
  decode: decodeLeniently,
  backslash: (path: string) => path.replaceAll('\\', '/'),
  strip: (path: string) => path.replace(/;[^/]*/g, ''),
  merge: (path: string) => path.replace(/\/{2,}/g, '/'),
  resolve: resolveDots,
  fold,
}

type Step = keyof typeof steps

function readings(): fc.Arbitrary<Step[]> {
  const names = Object.keys(steps) as Step[]
  // Nobody decodes more than twice.
  return fc
    .array(fc.constantFrom(...names), { maxLength: 7 })
    .filter((list) => list.filter((step) => step === 'decode').length <= 2)
}

/** Segments as a server sees them that cuts fragment and query, takes the steps, splits and decodes. */
function readAs(raw: string, list: readonly Step[]): string[] {
  let path = raw.replace(/[?#].*$/s, '')
  for (const step of list) path = steps[step](path)
  const segments = path.slice(1).split('/')
  return list.includes('decode') ? segments : segments.map(decodeLeniently)
}

/** Valid escapes as UTF-8, overlong forms too; the others stay. */
function decodeLeniently(text: string): string {
  return text
    .replace(/%c0%([89ab][0-9a-f])/gi, (_, hex: string) => char(Number.parseInt(hex, 16) - 0x80))
    .replace(/(?:%[0-9a-f]{2})+/gi, (run) => Buffer.from(run.replaceAll('%', ''), 'hex').toString())
}

function char(code: number): string {
  return String.fromCharCode(code)
}

function fold(text: string): string {
  return text.normalize('NFKC')
}

/** RFC 3986 5.2.4. */
function resolveDots(path: string): string {
  const kept: string[] = []
  const segments = path.slice(1).split('/')
  for (const [i, segment] of segments.entries()) {
    const isLast = i === segments.length - 1
    if (segment === '..') kept.pop()
    if (segment !== '.' && segment !== '..') kept.push(segment)
    else if (isLast) kept.push('')
  }
  return `/${kept.join('/')}`
}

/** Paths made of what readings differ about, with enough ordinary names between that some are accepted. */
function targets(): fc.Arbitrary<string> {
  const names = ['a', 'admin', 'b', '2', '2e', 'e', 'A', '~', '%7E', '%20', '%C3%A9', 'e%CC%81']
  const odd =
    '. .. ... %2e %2E %2F %2f ; %3B %5C %5c \\ # ? %23 %3F % %% %25 %252e %252F %2 %zz %00 %C0%AE ' +
    '%EF%BC%8E %EF%BC%8F %EF%BC%BC %EF%BC%85 %EF%BC%92 %EF%BC%9B %CD%BE %EF%BD%81 %E2%80%A5 ' +
    '%E2%80%A4 %E2%84%80 %CC%B8 %61 %EF%BC%83 %C2%A0 %C2%85 %E9 %ED%A0%80'
  const piece = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...names) },
    { weight: 3, arbitrary: fc.constant('/') },
    { weight: 2, arbitrary: fc.constantFrom(...odd.split(' ')) },
  )
  return fc.array(piece, { maxLength: 8 }).map((pieces) => `/${pieces.join('')}`)
}

function read(raw: string): RequestTarget {
  return readTarget(raw, [host], 'http')
}

function refusal(raw: string, hosts: readonly string[]): GatewayError | undefined {
  try {
    readTarget(raw, hosts, 'http')
    return undefined
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'bad_target') return error
    throw error
  }
}

function accepted(raw: string): RequestTarget | undefined {
  return refusal(raw, [host]) === undefined ? read(raw) : undefined
}

function outcome(raw: string, hosts: readonly string[]): string {
  if (refusal(raw, hosts) !== undefined) return 'bad_target'
  const target = readTarget(raw, hosts, 'http')
  const parameters = target.hasParameters ? ' parameters' : ''
  return `ok ${target.path}${parameters}${target.hasEncodedSlash ? ' encoded-slash' : ''}`
}

function hostsOf(column: string): string[] {
  if (column === '-') return [host]
  if (column === 'none') return []
  return column === 'empty' ? [''] : unescapeBytes(column).split('|')
}

function unescapeBytes(text: string): string {
  return text.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) => char(Number.parseInt(hex, 16)))
}
