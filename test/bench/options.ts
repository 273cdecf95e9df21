// The arguments of `npm run bench`.

import { parseArgs } from 'node:util'

export const usage = `npm run bench                          everything; writes test/bench/results
npm run bench -- --quick               the ratios alone, in less than a minute
npm run bench -- --only NAME[,NAME]    some sections`

export type Options = {
  readonly quick: boolean
  /** Names of sections; all of them when undefined. */
  readonly only: readonly string[] | undefined
}

/** Throws an error with a sentence for anything that it does not know. */
export function readOptions(argv: readonly string[], sections: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: { quick: { type: 'boolean', default: false }, only: { type: 'string' } },
    allowPositionals: false,
  })
  const only = values.only?.split(',')
  if (values.quick && only) throw new Error('--quick has sections of its own: leave --only out.')
  const unknown = only?.find((name) => !sections.includes(name))
  if (unknown !== undefined) {
    throw new Error(`There is no section '${unknown}': there are ${sections.join(', ')}.`)
  }
  return { quick: values.quick, only }
}
