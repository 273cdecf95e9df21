// The files of a whole run: every figure with the day and the machine, and the chart of CPU per request.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Bar, drawChart } from './chart.ts'
import { describeMachine } from './machine.ts'
import { scopegate } from './peers/scopegate.ts'
import { isMet, type Report } from './report.ts'
import { type RequestsFigures, requests } from './requests.ts'
import type { Section } from './section.ts'

export const resultsFolder = join(import.meta.dirname, 'results')

const significantDigits = 4

export async function writeResults(reports: ReadonlyMap<Section, Report>): Promise<void> {
  mkdirSync(resultsFolder, { recursive: true })
  const sections = [...reports].map(([{ name, title }, { verdicts, figures }]) => [
    name,
    {
      title,
      compared: Object.fromEntries(
        verdicts.map((verdict) => {
          const { what, value, unit, goal } = verdict
          return [what, { value, unit, ...(goal !== undefined && { goal, met: isMet(verdict) }) }]
        }),
      ),
      figures,
    },
  ])
  const results = {
    date: new Date().toISOString().slice(0, 10),
    machine: await describeMachine(),
    sections: Object.fromEntries(sections),
  }
  writeFileSync(join(resultsFolder, 'bench.json'), `${JSON.stringify(results, shorten, 2)}\n`)
  const measured = reports.get(requests)?.figures as RequestsFigures | undefined
  if (measured !== undefined) writeChart(measured)
}

function writeChart(figures: RequestsFigures): void {
  const bars = Object.entries(figures)
    .map(
      ([name, { cpuMicros, decides }]): Bar => ({
        name: decides ? name : `${name} (no decision)`,
        value: cpuMicros.median,
        isOurs: name === scopegate.name,
      }),
    )
    .toSorted((a, b) => a.value - b.value)
  const chart = drawChart('CPU time for a small request', 'µs', bars)
  writeFileSync(join(resultsFolder, 'cpu-per-request.svg'), chart)
}

/** A figure has no more digits than mean something. */
function shorten(_key: string, value: unknown): unknown {
  return typeof value === 'number' && !Number.isInteger(value)
    ? Number(value.toPrecision(significantDigits))
    : value
}
