// Credentials and challenges: what each carrier presents, what is ambiguous, what never goes on to an
// upstream, and how the gateway asks for a token.

import t from 'tap'
import { writeChallenge } from '../../gateway/credentials/challenge.ts'
import {
  credentialFieldNames,
  readCredentials,
  withoutQueryCarriers,
} from '../../gateway/credentials/credentials.ts'
import { GatewayError } from '../../gateway/errors.ts'
import type { Carrier } from '../../gateway/routes/route.ts'

const secret = 'sgt_0123456789abcdefghijABCDEFGHIJ01234567'
const other = 'sgt_9876543210abcdefghijABCDEFGHIJ01234567'

const header: Carrier = { kind: 'header', name: 'osf-token' }
const secondHeader: Carrier = { kind: 'header', name: 'x-auth-token' }
const bearer: Carrier = { kind: 'authorization', scheme: 'bearer' }
const oauth2: Carrier = { kind: 'authorization', scheme: 'oauth2' }
const basic: Carrier = { kind: 'authorization', scheme: 'basic' }
const query: Carrier = { kind: 'query', name: 'api_token' }
const all = [header, secondHeader, bearer, oauth2, basic, query]

/** Fields, query, carriers, what comes of it ('none', 'malformed', 'ambiguous' or the secret), and why. */
type Row = [string[], string | undefined, readonly Carrier[], string, string]

