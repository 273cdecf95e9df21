// The files of a configuration: the main file, those that it includes, and the secrets that it names. The
// only file of this folder that touches the disk at run time. Whatever is wrong is a complaint, never an
// exception.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { makeToStay } from '../collector.ts'
import { assemble } from './assemble.ts'
import { explainIssues } from './complaints.ts'
import type { Complaint, Configuration } from './configuration.ts'
import type { readDocument } from './document.ts'
import {
  type Complain,
  type LocatedMap,
  merge,
  type Place,
  plain,
  type SourceFile,
} from './positions.ts'
import { configurationSchema, include } from './sections.ts'
import { readSimpleDocument } from './simple-document.ts'
import type { Environment } from './variables.ts'

const fileBytesMax = 1024 ** 2
const secretBytesMax = 64 * 1024
const fileCountMax = 100

/** `configuration` is there only where no complaint is an error. */
export type Loaded = {
  readonly configuration?: Configuration
  readonly complaints: readonly Complaint[]
}

/** Reads one configuration, with everything that it includes. Every complaint comes at once. */
export function loadConfiguration(file: string, environment: Environment): Promise<Loaded> {
  return load(file, environment, false)
}

/**
 * Reads each file by itself, with what it includes, for `lint`. A file without `upstreams`, such as a
 * route map, takes the names of upstreams as given.
 */
export async function loadFiles(
  files: readonly string[],
  environment: Environment,
): Promise<readonly (Loaded & { readonly file: string })[]> {
  const loads = files.map(async (file) => ({ file, ...(await load(file, environment, true)) }))
  return await Promise.all(loads)
}

type Loading = {
  readonly environment: Environment
  readonly complain: Complain
  /** By absolute path: those on the way to the present file are open. */
  readonly files: Map<string, 'open' | 'read'>
  /** For files that are not simple; not there at first. */
  readonly readWhole: typeof readDocument | undefined
  needsWhole: boolean
}

/** The YAML library, which takes its time to load, is loaded for files that need it. */
async function load(
  shown: string,
  environment: Environment,
  upstreamsAsGiven: boolean,
): Promise<Loaded> {
  const loaded = makeToStay(() => loadWith(undefined, shown, environment, upstreamsAsGiven))
  if (loaded !== undefined) return loaded
  const { readDocument } = await import('./document.ts')
  return makeToStay(() => loadWith(readDocument, shown, environment, upstreamsAsGiven))!
}

/** undefined where a file needs `readWhole`, which is not there. */
function loadWith(
  readWhole: typeof readDocument | undefined,
  shown: string,
  environment: Environment,
  upstreamsAsGiven: boolean,
): Loaded | undefined {
  const found: Complaint[] = []
  const complain: Complain = ({ file, line, column }, message, severity = 'error') => {
    found.push({ file: file.shown, line, column, severity, message })
  }
  const main: SourceFile = { shown, path: resolve(shown) }
  const loading: Loading = {
    environment,
    complain,
    files: new Map(),
    readWhole,
    needsWhole: false,
  }
  const root = readTree(main, { file: main, line: 1, column: 1 }, loading)
  if (loading.needsWhole) return undefined
  if (root === undefined) return { complaints: inOrder(found, loading.files) }
  const files = [...loading.files.keys()]
  const readBeside = (place: Place, path: string): string | undefined => {
    const read = readText(resolve(dirname(place.file.path), path), secretBytesMax)
    if ('text' in read) return read.text
    complain(place, `cannot read ${path}: ${read.error}`)
    return undefined
  }
  const assembly = { root, main, files, readBeside, upstreamsAsGiven }
  const configuration = assemble(assembly, complain)
  const complaints = inOrder(found, loading.files)
  const isGood = complaints.every((complaint) => complaint.severity !== 'error')
  return isGood ? { configuration, complaints } : { complaints }
}

