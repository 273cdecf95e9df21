// `${NAME}` and `${NAME:-default}` inside a scalar, after YAML was parsed: what a variable holds can
// never become YAML structure. `$$` is a dollar. Pure: the environment comes in as a value.

export type Replaced = {
  readonly text: string
  /** A variable was replaced: the text may hold a secret and is not to be shown. */
  readonly replaced: boolean
  /** What is wrong, and what would be right; empty where all is well. */
  readonly problems: readonly string[]
}

export type Environment = Readonly<Record<string, string | undefined>>

const reference = /\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}|\$\{[^}]*\}?/g

/** The text with its variables replaced. A default stands in for an unset and for an empty variable. */
export function replaceVariables(source: string, environment: Environment): Replaced {
  if (!source.includes('$')) return { text: source, replaced: false, problems: [] }
  const problems: string[] = []
  let replaced = false
  const text = source.replace(reference, (all: string, name?: string, fallback?: string) => {
    if (all === '$$') return '$'
    if (name === undefined) {
      problems.push(
        `\`${all}\` is not a variable: write \${NAME} or \${NAME:-default}, $$ for a dollar`,
      )
      return ''
    }
    replaced = true
    const value = Object.hasOwn(environment, name) ? environment[name] : undefined
    if (value === undefined && fallback === undefined) {
      problems.push(`the variable ${name} is not set; set it, or write \${${name}:-default}`)
    }
    return value === undefined || value === '' ? (fallback ?? '') : value
  })
  return { text, replaced, problems }
}
