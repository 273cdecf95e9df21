// The WWW-Authenticate challenge (RFC 9110 11.6.1, RFC 6750 3, RFC 7617 2). Pure. Whatever its parameters
// hold, the value is one challenge of printable ASCII.

export type ChallengeParameters = {
  /** Default `scopegate`. */
  readonly realm?: string
  /** Of a registry: for whom its token service is to make a grant (distribution, auth/token.md). */
  readonly service?: string
  /** `invalid_token`, `insufficient_scope`, `invalid_request`: only where credentials were presented. */
  readonly error?: string
  readonly errorDescription?: string
  /** The scopes that are needed, separated by spaces. */
  readonly scope?: string
}

/** Writes the value of a WWW-Authenticate field. */
export function writeChallenge(
  scheme: 'Bearer' | 'Basic',
  parameters: ChallengeParameters = {},
): string {
  const { realm = 'scopegate', service, error, errorDescription, scope } = parameters
  const written = [`realm="${quote(realm)}"`]
  if (service !== undefined) written.push(`service="${quote(service)}"`)
  if (error !== undefined) written.push(`error="${plain(error)}"`)
  if (errorDescription !== undefined) {
    written.push(`error_description="${plain(errorDescription.replaceAll('"', "'"))}"`)
  }
  if (scope !== undefined) written.push(`scope="${plain(scope)}"`)
  return `${scheme} ${written.join(', ')}`
}

/** The inside of a quoted-string (RFC 9110 5.6.4). */
function quote(text: string): string {
  return printable(text).replace(/["\\]/g, '\\$&')
}

/** Text of RFC 6750 3, which takes neither quote nor backslash, escaped or not. */
function plain(text: string): string {
  return printable(text).replace(/["\\]/g, encodeURIComponent)
}

function printable(text: string): string {
  return text.toWellFormed().replace(/[^\x20-\x7e]/gu, encodeURIComponent)
}
