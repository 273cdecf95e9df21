// The proof of one push: its pack goes through the thread that reads packs, and what the pack does not
// show the git server is asked. Whatever is not proved counts as forced, with words that say why.

import type { InspectContext } from '../protocol.ts'
import { BoundExceeded } from './bound.ts'
import type { ObjectFormat } from './capabilities.ts'
import { isAncestor } from './fast-forward-question.ts'
import { forcedUpdate } from './judge-push.ts'
import { toOneLine } from './one-line.ts'
import { refuse } from './pkt-line.ts'
import { frontierMax, type ProofProgress } from './proof.ts'
import { openProof, type ProofSession } from './proof-thread.ts'
import type { RefUpdate } from './receive-pack.ts'

/** Updates of one push that are proved. */
export const updatesMax = 1_000
/** Questions to the git server for one push. */
export const questionsMax = 64
/** Chunks that the thread is given before the first of them was answered. */
const chunksAheadMax = 4
const wordsBytesMax = 200

export type PushProofOptions = {
  readonly format: ObjectFormat
  readonly updates: readonly RefUpdate[]
  /** Ids at which the pusher cuts history off. */
  readonly shallow: readonly string[]
  readonly ask: InspectContext['ask']
  /** Path of the repository's git-upload-pack, as the upstream sees it. */
  readonly path: string
}

export class PushProof {
  /** Refs without a proof, with the words for it; filled when the proof is over. */
  readonly forced = new Map<string, string>()
  readonly #options: PushProofOptions
  #session: ProofSession | undefined
  readonly #answers: Promise<ProofProgress>[] = []
  /** By the update's index: the frontier that the server was asked about without a proof. */
  readonly #asked = new Map<number, string>()
  readonly #words = new Map<number, string>()
  #open: readonly number[]
  #taken = 0
  #parsed = 0
  #isWhole = false
  #unread: string | undefined
  #questions = 0
  /** Why the server could not be asked; it is not asked again then. */
  #unanswered: string | undefined
  #isOver = false

  /** The thread is engaged when the first bytes of the pack are taken. */
  constructor(options: PushProofOptions) {
    this.#options = options
    this.#open = options.updates.map((_, index) => index)
  }

  /** What is to be proved. */
  get updates(): readonly RefUpdate[] {
    return this.#options.updates
  }

  /** No more of the pack needs to be read. */
  get isOver(): boolean {
    return this.#isOver
  }

  /** It is over without a proof: the rest of the push need not be waited for. */
  get hasFailed(): boolean {
    return this.#isOver && this.forced.size > 0
  }

  /** Bytes taken whose place in the pack is not known yet. */
  get unreadBytes(): number {
    return this.#taken - this.#parsed
  }

  /** Reads the next bytes of the pack; `keepUp` or `finish` tell what became of them. */
  take(chunk: Buffer): void {
    this.#taken += chunk.length
    try {
      this.#session ??= this.#openSession()
    } catch (error) {
      this.#failed(error)
      return
    }
    const answer = this.#session.write(chunk)
    // Heard of when its turn comes.
    answer.catch(() => {})
    this.#answers.push(answer)
  }

  /** Resolves when the reading is not far behind. Rejects with GatewayError `bad_request` for a malformed pack. */
  async keepUp(): Promise<void> {
    while (!this.#isOver && this.#answers.length > chunksAheadMax) await this.#hear()
  }

  /** The push has ended: what has no proof now has none. */
  async finish(): Promise<void> {
    while (!this.#isOver && this.#answers.length > 0) await this.#hear()
    if (this.#isOver) return
    if (!this.#isWhole) refuse('its pack ends early')
    this.#fail()
  }

  close(): void {
    this.#session?.close()
  }

  #openSession(): ProofSession {
    const { format, updates, shallow } = this.#options
    if (updates.length > updatesMax) {
      throw new BoundExceeded(`it updates more than ${updatesMax} refs: push fewer at a time`)
    }
    return openProof(format, updates, shallow)
  }

  async #hear(): Promise<void> {
    try {
      const progress = await this.#answers.shift()!
      this.#parsed = progress.parsed
      this.#isWhole = progress.isWhole
      this.#unread = progress.unread
      // Questions settled since that answer was given are settled.
      this.#open = progress.open.filter((index) => this.#open.includes(index))
      if (progress.frontiers !== undefined) await this.#askServer(progress.open, progress.frontiers)
      if (this.#open.length === 0) this.#end()
    } catch (error) {
      this.#failed(error)
    }
  }

  async #askServer(
    open: readonly number[],
    frontiers: NonNullable<ProofProgress['frontiers']>,
  ): Promise<void> {
    for (const [place, index] of open.entries()) {
      if (!this.#open.includes(index)) continue
      const frontier = frontiers[place]
      if (frontier === undefined) {
        this.#words.set(index, `the histories leave the pack in more than ${frontierMax} places`)
      } else if (await this.#isProvedByServer(index, frontier)) {
        this.#session?.settle(index)
        this.#open = this.#open.filter((other) => other !== index)
      }
    }
  }

  async #isProvedByServer(index: number, frontier: readonly string[]): Promise<boolean> {
    const asked = frontier.join()
    if (frontier.length === 0 || this.#asked.get(index) === asked) return false
    if (this.#unanswered !== undefined) {
      this.#words.set(index, this.#unanswered)
      return false
    }
    if (++this.#questions > questionsMax) {
      throw new BoundExceeded(`it takes more than ${questionsMax} questions to the git server`)
    }
    const { path, format, updates, ask } = this.#options
    const { oldId } = updates[index]!
    try {
      const isProved = await isAncestor(ask, { path, format, oldId, frontier })
      this.#asked.set(index, asked)
      this.#words.delete(index)
      return isProved
    } catch (error) {
      const cause = error instanceof Error ? error.message : String(error)
      this.#unanswered = `the git server could not be asked: ${cause}`
      this.#words.set(index, this.#unanswered)
      return false
    }
  }

  #failed(error: unknown): void {
    if (!(error instanceof BoundExceeded)) throw error
    this.#fail(error.message)
  }

  /** `words`: what keeps all that is open from being proved. */
  #fail(words?: string): void {
    for (const index of this.#open) {
      const why = words ?? this.#words.get(index) ?? this.#unread
      this.forced.set(
        this.#options.updates[index]!.ref,
        why === undefined ? forcedUpdate : notProved(why),
      )
    }
    this.#end()
  }

  #end(): void {
    this.#isOver = true
    this.close()
  }
}

/** Words for an update that could not be proved to be a fast-forward. */
export function notProved(why: string): string {
  return `not proved to be a fast-forward: ${toOneLine(why, wordsBytesMax)}`
}
