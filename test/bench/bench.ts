// `npm run bench`: the product beside its peers, in sections, each with tables, ratios and goals. A goal that
// is not met is marked; the exit code is 1 only where something could not be measured.

import { explain } from '../servers/install.ts'
import { bodies } from './bodies.ts'
import { routes, scopes, tokens } from './growth.ts'
import { idle } from './idle.ts'
import { benchName, missingPrograms } from './install.ts'
import { latency } from './latency.ts'
import { type Options, readOptions, usage } from './options.ts'
import { printTable, printVerdict, type Report } from './report.ts'
import { requests, writes } from './requests.ts'
import { writeResults } from './results.ts'
import { openScene } from './scene.ts'
import type { Effort, Section } from './section.ts'
import { start } from './start.ts'
import { workers } from './workers.ts'

const sections: readonly Section[] = [
  requests,
  writes,
  latency,
  bodies,
  routes,
  tokens,
  scopes,
  idle,
  workers,
  start,
]
const quickSections: readonly Section[] = [requests, latency, start]

const whole: Effort = {
  rounds: 3,
  seconds: 2,
  leadInSeconds: 1,
  warmUpSeconds: 4,
  starts: 7,
  quick: false,
}
const quick: Effort = {
  rounds: 3,
  seconds: 1,
  leadInSeconds: 0,
  warmUpSeconds: 1,
  starts: 2,
  quick: true,
}

process.exitCode = await bench(process.argv.slice(2))

async function bench(argv: readonly string[]): Promise<number> {
  const names = sections.map(({ name }) => name)
  let options: Options
  try {
    options = readOptions(argv, names)
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`)
    return 2
  }
  const missing = missingPrograms()
  if (missing.length > 0) return explain(missing, benchName)
  const { only } = options
  const chosen = options.quick
    ? quickSections
    : only === undefined
      ? sections
      : sections.filter(({ name }) => only.includes(name))
  const reports = await measure(chosen, options.quick ? quick : whole)
  if (chosen === sections) await writeResults(reports)
  return reports.size === chosen.length ? 0 : 1
}

/** The reports of the sections that could be measured; each is printed when it is there. */
async function measure(
  chosen: readonly Section[],
  effort: Effort,
): Promise<ReadonlyMap<Section, Report>> {
  const reports = new Map<Section, Report>()
  const scene = await openScene()
  try {
    for (const section of chosen) {
      if (!effort.quick) console.log(`\n${section.title}\n`)
      try {
        const report = await section.measure(scene, effort)
        print(report, effort)
        reports.set(section, report)
      } catch (error) {
        console.log(`${section.name}: NOT MEASURED: ${(error as Error).message}`)
      }
    }
  } finally {
    await scene.stop()
  }
  return reports
}

function print({ tables, verdicts, note }: Report, effort: Effort): void {
  for (const table of effort.quick ? [] : tables) console.log(`${printTable(table)}\n`)
  for (const verdict of verdicts) console.log(printVerdict(verdict))
  if (note !== undefined) console.log(note)
}
