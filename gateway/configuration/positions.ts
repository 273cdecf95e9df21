// A configuration as it was written: values that know the file, line and column they stand at, so that
// every complaint can point there. Files become one tree by merging. Pure.

/** A file that was read. */
export type SourceFile = {
  /** As the user named it, or beside the file that includes it. */
  readonly shown: string
  /** Absolute path. */
  readonly path: string
}

/** Lines and columns count from 1. */
export type Place = { readonly file: SourceFile; readonly line: number; readonly column: number }

export type Located = LocatedMap | LocatedList | LocatedScalar | LocatedFault

export type LocatedMap = {
  readonly kind: 'map'
  readonly place: Place
  readonly entries: ReadonlyMap<string, LocatedEntry>
}

export type LocatedEntry = { readonly key: Place; readonly value: Located }

export type LocatedList = {
  readonly kind: 'list'
  readonly place: Place
  readonly items: readonly Located[]
}

export type LocatedScalar = {
  readonly kind: 'scalar'
  readonly place: Place
  readonly value: string | number | boolean | null
  /** The text before variables were replaced, where one was: the value itself may be a secret. */
  readonly template?: string
}

/** Stands where a value was that has been complained of already: nothing more is said about it. */
export type LocatedFault = { readonly kind: 'fault'; readonly place: Place }

/** What stands at a path: the value, or as much of the way as exists. */
export type Spot = {
  /** undefined: nothing stands there. */
  readonly value: Located | undefined
  /** Of the value; of the nearest map or list around it where there is none. */
  readonly place: Place
  /** Of the last key on the way; `place` where there is none. */
  readonly key: Place
}

/** Says that something is wrong at a place. */
export type Complain = (place: Place, message: string, severity?: 'error' | 'warning') => void

/** Follows keys and indices from a value; stops at the last thing that exists. */
export function locate(root: Located, path: readonly PropertyKey[]): Spot {
  let value: Located = root
  let key: Place = root.place
  for (const step of path) {
    const entry: LocatedEntry | undefined =
      value.kind === 'map' ? value.entries.get(String(step)) : undefined
    const next: Located | undefined =
      value.kind === 'list' ? value.items[Number(step)] : entry?.value
    if (next === undefined) return { value: undefined, place: value.place, key }
    if (entry !== undefined) key = entry.key
    value = next
  }
  // An empty value has no text of its own to point at.
  const empty = value.kind === 'scalar' && value.value === null && value.template === undefined
  return { value, place: empty ? key : value.place, key }
}

/** The plain data of a value: what a schema reads. */
export function plain(node: Located): unknown {
  if (node.kind === 'fault') return undefined
  if (node.kind === 'scalar') return node.value
  if (node.kind === 'list') return node.items.map(plain)
  return Object.fromEntries([...node.entries].map(([key, entry]) => [key, plain(entry.value)]))
}

/**
 * One tree of two: maps key by key, lists appended. The same value twice is complained of with both
 * places, and the first one stays. `path` is where the trees stand, for the complaint.
 */
export function merge(first: Located, second: Located, path: string, complain: Complain): Located {
  if (first.kind === 'list' && second.kind === 'list') {
    return { ...first, items: [...first.items, ...second.items] }
  }
  if (first.kind === 'map' && second.kind === 'map') {
    const entries = new Map(first.entries)
    for (const [name, entry] of second.entries) {
      const present = entries.get(name)
      const below = path === '' ? name : `${path}.${name}`
      entries.set(
        name,
        present === undefined
          ? entry
          : { key: present.key, value: merge(present.value, entry.value, below, complain) },
      )
    }
    return { ...first, entries }
  }
  if (first.kind === 'fault' || second.kind === 'fault') return first
  complain(
    second.place,
    `\`${path}\` is set at ${writePlace(first.place)} too; keep one of the two`,
  )
  return first
}

/** `file:line:column`. */
export function writePlace(place: Place): string {
  return `${place.file.shown}:${place.line}:${place.column}`
}
