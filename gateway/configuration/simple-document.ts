// One YAML file that is written as most are, as a tree of located values: what document.ts makes of it in a
// fifth of the time, which with thousands of routes is most of the start. Whatever else YAML has is left to
// document.ts, and so is every mistake, which only it explains. Pure, and never throws.

import {
  EVENT_DOCUMENT,
  EVENT_MAPPING,
  EVENT_POP,
  EVENT_SCALAR,
  EVENT_SEQUENCE,
  type Event,
  getScalarValue,
  parseEvents,
  SCALAR_STYLE_DOUBLE_QUOTED,
  SCALAR_STYLE_PLAIN,
  SCALAR_STYLE_SINGLE_QUOTED,
  type ScalarEvent,
} from 'js-yaml'
import type { Located, LocatedEntry, LocatedMap, Place, SourceFile } from './positions.ts'
import { readString, typed } from './scalar.ts'
import type { Environment } from './variables.ts'

const depthMax = 32

/** Markers of documents, and characters that break lines in some versions of YAML or do not print. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it looks for
const unusual = /^(---|\.\.\.)|[\0-\x09\x0b-\x1f\x7f-\xa0\u2028\u2029\ufeff]/m

/** Reads a whole file; undefined where document.ts has to. */
export function readSimpleDocument(
  text: string,
  file: SourceFile,
  environment: Environment,
): LocatedMap | undefined {
  if (unusual.test(text)) return undefined
  try {
    const events = parseEvents(text, { maxDepth: depthMax })
    const root = new Reader(events, text, file, environment).readRoot()
    return root?.kind === 'map' ? root : undefined
  } catch {
    return undefined
  }
}

/** Each `read` takes the events of one value; undefined where it is not a simple one. */
class Reader {
  readonly #events: readonly Event[]
  readonly #text: string
  readonly #file: SourceFile
  readonly #environment: Environment
  #next = 0
  /** Of the place that was asked for last: places are asked for in the order of the text. */
  #line = 1
  #lineStart = 0
  #lineEnd: number

  constructor(events: readonly Event[], text: string, file: SourceFile, environment: Environment) {
    this.#events = events
    this.#text = text
    this.#file = file
    this.#environment = environment
    this.#lineEnd = lineEnd(text, 0)
  }

  readRoot(): Located | undefined {
    const [document] = this.#events
    if (document?.type !== EVENT_DOCUMENT || this.#events.at(-1)?.type !== EVENT_POP)
      return undefined
    if (document.directives.length > 0) return undefined
    this.#next = 1
    const root = this.#read()
    // A second document would follow.
    return this.#next === this.#events.length - 1 ? root : undefined
  }

  #read(): Located | undefined {
    const event = this.#events[this.#next++]!
    if (event.type === EVENT_SCALAR) return this.#readScalar(event)
    if (event.type !== EVENT_MAPPING && event.type !== EVENT_SEQUENCE) return undefined
    if (event.anchorStart !== -1 || event.tagStart !== -1) return undefined
    const place = this.#placeAt(event.start)
    return event.type === EVENT_MAPPING ? this.#readMap(place) : this.#readList(place)
  }

  #readList(place: Place): Located | undefined {
    const items: Located[] = []
    while (this.#events[this.#next]!.type !== EVENT_POP) {
      const item = this.#read()
      if (item === undefined) return undefined
      items.push(item)
    }
    this.#next += 1
    return { kind: 'list', place, items }
  }

  #readMap(place: Place): Located | undefined {
    const entries = new Map<string, LocatedEntry>()
    while (this.#events[this.#next]!.type !== EVENT_POP) {
      const event = this.#events[this.#next++]!
      const key = event.type === EVENT_SCALAR ? this.#readKey(event) : undefined
      if (key === undefined || entries.has(key.name)) return undefined
      const value = this.#read()
      if (value === undefined) return undefined
      entries.set(key.name, { key: key.place, value })
    }
    this.#next += 1
    return { kind: 'map', place, entries }
  }

  #readKey(event: ScalarEvent): { name: string; place: Place } | undefined {
    const name = this.#decode(event)
    if (name === undefined || name === '__proto__' || name === '<<') return undefined
    // Two ways to write one number are one key.
    if (event.style === SCALAR_STYLE_PLAIN && typed(name) !== name) return undefined
    return { name, place: this.#placeOf(event) }
  }

  #readScalar(event: ScalarEvent): Located | undefined {
    const written = this.#decode(event)
    if (written === undefined) return undefined
    const place = this.#placeOf(event)
    const isPlain = event.style === SCALAR_STYLE_PLAIN
    const value = isPlain ? typed(written) : written
    if (typeof value !== 'string') return { kind: 'scalar', place, value }
    const { scalar, problems } = readString(value, isPlain, place, this.#environment)
    return problems.length > 0 ? undefined : scalar
  }

  /** Of a scalar on one line. */
  #decode(event: ScalarEvent): string | undefined {
    const { valueStart, valueEnd, style } = event
    // An empty value has no text to point at.
    if (valueStart === -1 || event.anchorStart !== -1 || event.tagStart !== -1) return undefined
    const source = this.#text.slice(valueStart, valueEnd)
    if (source.includes('\n')) return undefined
    if (style === SCALAR_STYLE_PLAIN) return /^[-+]?\.(inf|nan)$/i.test(source) ? undefined : source
    if (style !== SCALAR_STYLE_SINGLE_QUOTED && style !== SCALAR_STYLE_DOUBLE_QUOTED)
      return undefined
    return event.fast ? source : getScalarValue(this.#text, event)
  }

  /** Where it begins: at its quote, if it has one. */
  #placeOf(event: ScalarEvent): Place {
    return this.#placeAt(
      event.style === SCALAR_STYLE_PLAIN ? event.valueStart : event.valueStart - 1,
    )
  }

  #placeAt(offset: number): Place {
    while (offset > this.#lineEnd) {
      this.#line += 1
      this.#lineStart = this.#lineEnd + 1
      this.#lineEnd = lineEnd(this.#text, this.#lineStart)
    }
    return { file: this.#file, line: this.#line, column: offset - this.#lineStart + 1 }
  }
}

/** Of the line break that ends the line, or of the end of the text. */
function lineEnd(text: string, lineStart: number): number {
  const index = text.indexOf('\n', lineStart)
  return index === -1 ? text.length : index
}
