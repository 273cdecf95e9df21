// The examples of a route: `METHOD TARGET (with SCOPE[, SCOPE]… | without token) -> STATUS`. Pure.

/** What an example says. */
export type Example = {
  readonly method: string
  readonly target: string
  /** undefined: without a token. */
  readonly scopes: readonly string[] | undefined
  readonly status: number
}

const exampleForm =
  /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) +(\S+) +(?:with +(\S.*?)|without +token) +-> +(\d{3})$/

/** Parses one example. Path scopes (`GET /x/`) may be among the scopes: they are split at `, `. */
export function parseExample(source: string): Example | { readonly error: string } {
  const parts = exampleForm.exec(source.trim())
  if (parts === null) {
    const commaHint = / with [^>]*$/.test(source) ? '; quote an example that has a comma' : ''
    return {
      error: `expected METHOD TARGET with SCOPE -> STATUS, or METHOD TARGET without token -> STATUS${commaHint}`,
    }
  }
  const [, method = '', target = '', scopes, status] = parts
  if (!/^(\/|https?:\/\/)/.test(target)) {
    return { error: 'expected a target that begins with /, http:// or https://' }
  }
  const names = scopes?.split(/, */)
  const odd = names?.find((name) => !/^([^\s,]+|[A-Z]+ \/\S*)$/.test(name))
  if (odd !== undefined) {
    return { error: `expected scopes separated by \`, \`; \`${odd}\` is none` }
  }
  return { method, target, scopes: names, status: Number(status) }
}
