// The fields of a head as they are sent. Most of them are the same for like requests, and written once.

import { readFieldLines } from '../http1/field-lines.ts'
import { onePiece } from '../one-piece.ts'
import type { FieldList } from '../protocols/protocol.ts'

/** What no field line may hold: it would be more than one line. */
const lineBreaking = /[\r\n\0]/

/** Fields that like requests share, and how they are written. */
export class SharedFields {
  #list: readonly string[] | undefined
  #lines: string | undefined

  constructor(list: readonly string[]) {
    this.#list = list
  }

  get list(): readonly string[] {
    return this.#list ?? readFieldLines(this.lines, 0)
  }

  /** Throws for what cannot be a field. */
  get lines(): string {
    if (this.#lines === undefined) {
      this.#lines = onePiece(writeLines(this.list))
      this.#list = undefined
    }
    return this.#lines
  }

  /** It holds nothing of the request that it was made for but what is written. */
  get isWritten(): boolean {
    return this.#lines !== undefined
  }
}

/** The fields to send, as a list and as they are written; Transfer-Encoding and Connection apart. */
export class SentHead {
  readonly #shared: SharedFields
  readonly #requestId: string
  /** Content-Length; undefined: none is declared. */
  length: number | undefined

  constructor(shared: SharedFields, requestId: string) {
    this.#shared = shared
    this.#requestId = requestId
  }

  list(): string[] {
    const list = [...this.#shared.list, 'X-Request-Id', this.#requestId]
    if (this.length !== undefined) list.push('Content-Length', String(this.length))
    return list
  }

  /** Throws for what cannot be a field. */
  lines(): string {
    const lines = `${this.#shared.lines}X-Request-Id: ${this.#requestId}\r\n`
    return this.length === undefined ? lines : `${lines}Content-Length: ${this.length}\r\n`
  }
}

function writeLines(fields: FieldList): string {
  let lines = ''
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const value = fields[i + 1] as string
    if (lineBreaking.test(value)) throw new Error('a field of a request holds a line end')
    lines += `${fields[i]}: ${value}\r\n`
  }
  return lines
}
