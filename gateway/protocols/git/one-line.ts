// Text that stands in one line of a protocol or of somebody's terminal. Pure. Nothing that comes from a
// request is shown without passing through here: a control character could forge a line or a colour.

/** Controls (C0, DEL, C1), line and paragraph separators, and what turns the direction of writing. */
const unprintable = /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu
const quotedCharactersMax = 100

/** Is this a line of text: not empty, without control characters? */
export function isOneLine(text: string): boolean {
  return text !== '' && !/\p{Cc}/u.test(text)
}

/** The text as one line of at most `bytesMax` bytes of UTF-8, cut between characters. */
export function toOneLine(text: string, bytesMax: number): string {
  const line = text.replace(unprintable, ' ').trim()
  if (Buffer.byteLength(line) <= bytesMax) return line
  const end = '...'
  let kept = ''
  let bytes = end.length
  for (const character of line) {
    bytes += Buffer.byteLength(character)
    if (bytes > bytesMax) break
    kept += character
  }
  return kept + end
}

/** The text in quotes with escapes, shortened, to be named in a sentence. */
export function quote(text: string): string {
  return JSON.stringify(text.slice(0, quotedCharactersMax))
}
