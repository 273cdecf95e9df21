// What `lint` says of configuration files: every complaint, the examples of the routes that do not come
// out as they say, and who may do what where. Pure but for the files that loading reads.

import { writeComplaint } from './commands/command.ts'
import type { Complaint, Configuration, RouteExample } from './configuration/configuration.ts'
import { type Loaded, loadFiles } from './configuration/load.ts'
import type { Requirement } from './decision/access.ts'
import { judge } from './judge.ts'
import type { Route } from './routes/route.ts'

/** What was found in one file and all that it includes. */
export type LintedFile = Loaded & {
  /** As the user named it. */
  readonly file: string
}

/** Signs in a line of the table; what does not fit goes on below. */
const tableWidth = 100
const nameWidthMax = 24
const addressWidthMax = 40

/** Reads each file by itself, with what it includes, and runs the examples of those without an error. */
export async function lintFiles(
  files: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Promise<readonly LintedFile[]> {
  const read = await loadFiles(files, environment)
  return read.map((loaded) => {
    const { file, configuration, complaints } = loaded
    if (configuration === undefined) return loaded
    const failed = configuration.examples.flatMap((example) => runExample(configuration, example))
    if (failed.length === 0) return loaded
    return { file, complaints: [...complaints, ...failed] }
  })
}

/** The complaints, each once, and the table of every file without an error. Ends with a line break. */
export function renderLint(linted: readonly LintedFile[]): string {
  const complaints = linted.flatMap((one) => one.complaints.map(writeComplaint))
  const blocks = [...new Set(complaints)].map((line) => `${line}\n`)
  const hasError = linted.some((one) => one.configuration === undefined)
  for (const { file, configuration } of hasError ? [] : linted) {
    if (configuration === undefined) continue
    if (blocks.length > 0) blocks.push('\n')
    if (linted.length > 1) blocks.push(`${file}\n`)
    blocks.push(renderRoutes(configuration.routes))
  }
  return blocks.join('')
}

function runExample(configuration: Configuration, example: RouteExample): Complaint[] {
  const { method, target, scopes, status } = example
  const rights = scopes && { scopes, resources: null, allowedIps: null }
  const judged = judge(configuration, { method, url: target, rights })
  if (judged.status === status) return []
  const outcome = judged.outcome === 'permit' ? 'permitted' : judged.detail
  const by = judged.route === undefined ? '' : ` by the route ${judged.route}`
  const message = `the example expects ${status}, the decision is ${judged.status}${by} (${outcome}); correct the example or \`allow\``
  return [{ ...placeOf(example.place), severity: 'error', message }]
}

function placeOf(place: string): { file: string; line: number; column: number } {
  const [, file = '', line, column] = /^(.*):(\d+):(\d+)$/s.exec(place) ?? []
  return { file, line: Number(line), column: Number(column) }
}

function renderRoutes(routes: readonly Route[]): string {
  if (routes.length === 0) return 'no routes\n'
  const rows = routes.map((route) => ({
    name: route.name,
    address: `${route.host ?? ''}${route.pattern.source}`,
    route,
  }))
  const nameWidth = widthOf(['route', ...rows.map((row) => row.name)], nameWidthMax)
  const addressWidth = widthOf(['path', ...rows.map((row) => row.address)], addressWidthMax)
  const actions = routes.flatMap((route) => [...route.allow.keys()])
  const actionWidth = widthOf(['method', ...actions.map(actionName)], tableWidth)
  const indent = nameWidth + addressWidth + actionWidth + 6
  const line = (name: string, address: string, action: string, scopes: string) =>
    `${name.padEnd(nameWidth)}  ${address.padEnd(addressWidth)}  ${action.padEnd(actionWidth)}  ${scopes}`
      .trimEnd()
      .concat('\n')
  const lines = [line('ROUTE', 'PATH', 'METHOD', 'SCOPES')]
  for (const { name, address, route } of rows) {
    let [left, middle] = [name, address]
    // What is too long for its column has a line of its own.
    if (name.length > nameWidth) {
      lines.push(`${name}\n`)
      left = ''
    }
    if (address.length > addressWidth) {
      lines.push(line(left, middle, '', ''))
      left = ''
      middle = ''
    }
    for (const [action, requirement] of route.allow) {
      for (const [index, part] of wrapped(requirement, tableWidth - indent).entries()) {
        const first = index === 0
        lines.push(
          line(first ? left : '', first ? middle : '', first ? actionName(action) : '', part),
        )
      }
      left = ''
      middle = ''
    }
  }
  return lines.join('')
}

function actionName(action: string): string {
  return action === '*' ? 'others' : action
}

function widthOf(cells: readonly string[], max: number): number {
  return Math.max(...cells.map((cell) => cell.length).filter((length) => length <= max))
}

/** A requirement in words, in lines no wider than the column where its scopes allow it. */
function wrapped(requirement: Requirement, width: number): string[] {
  if (!('scopes' in requirement)) return [requirement.kind]
  const joint = requirement.kind === 'all' ? ' and' : ' or'
  const lines: string[] = []
  for (const [index, scope] of requirement.scopes.entries()) {
    const part = index < requirement.scopes.length - 1 ? `${scope}${joint}` : scope
    const last = lines.at(-1)
    if (last !== undefined && last.length + 1 + part.length <= width) {
      lines[lines.length - 1] = `${last} ${part}`
    } else {
      lines.push(part)
    }
  }
  return lines
}
