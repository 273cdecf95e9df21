// Every kind of complaint, as a file that earns it: test/fixtures/configuration/*.yaml. The first line is
// the promise, the lines that begin with `#>` are the complaints, in order and to the letter.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import t from 'tap'
import type { Complaint } from '../../gateway/configuration/configuration.ts'
import { loadConfiguration } from '../../gateway/configuration/load.ts'
import { lintFiles, renderLint } from '../../gateway/lint.ts'

const folder = relative(process.cwd(), join(import.meta.dirname, '../fixtures/configuration'))
const environment = { PORT: '8081', SECRET: 'hunter2', EMPTY: '' }

for (const name of readdirSync(folder).filter((one) => one.endsWith('.yaml'))) {
  const file = join(folder, name)
  const text = readFileSync(file, 'utf8')
  const promise = /^# (.*)$/m.exec(text)?.[1] ?? name
  t.test(`${name}: ${promise}`, async (t) => {
    const expected = [...text.matchAll(/^#> (.*)$/gm)].map((match) => match[1])
    const complaints = (await lintFiles([file], environment)).flatMap((one) => one.complaints)
    t.same(complaints.map(write), expected)
    t.notMatch(complaints.map(write).join('\n'), /hunter2/, 'values of variables are not shown')
  })

  /** The place within the folder of fixtures, without the fixture's own name. */
  function write({ file: at, line, column, severity, message }: Complaint): string {
    const within = at === file ? '' : `${relative(folder, at)}:`
    const kind = severity === 'warning' ? 'warning: ' : ''
    return `${within}${line}:${column}: ${kind}${message.replaceAll(`${folder}/`, '')}`
  }
}

t.test('serving needs every upstream declared, a route map alone does not', async (t) => {
  const file = join(folder, 'warning.yaml')
  const { configuration, complaints } = await loadConfiguration(file, environment)
  t.equal(configuration, undefined)
  const errors = complaints.filter(({ severity }) => severity === 'error')
  t.match(errors[0], { line: 5, message: 'unknown upstream `api`; none is declared' })
})

t.test('a warning is no error: the configuration is there', async (t) => {
  const [linted] = await lintFiles([join(folder, 'warning.yaml')], environment)
  t.equal(linted?.complaints.length, 1)
  t.equal(linted?.configuration?.routes.length, 2)
})

t.test('a complaint of a file that two files include is shown once', async (t) => {
  const dir = t.testdir({
    'one.yaml': 'version: 1\ninclude: shared.yaml\n',
    'two.yaml': 'version: 1\ninclude: shared.yaml\n',
    'shared.yaml': 'listn: {}\n',
  })
  const files = ['one.yaml', 'two.yaml'].map((name) => join(dir, name))
  const text = renderLint(await lintFiles(files, {}))
  const message = 'unknown key `listn`; did you mean `listen`?'
  t.equal(text, `${join(dir, 'shared.yaml')}:1:1: ${message}\n`)
})

t.test('what is no text, or too much of it, is a complaint and never an exception', async (t) => {
  const rows: [sentence: string, content: string | Buffer, message: RegExp][] = [
    ['a file over the bound', `version: 1 ${' '.repeat(1024 ** 2)}`, /longer than 1024 KiB/],
    ['bytes that are not UTF-8', Buffer.from([0x76, 0xff]), /not UTF-8/],
    ['an empty file', '', /expected a map of keys at the top/],
    ['brackets without end', '['.repeat(20_000), /too deeply nested/],
    ['a NUL byte', 'version: \0', /expected 1/],
  ]
  const file = join(t.testdir(), 'gateway.yaml')
  for (const [sentence, content, message] of rows) {
    writeFileSync(file, content)
    const { configuration, complaints } = await loadConfiguration(file, {})
    t.equal(configuration, undefined, sentence)
    t.match(complaints[0]?.message, message, sentence)
  }
})

t.test('a main file that is not there is told with its name', async (t) => {
  const { complaints } = await loadConfiguration('no/such.yaml', {})
  t.same(complaints, [
    {
      file: 'no/such.yaml',
      line: 1,
      column: 1,
      severity: 'error',
      message: 'cannot read no/such.yaml: no such file',
    },
  ])
})
