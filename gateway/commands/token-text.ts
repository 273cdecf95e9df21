// How the `token` commands show records to people: a table of many, lines for one. Pure. Control
// characters never reach a terminal, whoever wrote them into a name.

import { stateOf, type TokenRecord, writeRecord, writeTime } from '../tokens/token.ts'

/** One line a token below a line of titles, in columns. */
export function writeTable(records: readonly TokenRecord[], now: number): string {
  const titles = ['ID', 'NAME', 'SUBJECT', 'SCOPES', 'STATE', 'EXPIRES', 'LAST USED', 'HINT']
  const rows = records.map((record) =>
    [
      record.id,
      record.name ?? '-',
      record.subject,
      record.scopes.join(', ') || '-',
      stateOf(record, now),
      writeTime(record.expiresAt) ?? 'never',
      writeTime(record.lastUsedAt) ?? 'never',
      record.hint,
    ].map(printable),
  )
  const lines = [titles, ...rows]
  const widths = titles.map((_, column) => Math.max(...lines.map((row) => row[column]!.length)))
  return lines.map((row) => `${writeLine(row, widths)}\n`).join('')
}

/** Every field of one record as `name: value`, its state first. */
export function writeDetails(record: TokenRecord, now: number): string {
  const fields = { state: stateOf(record, now), ...writeRecord(record) }
  return Object.entries(fields)
    .map(([name, value]) => `${name}: ${printable(writeValue(value))}\n`)
    .join('')
}

/** A token in a sentence: its id, its name where it has one, its subject. */
export function describe(record: TokenRecord): string {
  const name = record.name === null ? '' : `${record.name}, `
  return printable(`${record.id} (${name}${record.subject})`)
}

/** For programs: indented JSON. */
export function writeJson(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}

const idForm = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export function unknownId(id: string): string {
  // What has not the form of an id may be a secret, which is not repeated.
  if (!idForm.test(id)) {
    return 'that is not the id of a token (`token list` shows them); to revoke by the secret, pipe it to `token revoke --stdin`'
  }
  return `no token has the id ${JSON.stringify(id)}`
}

function writeLine(row: readonly string[], widths: readonly number[]): string {
  return row
    .map((cell, column) => cell.padEnd(widths[column]!))
    .join('  ')
    .trimEnd()
}

function writeValue(value: unknown): string {
  if (value === null) return '-'
  return typeof value === 'string' ? value : JSON.stringify(value)
}

function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}
