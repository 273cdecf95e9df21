// V8 collects and compiles in threads of its own, four of them, and at a usual priority they share the cores
// with the thread that serves. Of a single core, as in a container with a limit of one CPU, that leaves it a
// third for as long as a collection takes, and requests wait for 40 to 110 ms. With less weight V8's threads
// take what is left over.

import { readdirSync, readFileSync } from 'node:fs'
import { constants, getPriority, setPriority } from 'node:os'

/** Nicer than the serving thread by so much, they have a tenth of its weight: sched(7). */
const nicerBy = 10
const threads = '/proc/self/task'
/** `V8Worker` in Node 24, `node-V8Worker` in Node 26. */
const nameOfTheirs = /^(node-)?V8Worker\s*$/

/** Once for each process. Where threads have no priority of their own, as beside Linux, nothing changes. */
export function yieldToServing(): void {
  try {
    const niceness = Math.min(getPriority() + nicerBy, constants.priority.PRIORITY_LOW)
    for (const id of readdirSync(threads)) {
      if (!nameOfTheirs.test(readFileSync(`${threads}/${id}/comm`, 'latin1'))) continue
      setPriority(Number(id), niceness)
    }
  } catch {
    // Slower by rare stalls, and not wrong.
  }
}
