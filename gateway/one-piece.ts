/** A part of so many signs or more is to V8 a view of the whole text, which stays in memory for it. */
const viewLengthMin = 13

/** A part of a text, for what outlives it. */
export function partOf(text: string, from: number, to: number): string {
  const part = text.slice(from, to)
  return part.length < viewLengthMin ? part : onePiece(part)
}

/**
 * The same text as one piece of memory, for what is kept and becomes a part of many others. V8 keeps a text that
 * was put together as a tree of its parts, and visits each of them whenever a text that holds it is written.
 */
export function onePiece(text: string): string {
  return Buffer.from(text).toString()
}
