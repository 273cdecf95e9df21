// A history that has every relation which two commits can have, made once for a test file by
// `git fast-import`, and a seed: what of it a git server has. Every commit is a branch of that name.

import { randomBytes } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { GitClient } from '../servers/git-client.ts'

/** Commits in a row on top of main, at the end of which is the branch `many`. */
export const manyCommits = 1_000
/** The same of `similar`, whose messages are long and alike: packs store most of them as deltas. */
export const similarCommits = 40
/** Of the file in `noise`, which does not compress: more than git sends in one piece, and than a pipe holds. */
export const noiseBytes = 3 * 512 * 1024

export type History = {
  /** A bare repository with all commits, a remote `origin` and what it is believed to have. */
  readonly folder: string
  /** A bare repository with what a server has. */
  readonly seed: string
  /** The ids of the branches and tags. */
  readonly ids: Readonly<Record<string, string>>
}

type Commit = {
  readonly name: string
  readonly parents: readonly string[]
  readonly times?: number
  readonly message?: string
  readonly content?: Buffer
  /** Its objects are files of their own, without changes of files: git tries to store these as deltas. */
  readonly isLoose?: true
}

const similar =
  'The same words as in the commit before this one, and in the one before it. '.repeat(20)

const commits: readonly Commit[] = [
  // What the server has: main is three commits long, side leaves it at the first, ahead goes on from its
  // last, foreign has nothing in common with it.
  { name: 'base', parents: [] },
  { name: 'middle', parents: ['base'] },
  { name: 'main', parents: ['middle'] },
  { name: 'side', parents: ['base'], times: 2 },
  { name: 'ahead', parents: ['main'], times: 2 },
  { name: 'foreign', parents: [], times: 2 },
  // Descendants of main.
  { name: 'one', parents: ['main'] },
  { name: 'local', parents: ['base'], times: 3 },
  { name: 'merge', parents: ['main', 'local'] },
  { name: 'merge-into-local', parents: ['local', 'main'] },
  { name: 'merge-known', parents: ['main', 'side'] },
  { name: 'merge-foreign', parents: ['foreign', 'main'] },
  { name: 'octopus', parents: ['local', 'side', 'ahead'] },
  { name: 'on-ahead', parents: ['ahead'] },
  { name: 'many', parents: ['main'], times: manyCommits },
  { name: 'similar', parents: ['main'], times: similarCommits, message: similar, isLoose: true },
  { name: 'noise', parents: ['main'], content: randomBytes(noiseBytes) },
  { name: 'long-message', parents: ['main'], message: `${'word '.repeat(15)}\n`.repeat(2_000) },
  // None of them.
  { name: 'amended', parents: ['middle'] },
  { name: 'unrelated', parents: [], times: 2 },
  { name: 'on-side', parents: ['side'] },
  { name: 'on-foreign', parents: ['foreign'] },
  { name: 'merge-others', parents: ['side', 'foreign', 'middle'] },
  {
    name: 'similar-others',
    parents: ['middle'],
    times: similarCommits,
    message: similar,
    isLoose: true,
  },
  { name: 'forced-noise', parents: ['middle'], content: randomBytes(noiseBytes) },
]

/** The branches that a server has, beside `old`, which is where main is. */
const seeded = ['main', 'side', 'ahead', 'foreign'] as const

/** Makes both below the client's folder. */
export async function makeHistory(
  client: GitClient,
  objectFormat: 'sha1' | 'sha256' = 'sha1',
): Promise<History> {
  const names = { folder: `history-${objectFormat}`, seed: `seed-${objectFormat}` }
  const init = ['init', '-q', '--bare', '--template=', `--object-format=${objectFormat}`]
  await Promise.all(Object.values(names).map((name) => client.git('', ...init, name)))
  const [folder, seed] = [join(client.folder, names.folder), join(client.folder, names.seed)]
  const [packed, loose] = [
    commits.filter(({ isLoose }) => !isLoose),
    commits.filter(({ isLoose }) => isLoose),
  ]
  await fastImport(client, names.folder, 1, writeStream(packed, [...tags, ...notes, ...tracking]))
  await fastImport(client, names.folder, 10_000, writeStream(loose, []))
  appendFileSync(join(folder, 'config'), remote)
  const refs = [
    ...seeded.map((name) => `refs/heads/${name}:refs/heads/${name}`),
    'refs/heads/main:refs/heads/old',
    'refs/tags/v1:refs/tags/v1',
    'refs/tags/v2:refs/tags/v2',
    'refs/kept/notes:refs/notes/commits',
  ]
  await client.git(names.seed, 'fetch', '-q', '--no-tags', folder, ...refs)
  const format = '--format=%(refname:lstrip=2) %(objectname)'
  const listed = await client.git(names.folder, 'for-each-ref', format, 'refs/heads', 'refs/tags')
  const ids = listed.split('\n').map((line) => line.split(' ') as [string, string])
  return { folder, seed, ids: Object.fromEntries(ids) }
}

const remote = `[remote "origin"]
\turl = http://127.0.0.1:9/nowhere.git
\tfetch = +refs/heads/*:refs/remotes/origin/*
`

/** A ref beside the branches: what it is, its name, and the branch that it comes from. */
type Extra = readonly ['reset' | 'tag' | 'note', string, string]

