// The proof that updates are fast-forwards, from the commits of their pack as it streams by: each commit's
// id is computed from its content, so that what is proved rests on hashes alone. Commits that stand as
// deltas are put together where their base was a commit of the same pack. What it cannot read it does not
// know; it never takes a commit's word for its own id.

import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { Ancestry, type Question } from './ancestry.ts'
import { BoundExceeded } from './bound.ts'
import { idDigits, type ObjectFormat } from './capabilities.ts'
import { parseParents } from './commit.ts'
import { applyDelta } from './delta.ts'
import { contentBytesMax, type PackEntry, PackParser } from './pack.ts'

/** Commits kept as bases of deltas, the latest used ones. */
export const basesBytesMax = 16 * 2 ** 20
/** What a base costs beside its content. */
const baseOverheadBytes = 512
/** Longest commit that is put together from a delta, and how much is put together for one push. */
export const deltaResultBytesMax = 256 * 1024
export const deltaBytesMax = 2 ** 30
/** Ids of all frontiers that are told at a time: more do not fit in one question to a git server. */
export const frontierMax = 20_000

/** How far a proof is. */
export type ProofProgress = {
  /** Bytes of the pack that were understood. */
  readonly parsed: number
  readonly isWhole: boolean
  /** Indexes of the questions that have no proof. */
  readonly open: readonly number[]
  /**
   * For each of `open`, the ids where its history leaves the pack; undefined where they are more than
   * `frontierMax` with those before. Told once the commits seem to be over, and at the end.
   */
  readonly frontiers?: readonly (readonly string[] | undefined)[]
  /** Why the history of the pack is not all known. */
  readonly unread?: string
}

type Base = { readonly id: string; readonly content: Buffer }

export class Proof {
  readonly #format: ObjectFormat
  readonly #ancestry: Ancestry
  readonly #parser: PackParser
  /** By the entry's offset in the pack. */
  readonly #bases: LRUCache<number, Base>
  readonly #offsets = new Map<string, number>()
  #deltaBytes = 0
  #unread: string | undefined
  #commitsAreOver = false
  #toldAt: 'never' | 'after the commits' | 'the end' = 'never'

  /** `shallow`: ids at which the pusher cuts history off. */
  constructor(
    format: ObjectFormat,
    questions: readonly Question[],
    shallow: readonly string[] = [],
  ) {
    this.#format = format
    this.#ancestry = new Ancestry(questions, shallow)
    this.#bases = new LRUCache({
      maxSize: basesBytesMax,
      sizeCalculation: ({ content }) => content.length + baseOverheadBytes,
      dispose: ({ id }) => this.#offsets.delete(id),
    })
    this.#parser = new PackParser(format, {
      wants: (entry) => this.#wants(entry),
      take: (entry, content) => this.#take(entry, content),
    })
  }

  /** Takes the next bytes of the pack. Throws GatewayError `bad_request`, or BoundExceeded. */
  async write(chunk: Buffer): Promise<ProofProgress> {
    await this.#parser.write(chunk)
    const { parsed, isWhole } = this.#parser
    const progress = { parsed, isWhole, open: this.#ancestry.open }
    const place = isWhole ? 'the end' : this.#commitsAreOver ? 'after the commits' : 'never'
    if (progress.open.length === 0 || place === this.#toldAt) return progress
    this.#toldAt = place
    let left = frontierMax
    const frontiers = progress.open.map((index) => {
      const ids = left > 0 ? this.#ancestry.frontier(index) : []
      left -= Math.max(ids.length, 1)
      return left < 0 ? undefined : ids
    })
    if (this.#unread === undefined) return { ...progress, frontiers }
    return { ...progress, frontiers, unread: this.#unread }
  }

  /** The question was answered by other means. */
  settle(index: number): void {
    this.#ancestry.settle(index)
  }

  close(): void {
    this.#parser.close()
  }

  #wants(entry: PackEntry): boolean {
    if (this.#ancestry.isProved) return false
    const isWanted = entry.kind === 'commit' || this.#baseOf(entry) !== undefined
    // git writes commits first.
    if (!isWanted) this.#commitsAreOver = true
    if (entry.kind === 'commit' && entry.size > contentBytesMax) {
      this.#unread = `a commit is longer than ${contentBytesMax / 2 ** 20} MiB`
    }
    return isWanted
  }

  #baseOf({ baseOffset, baseId }: PackEntry): Base | undefined {
    const offset = baseId === undefined ? baseOffset : this.#offsets.get(baseId)
    return offset === undefined ? undefined : this.#bases.get(offset)
  }

  #take(entry: PackEntry, content: Buffer): void {
    const base = this.#baseOf(entry)
    if (entry.kind === 'commit') this.#addCommit(entry.offset, content)
    else if (base !== undefined) {
      const result = applyDelta(base.content, content, deltaResultBytesMax)
      if (result === undefined) return
      this.#deltaBytes += result.length
      if (this.#deltaBytes > deltaBytesMax) {
        const words = `the pack has more than ${deltaBytesMax / 2 ** 20} MiB of commits as deltas`
        throw new BoundExceeded(words)
      }
      this.#addCommit(entry.offset, result)
    }
  }

  #addCommit(offset: number, content: Buffer): void {
    const head = Buffer.from(`commit ${content.length}\0`)
    const id = hash(this.#format, Buffer.concat([head, content]), 'hex')
    this.#ancestry.add(id, parseParents(content, idDigits[this.#format]))
    if (this.#offsets.has(id)) return
    // Copied: what it was inflated into may be shared, and would be kept with it.
    const kept = Buffer.allocUnsafeSlow(content.length)
    content.copy(kept)
    this.#offsets.set(id, offset)
    this.#bases.set(offset, { id, content: kept })
  }
}
