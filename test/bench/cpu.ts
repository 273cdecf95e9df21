// CPU time and memory of process groups, and what the machine itself was denied, as Linux counts them (proc(5)).

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

/** USER_HZ: what the kernel shows to programs, whatever its own clock. */
const ticksPerSecond = 100

/** Seconds of CPU, user and system, that the groups have used; of processes that have ended it is not counted. */
export function cpuSeconds(groups: readonly number[]): number {
  let ticks = 0
  for (const { fields } of processes(groups)) ticks += Number(fields[11]) + Number(fields[12])
  return ticks / ticksPerSecond
}

/** For how long a hypervisor kept this machine's cores for others, in hundredths of a second; 0 where there is none. */
export function stolenTicks(): number {
  const [all = ''] = readFileSync('/proc/stat', 'utf8').split('\n', 1)
  return Number(all.split(/\s+/)[8] ?? 0)
}

/** Bytes of memory that the groups hold; what two processes share counts for both. */
export function residentBytes(groups: readonly number[]): number {
  return sumOfStatus(groups, 'VmRSS')
}

/** The most that the groups have held since `forgetPeak`, or since they started. */
export function peakBytes(groups: readonly number[]): number {
  return sumOfStatus(groups, 'VmHWM')
}

export function forgetPeak(groups: readonly number[]): void {
  for (const { pid } of processes(groups)) writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

function sumOfStatus(groups: readonly number[], key: 'VmRSS' | 'VmHWM'): number {
  let kibibytes = 0
  for (const { pid } of processes(groups)) {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    kibibytes += Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0)
  }
  return kibibytes * 1024
}

/** The members of the groups. */
export function processIds(groups: readonly number[]): number[] {
  return [...processes(groups)].map(({ pid }) => pid)
}

type Process = {
  readonly pid: number
  /** Of /proc/PID/stat, from the third on. */
  readonly fields: readonly string[]
}

function* processes(groups: readonly number[]): Generator<Process> {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    let text: string
    try {
      text = readFileSync(`/proc/${name}/stat`, 'utf8')
    } catch {
      // It has ended since.
      continue
    }
    // The second field is the program's name, which may hold spaces and parentheses.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    if (groups.includes(Number(fields[2]))) yield { pid: Number(name), fields }
  }
}