const tags: readonly Extra[] = [
  ['reset', 'refs/tags/v1', 'base'],
  ['tag', 'v2', 'middle'],
  // These only the client has.
  ['reset', 'refs/tags/light', 'main'],
  ['tag', 'heavy', 'main'],
]
/** The server's notes are the ones that are kept; the client's are a commit further. */
const notes: readonly Extra[] = [
  ['note', 'refs/kept/notes', 'main'],
  ['reset', 'refs/notes/commits', 'refs/kept/notes'],
  ['note', 'refs/notes/commits', 'side'],
]
/** What the client believes to be on the server. */
const tracking: readonly Extra[] = [...seeded, 'old'].map(
  (name) => ['reset', `refs/remotes/origin/${name}`, name === 'old' ? 'main' : name] as const,
)

async function fastImport(
  client: GitClient,
  where: string,
  unpackLimit: number,
  input: Buffer,
): Promise<void> {
  const args = ['-c', `fastimport.unpackLimit=${unpackLimit}`, 'fast-import', '--quiet']
  const made = await client.run(where, args, { input })
  if (made.code !== 0) throw new Error(`fast-import: ${made.stderr}`)
}

function writeStream(commits: readonly Commit[], extras: readonly Extra[]): Buffer {
  const marks = new Map<string, number>()
  const parts: Buffer[] = []
  const write = (text: string | Buffer): void => void parts.push(Buffer.from(text))
  const data = (content: string | Buffer): void => {
    write(`data ${Buffer.byteLength(content)}\n`)
    write(content)
    write('\n')
  }
  // Of an earlier stream only the branch is known.
  const parentOf = (name: string): string =>
    marks.has(name) ? `:${marks.get(name)}` : `refs/heads/${name}^0`
  let mark = 0
  for (const { name, parents, times = 1, message = name, content, isLoose } of commits) {
    write(`reset refs/heads/${name}\n`)
    for (let i = 1; i <= times; i++) {
      const [from, ...merged] = i === 1 ? parents.map(parentOf) : []
      mark++
      write(`commit refs/heads/${name}\nmark :${mark}\n`)
      write(`committer Ada <ada@example.com> ${1_700_000_000 + mark} +0000\n`)
      data(times > 1 ? `${message} ${i}\n` : message)
      if (from !== undefined) write(`from ${from}\n`)
      for (const other of merged) write(`merge ${other}\n`)
      if (isLoose) continue
      write(`M 100644 inline ${name}-${i % 50}\n`)
      data(content ?? `${name} ${i}\n`)
    }
    marks.set(name, mark)
  }
  const person = 'Ada <ada@example.com> 1700000000 +0000'
  for (const [kind, ref, branch] of extras) {
    const from = marks.has(branch) ? `:${marks.get(branch)}` : branch
    if (kind === 'reset') write(`reset ${ref}\nfrom ${from}\n\n`)
    if (kind === 'tag') write(`tag ${ref}\nfrom ${from}\ntagger ${person}\n`)
    if (kind === 'note') write(`commit ${ref}\ncommitter ${person}\n`)
    if (kind !== 'reset') data(ref)
    if (kind !== 'note') continue
    write(`N inline ${from}\n`)
    data(`a note about ${branch}`)
  }
  return Buffer.concat(parts)
}

/**
 * Adds `mentioning`, no descendant of main, though everything else in it names main as if it were its parent;
 * and `late-parent`, which has main where git looks for no parent.
 */
export async function addMentions(client: GitClient, history: History): Promise<void> {
  const where = basename(history.folder)
  const main = await client.git(where, 'rev-parse', 'main')
  const middle = await client.git(where, 'rev-parse', 'middle')
  const write = async (kind: string, input: string): Promise<string> => {
    const args = ['hash-object', '-w', '-t', kind, '--stdin']
    const { stdout, stderr } = await client.run(where, args, { input })
    if (stdout === '') throw new Error(stderr)
    return stdout.trim()
  }
  const person = 'Ada <ada@example.com> 1700000000 +0000'
  const empty = await write('tree', '')
  const text = `tree ${empty}\nparent ${main}\nauthor ${person}\ncommitter ${person}\n\nparent ${main}\n`
  const blob = await write('blob', text)
  const entries = [`100644 blob ${blob}\t${main}`, `160000 commit ${main}\tmodule`]
  const made = await client.run(where, ['mktree'], { input: `${entries.join('\n')}\n` })
  const signature = ['gpgsig -----BEGIN', `parent ${main}`, '-----END'].join('\n ')
  const commit = await write(
    'commit',
    `tree ${made.stdout.trim()}\nparent ${middle}\nauthor parent ${main} <ada@example.com> 1700000000 +0000\n` +
      `committer ${person}\n${signature}\n\nparent ${main}\n\n${text}`,
  )
  await client.git(where, 'update-ref', 'refs/heads/mentioning', commit)
  // A parent line behind the author is none: git reads parents straight behind the tree alone.
  const { stdout } = await client.run(
    where,
    ['hash-object', '-w', '-t', 'commit', '--literally', '--stdin'],
    {
      input: `tree ${empty}\nparent ${middle}\nauthor ${person}\nparent ${main}\ncommitter ${person}\n\nlate\n`,
    },
  )
  await client.git(where, 'update-ref', 'refs/heads/late-parent', stdout.trim())
}
