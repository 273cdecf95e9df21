// The parents of a commit (gateway/protocols/git/commit.ts), compared with those that git finds: a parent
// more than git's would prove a history that is not there.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { parseParents } from '../../../gateway/protocols/git/commit.ts'
import { mutate, mutations, search } from '../../search.ts'
import { createGitClient } from '../../servers/git-client.ts'
import { commitText, type GitObject, makeObject, packOf, person } from './pack-writer.ts'

const client = createGitClient()
t.teardown(() => client.remove())

const tree = makeObject('tree', '')
const [one, two, three] = ['one', 'two', 'three'].map((message) =>
  makeObject('commit', commitText({ tree: tree.id, message })),
) as [GitObject, GitObject, GitObject]

t.test('parents are the lines right behind the tree, and no others', async (t) => {
  const rest = `author ${person}\ncommitter ${person}\n`
  const head = `tree ${tree.id}\n`
  const parent = `parent ${one.id}\n`
  const rows: readonly (readonly [string, string, readonly string[]])[] = [
    ['none', `${head}${rest}\nm\n`, []],
    ['one', `${head}${parent}${rest}\nm\n`, [one.id]],
    ['two, in order', `${head}parent ${two.id}\n${parent}${rest}\n`, [two.id, one.id]],
    ['the same twice', `${head}${parent}${parent}${rest}\n`, [one.id, one.id]],
    ['one and nothing behind it', `${head}${parent}`, [one.id]],
    ['behind the author', `${head}author ${person}\n${parent}committer ${person}\n\nm\n`, []],
    ['behind the committer', `${head}${rest}${parent}\nm\n`, []],
    ['in the message', `${head}${rest}\n${parent}`, []],
    ['in a signature', `${head}${rest}gpgsig -----BEGIN\n ${parent} -----END\n\nm\n`, []],
    [
      'in a merged tag',
      `${head}${rest}mergetag object ${one.id}\n type commit\n ${parent}\nm\n`,
      [],
    ],
    ['behind an unknown field', `${head}x y\n${parent}${rest}\nm\n`, []],
    ['behind an empty line', `${head}\n${parent}${rest}\nm\n`, []],
    ['before the tree', `${parent}${head}${rest}\nm\n`, []],
    ['without a tree', `${parent}${rest}\nm\n`, []],
    ['behind two trees', `${head}${head}${parent}${rest}\nm\n`, []],
    ['with CR before LF', `${head}parent ${one.id}\r\n${rest}\nm\n`, []],
    ['with two spaces', `${head}parent  ${one.id}\n${rest}\nm\n`, []],
    ['with a tab', `${head}parent\t${one.id}\n${rest}\nm\n`, []],
    ['with a space behind', `${head}parent ${one.id} \n${rest}\nm\n`, []],
    ['with a capital', `${head}Parent ${one.id}\n${rest}\nm\n`, []],
    ['a digit short', `${head}parent ${one.id.slice(1)}\n${rest}\nm\n`, []],
    ['a digit long', `${head}parent ${one.id}0\n${rest}\nm\n`, []],
    ['no hex', `${head}parent ${one.id.replace(/./, 'g')}\n${rest}\nm\n`, []],
    ['of 64 digits', `${head}parent ${'a'.repeat(64)}\n${rest}\nm\n`, []],
    ['with NUL before', `${head}\0${parent}${rest}\nm\n`, []],
    ['behind a tree with CR', `tree ${tree.id}\r\n${parent}${rest}\nm\n`, []],
    ['cut before the line end', `${head}parent ${one.id}`, []],
    ['nothing at all', '', []],
  ]
  for (const [sentence, content, parents] of rows) {
    t.same(parseParents(Buffer.from(content), 40), parents, sentence)
  }
  const wide = 'b'.repeat(64)
  const content = commitText({ tree: wide, parents: [wide, 'c'.repeat(64)] })
  t.same(parseParents(Buffer.from(content), 64), [wide, 'c'.repeat(64)], 'ids of sha256')
  t.same(parseParents(Buffer.from(content), 40), [], 'ids of the other hash')
})

t.test('git finds every parent that is found here, in commits with anything changed', async (t) => {
  const where = 'commits'
  mkdirSync(join(client.folder, where))
  await client.git(where, 'init', '-q', '--bare')
  const known = [one.id, two.id, three.id]
  const commits = fc
    .record({
      parents: fc.array(fc.constantFrom(...known), { maxLength: 3 }),
      extra: fc.constantFrom('', `parent ${one.id}\n`, `gpgsig x\n parent ${two.id}\n`),
      message: fc.constantFrom('m', `parent ${three.id}\n`, ''),
    })
    .map((parts) => Buffer.from(commitText({ ...parts, tree: tree.id })))
  // Most changes in the header, where they matter.
  const near = mutations.map((changes) =>
    changes.map((change) => ({ ...change, at: 0.12 + 0.88 * change.at ** 1.5 })),
  )
  const lines = fc.array(
    fc.constantFrom(
      `tree ${tree.id}\n`,
      `parent ${one.id}\n`,
      `parent ${two.id.toUpperCase()}\n`,
      `parent ${three.id}\r\n`,
      `author ${person}\n`,
      `committer ${person}\n`,
      '\n',
      ' ',
    ),
    { maxLength: 7 },
  )
  const contents = fc.oneof(
    fc.tuple(commits, near).map(([content, changes]) => mutate(content, changes)),
    lines.map((all) => Buffer.from(`tree ${tree.id}\n${all.join('')}`)),
  )
  let read = 0
  const property = fc.asyncProperty(
    fc.array(contents, { minLength: 20, maxLength: 20, size: 'max' }),
    async (all) => {
      const objects = all.map((content) => makeObject('commit', content))
      const base = ['one', 'two', 'three'].map((message) =>
        makeObject('commit', commitText({ tree: tree.id, message })),
      )
      const input = packOf([tree, ...base, ...objects])
      const unpacked = await client.run(where, ['unpack-objects', '-q'], { input })
      if (unpacked.code !== 0) throw new Error(unpacked.stderr)
      for (const { id, content } of objects) {
        const { code, stdout } = await client.run(where, [
          'rev-list',
          '--parents',
          '--max-count=1',
          id,
        ])
        const found = parseParents(content, 40)
        // What git cannot read it takes for no ref.
        if (code !== 0) continue
        read++
        const [, ...parents] = stdout.trim().split(' ')
        const upper = /^tree [0-9a-f]*[A-F]|parent [0-9a-f]*[A-F]/.test(content.toString('latin1'))
        const same = upper
          ? found.every((parent, i) => parents[i] === parent)
          : found.join() === [...new Set(parents)].join() || found.join() === parents.join()
        if (!same)
          throw new Error(
            `git: ${parents}, here: ${found}, of ${JSON.stringify(content.toString('latin1'))}`,
          )
      }
    },
  )
  await search(8, property)
  t.ok(read > 0, `git read ${read}`)
})
