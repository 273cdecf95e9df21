// The bar chart of CPU time for a request, as an SVG that can be read on light and on dark pages.

export type Bar = { readonly name: string; readonly value: number; readonly isOurs: boolean }

const width = 720
const rowHeight = 30
const barHeight = 18
const namesWidth = 190
const valuesWidth = 90
const top = 44

/** `bars` from top to bottom. */
export function drawChart(title: string, unit: string, bars: readonly Bar[]): string {
  const longest = Math.max(...bars.map(({ value }) => value))
  const scale = (width - namesWidth - valuesWidth) / longest
  const height = top + bars.length * rowHeight + 10
  const rows = bars.map(({ name, value, isOurs }, i) => {
    const y = top + i * rowHeight
    const baseline = y + barHeight - 4
    const length = (value * scale).toFixed(1)
    const end = (namesWidth + value * scale + 8).toFixed(1)
    return `  <text class="name" x="${namesWidth - 10}" y="${baseline}">${escapeText(name)}</text>
  <rect class="${isOurs ? 'ours' : 'theirs'}" x="${namesWidth}" y="${y}" width="${length}" height="${barHeight}" rx="2"/>
  <text x="${end}" y="${baseline}">${value.toFixed(0)} ${escapeText(unit)}</text>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeText(title)}">
  <style>
    text { font: 13px system-ui, sans-serif; fill: #1f2328 }
    .title { font-weight: 600 }
    .name { text-anchor: end }
    .theirs { fill: #8c959f }
    .ours { fill: #1a7f5a }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .theirs { fill: #6e7681 }
      .ours { fill: #3fb984 }
    }
  </style>
  <text class="title" x="10" y="24">${escapeText(title)}</text>
${rows.join('\n')}
</svg>
`
}

function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}
