// The name of a query parameter as the most generous server would read it: PHP cuts an array's brackets and
// turns dots into `_`, ASP.NET takes names without case, and escapes mean what they stand for. Pure.

/** `%66actory`, `Factory`, `factory[0]` and `+factory` are `factory`. */
export function looseName(key: string): string {
  const read = decode(key.replaceAll('+', ' '))
  const end = read.search(/[[\0]/)
  const bare = end === -1 ? read : read.slice(0, end)
  return bare.trim().toLowerCase().replace(/[. ]/g, '_')
}

/** A key with escapes that are no UTF-8 stays as it is: no name is spelled so. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
