// How listeners are drained (CONTRACT 12), and how long that may take.

import type { ServerSettings } from './configuration/configuration.ts'
import { GatewayError } from './errors.ts'
import type { Listener } from './listener/listener.ts'

/** After the drain's timeout git pushes get so long to end as refusals. */
const endInOrderMs = 12_000

/** Accepting until `drain.delay`, finishing until `drain.timeout`; what is left then may be cut. */
export async function drain(
  listeners: readonly Listener[],
  { delayMs, timeoutMs }: ServerSettings['drain'],
): Promise<void> {
  await after(delayMs)
  await inTime(Promise.all(listeners.map((listener) => listener.drain())), timeoutMs)
  const goingAway = new GatewayError('overloaded', 'the gateway is going away: push again')
  const ending = listeners.map((listener) => listener.endInOrder(goingAway))
  await inTime(Promise.all(ending), endInOrderMs)
}

/** The longest that a drain takes. */
export function drainMsMax({ delayMs, timeoutMs }: ServerSettings['drain']): number {
  return delayMs + timeoutMs + endInOrderMs
}

/** Waits for the work, but no longer than this. */
async function inTime(work: Promise<unknown>, ms: number): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  await Promise.race([work, late])
  clearTimeout(timer)
}

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
