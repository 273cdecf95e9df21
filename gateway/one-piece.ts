/**
 * The same text as one piece of memory, for what is kept and becomes a part of many others. V8 keeps a text that
 * was put together as a tree of its parts, and visits each of them whenever a text that holds it is written.
 */
export function onePiece(text: string): string {
  return Buffer.from(text).toString()
}
