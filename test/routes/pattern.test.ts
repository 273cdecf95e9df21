// The promises of routes/pattern.ts and routes/git-service.ts: what is a pattern, what is a git service.

import t from 'tap'
import { bareRepository, readGitService } from '../../gateway/routes/git-service.ts'
import { parsePattern } from '../../gateway/routes/pattern.ts'

t.test('patterns', (t) => {
  const rows: [string, readonly string[], boolean, string][] = [
    ['/', [], true, 'the root'],
    ['/a/b', ['a', 'b'], false, 'literals'],
    ['/a/b/', ['a', 'b'], true, 'a trailing slash is kept apart'],
    ['/{x}', ['one x'], false, 'a capture'],
    ['/{x}/{y-2}/{_z...}', ['one x', 'one y-2', 'rest _z'], false, 'captures and a rest'],
    ['/a/{rest...}/', ['a', 'rest rest'], true, 'a rest with a trailing slash'],
    ['/a%20b/%C3%A9/ü', ['a b', 'é', 'ü'], false, 'literals are decoded'],
    ['/acme%2Fapp', ['acme/app'], false, 'an escaped slash stays in its segment'],
    ['/%7Bx%7D', ['{x}'], false, 'escaped braces are a literal'],
    ['/a+b;c=d', ['a+b;c=d'], false, 'other characters stand for themselves'],
  ]
  for (const [source, expected, trailingSlash, sentence] of rows) {
    const pattern = parsePattern(source)
    if ('error' in pattern) {
      t.fail(`${source}: ${pattern.error}`)
      continue
    }
    const segments = pattern.segments.map((segment) =>
      segment.kind === 'literal' ? segment.value : `${segment.kind} ${segment.name}`,
    )
    const read = { source: pattern.source, segments, trailingSlash: pattern.trailingSlash }
    t.strictSame(read, { source, segments: expected, trailingSlash }, sentence)
  }
  t.end()
})

t.test('what is no pattern', (t) => {
  const rows: [string, RegExp, string][] = [
    ['', /begins with \//, 'nothing'],
    ['a', /begins with \//, 'no slash'],
    ['//a', /no \/\//, 'an empty segment at the beginning'],
    ['/a//b', /no \/\//, 'an empty segment'],
    ['/a//', /no \/\//, 'an empty segment at the end'],
    ['/a?b=c', /no \?/, 'a query'],
    ['/a#b', /no #/, 'a fragment'],
    ['/./a', /no \. segments/, 'a dot segment'],
    ['/a/..', /no \.\. segments/, 'a double dot segment'],
    ['/%2e%2E', /no \.\. segments/, 'an escaped one'],
    ['/a%', /malformed escape/, 'a malformed escape'],
    ['/%ff', /malformed escape/, 'an escape that is no UTF-8'],
    ['/a%00', /control character/, 'an escaped control character'],
    ['/a\\b', /backslash/, 'a backslash'],
    ['/a{b}', /whole segment/, 'a capture in a segment'],
    ['/{b}.json', /whole segment/, 'a capture with an ending'],
    ['/{}', /whole segment/, 'no name'],
    ['/{2x}', /whole segment/, 'a name that begins with a digit'],
    ['/{-x}', /whole segment/, 'a name that begins with -'],
    ['/{x..}', /whole segment/, 'two dots'],
    ['/{x.y}', /whole segment/, 'a dot in the name'],
    ['/{x', /whole segment/, 'an open brace'],
    ['/{x...}/a', /stands last/, 'a rest that is not last'],
    ['/{x}/{x}', /stands twice/, 'a name twice'],
    ['/{x}/{x...}', /stands twice/, 'a name twice, once as the rest'],
  ]
  for (const [source, expected, sentence] of rows) {
    const pattern = parsePattern(source)
    t.match('error' in pattern ? pattern.error : 'accepted', expected, `${source}: ${sentence}`)
  }
  t.end()
})

t.test('services of git', (t) => {
  const hex38 = '0123456789abcdef0123456789abcdef012345'
  const rows: [string, string | undefined, number, string][] = [
    ['a/info/refs', 'info/refs', 2, 'the discovery'],
    ['a/git-upload-pack', 'git-upload-pack', 1, 'fetch'],
    ['a/git-receive-pack', 'git-receive-pack', 1, 'push'],
    ['a/git-upload-archive', 'git-upload-archive', 1, 'archive'],
    ['a/HEAD', 'dumb', 1, 'the head'],
    ['a/objects/info/packs', 'dumb', 3, 'the list of packs'],
    ['a/objects/info/alternates', 'dumb', 3, 'alternates'],
    ['a/objects/info/http-alternates', 'dumb', 3, 'alternates by HTTP'],
    [`a/objects/ab/${hex38}`, 'dumb', 3, 'a loose object'],
    [`a/objects/ab/${hex38}${'0'.repeat(24)}`, 'dumb', 3, 'a loose object of SHA-256'],
    ['a/objects/pack/pack-1.pack', 'dumb', 3, 'a pack'],
    ['a/objects/pack/pack-1.idx', 'dumb', 3, 'its index'],
    ['info/refs', 'info/refs', 2, 'without a repository: the matcher refuses that'],
    ['a/git-receive-pack/', 'git-receive-pack', 2, 'with a trailing slash, which counts'],
    ['a', undefined, 0, 'a repository alone'],
    ['', undefined, 0, 'the root'],
    ['a/refs', undefined, 0, 'refs without info'],
    ['refs', undefined, 0, 'too short'],
    ['a/head', undefined, 0, 'another case'],
    ['a/info/refs/x', undefined, 0, 'more behind it'],
    [`a/objects/AB/${hex38}`, undefined, 0, 'upper-case hex'],
    [`a/objects/ab/${hex38}0`, undefined, 0, 'a digit too many'],
    ['a/objects/info/x', undefined, 0, 'another file of objects/info'],
    ['a/objects/pack/pack-1.rev', undefined, 0, 'another file of a pack'],
    ['a/objects/pack/x.pack', undefined, 0, 'no pack'],
    ['a/info/lfs/objects/batch', undefined, 0, 'large files are no service here'],
  ]
  for (const [path, service, length, sentence] of rows) {
    const expected = service === undefined ? undefined : { service, length }
    t.strictSame(readGitService(path.split('/')), expected, `${path}: ${sentence}`)
  }
  t.end()
})

t.test('the name of a repository without .git', (t) => {
  const rows = [
    ['acme/hello', 'acme/hello', 'without'],
    ['acme/hello.git', 'acme/hello', 'with'],
    ['acme/hello/.git', 'acme/hello', 'the folder in a working tree'],
    ['acme/hello.git.git', 'acme/hello.git', 'once only'],
    ['acme.git/hello', 'acme.git/hello', 'the last segment only'],
    ['acme/hello.GIT', 'acme/hello.GIT', 'case matters'],
  ] as const
  for (const [path, expected, sentence] of rows) {
    t.equal(bareRepository(path.split('/')).join('/'), expected, sentence)
  }
  t.end()
})