/** One file and all that it includes, merged. `from` is where the file is named. */
function readTree(file: SourceFile, from: Place, loading: Loading): LocatedMap | undefined {
  const { complain, files } = loading
  if (files.get(file.path) === 'open') {
    complain(from, `${file.shown} includes itself; remove one \`include\` of the circle`)
    return undefined
  }
  // A file that two others include is read once.
  if (files.has(file.path)) return undefined
  if (files.size >= fileCountMax) {
    complain(from, `too many files; at most ${fileCountMax}`)
    return undefined
  }
  files.set(file.path, 'open')
  const read = readText(file.path, fileBytesMax)
  if ('error' in read) complain(from, `cannot read ${file.shown}: ${read.error}`)
  const root = 'text' in read ? readYaml(read.text, file, loading) : undefined
  const tree = root && includeFiles(root, file, loading)
  files.set(file.path, 'read')
  return tree
}

function readYaml(text: string, file: SourceFile, loading: Loading): LocatedMap | undefined {
  const { environment, complain, readWhole } = loading
  const root = readSimpleDocument(text, file, environment)
  if (root !== undefined) return root
  if (readWhole === undefined) loading.needsWhole = true
  return readWhole?.(text, file, environment, complain)
}

function includeFiles(root: LocatedMap, file: SourceFile, loading: Loading): LocatedMap {
  const { complain } = loading
  const entry = root.entries.get('include')
  let tree: LocatedMap = without(root, 'include')
  if (entry === undefined) return tree
  const result = include.safeParse(plain(entry.value))
  if (!result.success) {
    explainIssues(result.error.issues, ['include'], root, complain)
    return tree
  }
  const items = entry.value.kind === 'list' ? entry.value.items : [entry.value]
  for (const [index, name] of [result.data ?? []].flat().entries()) {
    const place = items[index]?.place ?? entry.key
    const shown = isAbsolute(name) ? name : join(dirname(file.shown), name)
    const path = resolve(dirname(file.path), name)
    const included = readTree({ shown, path }, place, loading)
    if (included === undefined) continue
    checkVersion(included, complain)
    const merged = merge(tree, without(included, 'version'), '', complain)
    if (merged.kind === 'map') tree = merged
  }
  return tree
}

/** An included file may say the version again; it must be the same. */
function checkVersion(root: LocatedMap, complain: Complain): void {
  const version = root.entries.get('version')
  if (version === undefined) return
  const result = configurationSchema.shape.version.safeParse(plain(version.value))
  if (!result.success) explainIssues(result.error.issues, ['version'], root, complain)
}

function without(map: LocatedMap, key: string): LocatedMap {
  return { ...map, entries: new Map([...map.entries].filter(([name]) => name !== key)) }
}

function readText(path: string, bytesMax: number): { text: string } | { error: string } {
  let descriptor: number | undefined
  try {
    descriptor = openSync(path, 'r')
    const stat = fstatSync(descriptor)
    if (!stat.isFile()) return { error: 'not a file' }
    if (stat.size > bytesMax) return { error: `longer than ${bytesMax / 1024} KiB` }
    const bytes = Buffer.alloc(stat.size)
    const length = readSync(descriptor, bytes, 0, bytes.length, 0)
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, length)) }
  } catch (cause) {
    return { error: reasonOf(cause) }
  } finally {
    if (descriptor !== undefined) closeSync(descriptor)
  }
}

function reasonOf(cause: unknown): string {
  const code = (cause as { code?: string }).code ?? String(cause)
  switch (code) {
    case 'ENOENT':
      return 'no such file'
    case 'EACCES':
      return 'permission denied'
    case 'ERR_ENCODING_INVALID_ENCODED_DATA':
      return 'not UTF-8'
    default:
      return code
  }
}

/** By file in the order of reading, then by line and column; nothing is said twice. */
function inOrder(
  complaints: readonly Complaint[],
  files: ReadonlyMap<string, unknown>,
): readonly Complaint[] {
  const order = [...files.keys()]
  const rank = (complaint: Complaint) => order.indexOf(resolve(complaint.file))
  const sorted = [...complaints].sort(
    (a, b) => rank(a) - rank(b) || a.line - b.line || a.column - b.column,
  )
  const keys = new Set<string>()
  return sorted.filter((complaint) => {
    const key = JSON.stringify(complaint)
    return !keys.has(key) && keys.add(key)
  })
}