const rows: Row[] = [
  [[], undefined, all, 'none', 'nothing is presented'],
  [['Accept', '*/*'], 'a=b', all, 'none', 'no carrier occurs'],

  [['OSF-TOKEN', secret], undefined, all, secret, 'a header'],
  [['osf-token', secret], undefined, all, secret, 'its name in lower case'],
  [['OSF-TOKEN', ` \t${secret} `], undefined, all, secret, 'white space around it'],
  [['OSF-TOKEN', ''], undefined, all, 'none', 'an empty header'],
  [['OSF-TOKEN', '  '], undefined, all, 'none', 'a blank header'],
  [['OSF_TOKEN', secret], undefined, all, 'none', 'another spelling is another field'],
  [
    ['X-Auth-Token', secret],
    undefined,
    [header],
    'none',
    'a header that the route does not accept',
  ],

  [['Authorization', `Bearer ${secret}`], undefined, all, secret, 'Bearer'],
  [['Authorization', `  Bearer ${secret} `], undefined, all, secret, 'white space around it'],
  [['Authorization', `Basic  ${encode(`u:${secret}`)}  `], undefined, all, secret, 'the same'],
  [['authorization', `bEARER   ${secret}`], undefined, all, secret, 'without case, more spaces'],
  [['Authorization', `Bearer ${encode(secret)}`], undefined, all, secret, 'base64 of the token'],
  [['Authorization', `Bearer ${encode('abc')}`], undefined, all, 'YWJj', 'base64 of another text'],
  [
    ['Authorization', `Bearer ${encode(secret)}=`],
    undefined,
    all,
    `${encode(secret)}=`,
    'bad padding',
  ],
  [['Authorization', 'Bearer old-token'], undefined, all, 'old-token', 'a token of another system'],
  [['Authorization', 'Bearer'], undefined, all, 'none', 'a scheme alone'],
  [['Authorization', 'Bearer '], undefined, all, 'none', 'an empty token'],
  [['Authorization', ''], undefined, all, 'none', 'an empty Authorization'],
  [['Authorization', secret], undefined, all, 'none', 'a token without a scheme'],
  [['Authorization', `Digest ${secret}`], undefined, all, 'none', 'a scheme that nobody accepts'],
  [
    ['Authorization', `Bearer ${secret}`],
    undefined,
    [basic],
    'none',
    'Bearer where Basic is accepted',
  ],
  [
    ['Authorization', `Basic ${encode(`u:${secret}`)}`],
    undefined,
    [bearer],
    'none',
    'and vice versa',
  ],
  [['Authorization', `OAuth2 ${secret}`], undefined, all, secret, 'OAuth2'],
  [
    ['Authorization', `OAuth2 ${encode(secret)}`],
    undefined,
    all,
    encode(secret),
    'never base64 there',
  ],

  [['Authorization', `Basic ${encode(`user:${secret}`)}`], undefined, all, secret, 'the password'],
  [['Authorization', `basic ${encode(`user:${secret}`)}`], undefined, all, secret, 'without case'],
  [['Authorization', `Basic ${encode(`a:b:c`)}`], undefined, all, 'b:c', 'behind the first colon'],
  [
    ['Authorization', `Basic ${encode(`:${secret}`)}`],
    undefined,
    all,
    secret,
    'an empty user name',
  ],
  [['Authorization', `Basic ${encode(`${secret}:`)}`], undefined, all, secret, 'an empty password'],
  [
    ['Authorization', `Basic ${encode(`${secret}:x-oauth-basic`)}`],
    undefined,
    all,
    secret,
    'the placeholder for a password',
  ],
  [['Authorization', `Basic ${encode(secret)}`], undefined, all, secret, 'no colon: all of it'],
  [
    ['Authorization', `Basic ${encode(`u: ${secret}\n`)}`],
    undefined,
    all,
    secret,
    'white space in it',
  ],
  [['Authorization', `Basic ${encode(':')}`], undefined, all, 'none', 'nothing on either side'],
  [['Authorization', 'Basic'], undefined, all, 'none', 'Basic alone'],
  [['Authorization', `Basic user:${secret}`], undefined, all, 'malformed', 'not encoded at all'],
  [['Authorization', 'Basic dTpwY'], undefined, all, 'malformed', 'base64 cut short'],
  [['Authorization', 'Basic dTpw!'], undefined, all, 'malformed', 'a character that base64 lacks'],
  [['Authorization', 'Basic dTpw dTpw'], undefined, all, 'malformed', 'a space inside'],
  [['Authorization', 'Basic dTpwYR=='], undefined, all, 'malformed', 'bits behind the end'],

  [[], `api_token=${secret}`, all, secret, 'the query'],
  [[], `a=b&api_token=${secret}&c`, all, secret, 'among other parameters'],
  [[], `api%5ftoken=${secret}`, all, secret, 'its name percent-encoded'],
  [[], 'api_token=sgt%5Fx%2By', all, 'sgt_x+y', 'its value percent-encoded'],
  [[], 'api_token=+x%20y%zz', all, 'x y%zz', 'plus as a space, a bad escape as it is'],
  [[], 'api_token=', all, 'none', 'an empty parameter'],
  [[], 'api_token', all, 'none', 'a parameter without a value'],
  [[], `API_TOKEN=${secret}`, all, 'none', 'case matters in a query'],
  [[], `api_token=${secret}`, [header, bearer], 'none', 'a query that the route does not accept'],

  [['OSF-TOKEN', secret, 'osf-token', other], undefined, all, 'ambiguous', 'a header twice'],
  [['OSF-TOKEN', secret, 'OSF-TOKEN', secret], undefined, all, 'ambiguous', 'with the same value'],
  [['OSF-TOKEN', secret, 'OSF-TOKEN', ''], undefined, all, 'ambiguous', 'once empty'],
  [['OSF-TOKEN', '', 'OSF-TOKEN', secret], undefined, all, 'ambiguous', 'first empty'],
  [
    ['Authorization', `Bearer ${secret}`, 'Authorization', 'Digest x'],
    undefined,
    [bearer],
    'ambiguous',
    'Authorization twice, one of them in another scheme',
  ],
  [[], `api_token=${secret}&api%5Ftoken=${secret}`, all, 'ambiguous', 'a query parameter twice'],
  [['OSF-TOKEN', secret, 'X-Auth-Token', other], undefined, all, 'ambiguous', 'two tokens'],
  [['OSF-TOKEN', secret], `api_token=${other}`, all, 'ambiguous', 'another one in the query'],
  [
    ['OSF-TOKEN', secret, 'Authorization', 'Basic !'],
    undefined,
    all,
    'ambiguous',
    'a token beside malformed Basic',
  ],
  [
    ['OSF-TOKEN', secret, 'Authorization', `Bearer ${encode(secret)}`],
    `api_token=${secret}`,
    all,
    secret,
    'the same token in three carriers',
  ],
  [
    ['OSF-TOKEN', secret, 'X-Auth-Token', other],
    undefined,
    [header],
    secret,
    'one is not looked at',
  ],
  [
    ['X-Auth-Token', secret, 'X-Auth-Token', other],
    undefined,
    [header],
    'none',
    'a carrier twice that is not looked at',
  ],
  [['Authorization', 'Basic !'], undefined, [basic, basic], 'malformed', 'a carrier listed twice'],
]

