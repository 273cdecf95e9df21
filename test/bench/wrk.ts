// A closed loop at saturation: wrk, each request with the next token and the next path.

import { mkdtempSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { run } from '../servers/command.ts'
import { type Bench, tokenField } from './scene.ts'

/** What is sent: both lists go round. */
export type Load = {
  readonly tokens: readonly string[]
  readonly paths: readonly string[]
  /** Sent with PUT; else it is GET. */
  readonly body?: string
  /** 64 unless it says otherwise. */
  readonly connections?: number
  /** The core that it comes from; else any of those that the load is on. */
  readonly on?: string
}

export type Saturation = {
  readonly requests: number
  readonly seconds: number
}

export const usualConnections = 64
/** What wrk may take beyond its duration, to make its requests and to end. */
const graceSeconds = 30

/** Rejects when a reply was not 2xx or 3xx, or a connection failed. */
export async function saturate(
  scene: Bench,
  url: string,
  { tokens, paths, body, connections = usualConnections, on }: Load,
  seconds: number,
): Promise<Saturation> {
  // Read from files: a Lua function cannot have so many constants.
  const folder = mkdtempSync(join(scene.folder, 'load-'))
  const file = (name: string): string => join(folder, name)
  writeFileSync(file('tokens'), tokens.join('\n'))
  writeFileSync(file('paths'), paths.join('\n'))
  writeFileSync(file('body'), body ?? '')
  writeFileSync(file('load.lua'), luaScript(body === undefined ? 'GET' : 'PUT', file))
  const pinned = on === undefined ? [] : ['taskset', '-c', on]
  const args = ['wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s']
  const [command = '', ...rest] = [...pinned, ...args, '-s', file('load.lua'), url]
  const made = await run(command, rest, { timeoutMs: (seconds + graceSeconds) * 1000 })
  const result = /^RESULT (\d+) (\d+) (\d+)$/m.exec(made.stdout)
  if (result === null) throw new Error(`wrk: ${made.stdout}${made.stderr}`)
  const [, requests, micros, errors] = result.map(Number)
  if (errors! > 0) throw new Error(`${errors} of ${requests} requests failed`)
  return { requests: requests!, seconds: micros! / 1e6 }
}

function luaScript(method: 'GET' | 'PUT', file: (name: string) => string): string {
  return `
local function lines(file)
  local list = {}
  for line in io.lines(file) do list[#list + 1] = line end
  return list
end
local requests = {}
local at = 0
init = function()
  local tokens, paths = lines("${file('tokens')}"), lines("${file('paths')}")
  local body = io.open("${file('body')}"):read("a")
  if body == "" then body = nil end
  for i = 1, math.max(#tokens, #paths) do
    requests[i] = wrk.format("${method}", paths[(i - 1) % #paths + 1], {
      ["${tokenField}"] = tokens[(i - 1) % #tokens + 1],
      ["User-Agent"] = "curl/8.5.0", ["Accept"] = "*/*" }, body)
  end
end
request = function()
  at = at % #requests + 1
  return requests[at]
end
done = function(summary)
  local e = summary.errors
  print(string.format("RESULT %d %d %d", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout))
end`
}
