// What V8, the engine below, is told of a gateway.

import { readdirSync, readFileSync } from 'node:fs'
import { constants, getPriority, setPriority } from 'node:os'
import { setFlagsFromString } from 'node:v8'

/**
 * Such as V8 reads each time: one that says in what form things are kept is wrong for those that are there already.
 * With `--no-regexp-tier-up` one start in seventy ended with SIGSEGV, in a regular expression kept as bytecode.
 */
const flags = [
  // What a request makes is made young: V8 would learn from the few field lines that are kept to make those of
  // all requests old at once, and with them outlives all that they name, megabytes a second.
  '--no-allocation-site-pretenuring',
  // What is idle stays ready: after half a minute V8 would give back a third of the memory and forget compiled
  // code, and the next load would begin with collecting, compiling and asking for the memory again (8,500 page
  // faults in its first five seconds, and 100 without).
  '--memory-reducer-gc-count=0',
  '--no-flush-bytecode',
  // Old objects are collected when they take twice the memory that they took after the last time. Without the
  // reducer V8 would do so when they take a third more, and so with every load after a pause: 30 ms, of which 10
  // hold all requests up. The memory of the process is the same.
  '--heap-growing-percent=100',
]

/** Nicer than the serving thread by so much, others have a tenth of its weight: sched(7). */
const nicerBy = 10
const threads = '/proc/self/task'
/** `V8Worker` in Node 24, `node-V8Worker` in Node 26. */
const nameOfTheirs = /^(node-)?V8Worker\s*$/

/**
 * Once for each process, when what serves is loaded: with flags of its own V8 refuses the compiled code that
 * Node brings of its modules, and those that are loaded from then on are compiled again.
 */
export function settleEngine(): void {
  for (const flag of flags) setFlagsFromString(flag)
  yieldToServing()
}

/** What V8 takes to remember lookups at one place, several times over. */
const lookups = 100

/**
 * To be called when code that derives a class from String has been loaded, as ioredis does. From then on V8 keeps
 * what all texts inherit as a table, and looks up every `text.charCodeAt(i)` in the process where it would compile
 * it (four times as slow), until an object is asked for it at a place that remembers its lookups.
 */
export function quickenTexts(): void {
  const text: { charCodeAt?: unknown } = Object('')
  for (let i = 0; i < lookups; i++) methodOf(text)
}

function methodOf(text: { charCodeAt?: unknown }): unknown {
  return text.charCodeAt
}

/**
 * V8 collects and compiles in threads of its own, four of them, and at a usual priority they share the cores
 * with the thread that serves. Of a single core, as in a container with a limit of one CPU, that leaves it a
 * third for as long as a collection takes, and requests wait for 40 to 110 ms. With less weight V8's threads
 * take what is left over. Where threads have no priority of their own, as beside Linux, nothing changes.
 */
function yieldToServing(): void {
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