t.test('every carrier presents what the table says', async (t) => {
  for (const [fields, queryText, carriers, expected, why] of rows) {
    t.equal(outcome(fields, queryText, carriers), expected, `${expected}: ${why}`)
  }
})

t.test('no sentence holds a secret', async (t) => {
  for (const [fields, queryText, carriers] of rows) {
    const error = refusal(fields, queryText, carriers)
    if (error === undefined) continue
    t.notMatch(error.message, /sgt_|\d{4}/, error.message)
    t.equal(error.cause, undefined, 'no cause either')
  }
})

t.test('every field that may carry credentials is named for removal', async (t) => {
  t.strictSame([...credentialFieldNames(all)].sort(), [
    'authorization',
    'osf-token',
    'x-auth-token',
  ])
  t.strictSame([...credentialFieldNames([header, query])], ['osf-token'])
})

t.test('the query goes on without its credentials, otherwise byte for byte', async (t) => {
  const queries: [string | undefined, string | undefined, string][] = [
    [undefined, undefined, 'no query'],
    ['', '', 'an empty query'],
    ['a=%zz&&b=+&c', 'a=%zz&&b=+&c', 'nothing to remove'],
    [`api_token=${secret}`, undefined, 'nothing is left'],
    [`a=1&api_token=${secret}&b=%2f`, 'a=1&b=%2f', 'in the middle'],
    ['a&api_token', 'a', 'without a value'],
    ['%61pi%5ftoken=x&api_token=y&a', 'a', 'every spelling, every occurrence'],
    ['a;api_token=x;b&c', 'a;b&c', 'where a server takes `;` for a separator'],
    ['api_token[]=1&api.token=2&+Api_Token=3&a', 'a', 'as PHP and ASP.NET read names'],
    ['a=%ff&%ffapi_token=1', 'a=%ff&%ffapi_token=1', 'what is not UTF-8 is nobody’s name'],
    [
      'xapi_token=1&api_token2=2&a=api_token=3',
      'xapi_token=1&api_token2=2&a=api_token=3',
      'others',
    ],
  ]
  for (const [before, after, why] of queries) t.equal(withoutQueryCarriers(before, all), after, why)
  t.equal(withoutQueryCarriers('api_token=x', [header]), 'api_token=x', 'where it is no carrier')
})

t.test('a challenge names scheme and realm, and errors where they are given', async (t) => {
  t.equal(writeChallenge('Bearer'), 'Bearer realm="scopegate"')
  t.equal(writeChallenge('Basic', { realm: 'git' }), 'Basic realm="git"')
  t.equal(
    writeChallenge('Bearer', {
      error: 'insufficient_scope',
      errorDescription: 'The token lacks source:read.',
      scope: 'source:read source:read-update',
    }),
    'Bearer realm="scopegate", error="insufficient_scope", ' +
      'error_description="The token lacks source:read.", scope="source:read source:read-update"',
  )
})

t.test('nothing leaves the quotes of a challenge', async (t) => {
  t.equal(writeChallenge('Basic', { realm: 'a"b\\c' }), 'Basic realm="a\\"b\\\\c"')
  t.equal(
    writeChallenge('Basic', { realm: 'a\r\nX: é\ud800' }),
    'Basic realm="a%0D%0AX: %C3%A9%EF%BF%BD"',
  )
  t.equal(
    writeChallenge('Bearer', {
      realm: 'r',
      errorDescription: 'no "x"\n',
      scope: 'a"\\b',
      error: '"',
    }),
    'Bearer realm="r", error="%22", error_description="no \'x\'%0A", scope="a%22%5Cb"',
  )
})

function outcome(fields: string[], queryText: string | undefined, carriers: readonly Carrier[]) {
  if (refusal(fields, queryText, carriers) !== undefined) return 'ambiguous'
  const credentials = readCredentials(fields, queryText, carriers)
  return credentials.kind === 'token' ? credentials.secret : credentials.kind
}

function refusal(fields: string[], queryText: string | undefined, carriers: readonly Carrier[]) {
  try {
    readCredentials(fields, queryText, carriers)
    return undefined
  } catch (error) {
    if (error instanceof GatewayError && error.code === 'ambiguous_credentials') return error
    throw error
  }
}

function encode(text: string): string {
  return Buffer.from(text, 'latin1').toString('base64')
}
