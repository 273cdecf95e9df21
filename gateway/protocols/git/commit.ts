// A commit's parents, as git itself reads them (commit.c, parse_commit_buffer): the lines right behind the
// tree line, and no others. Pure. It never finds more parents than git does: one too many would prove a
// history that is not there.

const newline = 0x0a
const zeroToNine = [0x30, 0x39] as const
const aToF = [0x61, 0x66] as const

/** Ids of the parents in lower-case hex, as far as the lines are to the letter. */
export function parseParents(content: Buffer, digits: number): readonly string[] {
  const parents: string[] = []
  let at = lineWithId(content, 0, 'tree ', digits)
  while (at !== undefined) {
    const next = lineWithId(content, at, 'parent ', digits)
    if (next !== undefined) parents.push(content.toString('latin1', next - 1 - digits, next - 1))
    at = next
  }
  return parents
}

/** Where the next line begins, if at `start` there is exactly this word, an id and a line end. */
function lineWithId(
  content: Buffer,
  start: number,
  word: string,
  digits: number,
): number | undefined {
  const idAt = start + word.length
  const end = idAt + digits
  if (end >= content.length || content[end] !== newline) return undefined
  if (content.toString('latin1', start, idAt) !== word) return undefined
  for (let at = idAt; at < end; at++) if (!isHexDigit(content[at]!)) return undefined
  return end + 1
}

function isHexDigit(byte: number): boolean {
  return (byte >= zeroToNine[0] && byte <= zeroToNine[1]) || (byte >= aToF[0] && byte <= aToF[1])
}
