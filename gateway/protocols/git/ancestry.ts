// Is an update a fast-forward? Told from the commits of its pack, in whatever order they come: the walk goes
// from the new id along parents, as far as they were seen. Pure, and sound for ids that are hashes of what
// was seen: it never says that the old id was reached when it was not.

import { BoundExceeded } from './bound.ts'

/** Commits of one pack, repeated ones included. */
export const commitsMax = 500_000
/** Parents kept of commits that no walk has reached yet. */
export const parentsMax = 1_000_000
/** Commits reached, summed over the updates of a push. */
export const reachedMax = 1_000_000

/** What is to be proved: is `oldId` `newId` itself or one of its ancestors? */
export type Question = { readonly oldId: string; readonly newId: string }

type Walk = {
  readonly oldId: string
  readonly reached: Set<string>
  /** Reached, but not seen: the walk goes on where one of them comes, or ends there. */
  readonly missing: Set<string>
}

/** A commit that every walk has passed, or where history is cut off, needs no parents. */
const walked: readonly string[] = []

export class Ancestry {
  readonly #open = new Map<number, Walk>()
  readonly #parents = new Map<string, readonly string[]>()
  readonly #shallow: ReadonlySet<string>
  #added = 0
  #kept = 0
  #reached = 0

  /** At the ids of `shallow` the pusher cuts history off: a server may take it so, and keep nothing behind them. */
  constructor(questions: readonly Question[], shallow: readonly string[] = []) {
    this.#shallow = new Set(shallow)
    for (const [index, { oldId, newId }] of questions.entries()) {
      if (oldId === newId) continue
      this.#open.set(index, { oldId, reached: new Set([newId]), missing: new Set([newId]) })
    }
  }

  /** Indexes of the questions without a proof so far. */
  get open(): readonly number[] {
    return [...this.#open.keys()]
  }

  get isProved(): boolean {
    return this.#open.size === 0
  }

  /** Takes a commit of the pack, whose id was computed from its content. */
  add(id: string, parents: readonly string[]): void {
    if (++this.#added > commitsMax) {
      throw new BoundExceeded(`the pack has more than ${commitsMax} commits`)
    }
    if (this.#parents.has(id)) return
    this.#parents.set(id, this.#shallow.has(id) ? walked : parents)
    let isNeeded = false
    for (const [index, walk] of this.#open) {
      if (!walk.missing.delete(id)) isNeeded ||= !walk.reached.has(id)
      else if (this.#walk(walk, id)) this.#open.delete(index)
    }
    if (!isNeeded) {
      this.#parents.set(id, walked)
      return
    }
    this.#kept += parents.length
    if (this.#kept > parentsMax) {
      throw new BoundExceeded(`the commits of the pack have more than ${parentsMax} parents`)
    }
  }

  /** The question was answered by other means. */
  settle(index: number): void {
    this.#open.delete(index)
  }

  /** Ids where the walk of a question ends because they were not seen; empty where its history is all seen. */
  frontier(index: number): readonly string[] {
    const missing = [...(this.#open.get(index)?.missing ?? [])]
    return missing.filter((id) => !this.#shallow.has(id))
  }

  /** Goes on from a commit that was seen. True where the old id was reached. */
  #walk(walk: Walk, from: string): boolean {
    const next = [from]
    for (let id = next.pop(); id !== undefined; id = next.pop()) {
      const parents = this.#parents.get(id)
      if (parents === undefined) {
        walk.missing.add(id)
        continue
      }
      for (const parent of parents) {
        if (parent === walk.oldId) return true
        if (walk.reached.has(parent)) continue
        walk.reached.add(parent)
        if (++this.#reached > reachedMax) {
          throw new BoundExceeded(
            `the histories pushed have more than ${reachedMax} commits in all`,
          )
        }
        next.push(parent)
      }
    }
    return false
  }
}
