// Which names a ref may have (git-check-ref-format), narrowed to those below `refs/`. Pure. It never
// says yes to a name that git refuses: globs would be compared with something that is no ref.

/** Longest ref name; file systems that keep loose refs allow no more. */
export const refNameBytesMax = 4096

const refused = new Set(' ~^:?*[\\')

/** Is this the full name of a ref, such as `refs/heads/main`? */
export function isRefName(name: string): boolean {
  if (!name.startsWith('refs/') || Buffer.byteLength(name) > refNameBytesMax) return false
  if (name.endsWith('.') || name.includes('..') || name.includes('@{')) return false
  for (const character of name) {
    if (refused.has(character) || isControl(character)) return false
  }
  return name.split('/').every(isComponent)
}

function isComponent(component: string): boolean {
  return component !== '' && !component.startsWith('.') && !component.endsWith('.lock')
}

function isControl(character: string): boolean {
  return character < ' ' || character === '\x7f'
}
