// What the gateway's thread and the one that proves say to each other. Types only.

import type { Question } from './ancestry.ts'
import type { ObjectFormat } from './capabilities.ts'
import type { ProofProgress } from './proof.ts'

/** `push` numbers the pushes under way. Only `open`'s pushes have answers to `write`, in order. */
export type ProofOrder =
  | {
      readonly order: 'open'
      readonly push: number
      readonly format: ObjectFormat
      readonly questions: readonly Question[]
      readonly shallow: readonly string[]
    }
  | { readonly order: 'write'; readonly push: number; readonly chunk: Uint8Array }
  | { readonly order: 'settle'; readonly push: number; readonly index: number }
  | { readonly order: 'close'; readonly push: number }

export type ProofReport = { readonly push: number } & (
  | { readonly report: 'progress'; readonly progress: ProofProgress }
  /** Nothing more comes of this push. */
  | { readonly report: 'failed'; readonly failure: 'malformed' | 'bound'; readonly words: string }
)
