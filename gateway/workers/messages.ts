// What the primary process and its workers say to each other (node:cluster, structured clones). A worker
// reads no configuration by itself: all of them serve the one that the primary has read, a replacement
// too, whatever the files say by then.

import type { Configuration } from '../configuration/configuration.ts'
import { buildScopeCatalog, type ScopeDeclaration } from '../decision/scope.ts'
import type { Check } from '../listener/management.ts'
import type { Figures } from '../telemetry/registry.ts'

/** From the primary. */
export type Order =
  /** Serve this, as the worker of this number (from 1). */
  | {
      readonly kind: 'start'
      readonly number: number
      readonly configuration: SentConfiguration
    }
  /** Say how you do. */
  | { readonly kind: 'report'; readonly id: number }
  /** Drain, and end. */
  | { readonly kind: 'drain' }

/** From a worker. */
export type News =
  /** It listens to orders: any that was sent before may be lost. */
  | { readonly kind: 'ready' }
  /** Every listener accepts at these URLs, in the order of the configuration. */
  | { readonly kind: 'listening'; readonly urls: readonly string[] }
  /** It cannot start, and ends: the message is that of the same failure without workers. */
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'report'; readonly id: number; readonly report: Report }

/** How a worker does. */
export type Report = { readonly checks: readonly Check[]; readonly figures: Figures }

/** A configuration without functions. */
export type SentConfiguration = Omit<Configuration, 'scopes'> & {
  readonly scopes: readonly ScopeDeclaration[]
}

/** As it is sent. */
export function writeConfiguration(configuration: Configuration): SentConfiguration {
  return { ...configuration, scopes: [...configuration.scopes.declarations.values()] }
}

/** As it was before it was sent. */
export function readConfiguration(sent: SentConfiguration): Configuration {
  return { ...sent, scopes: buildScopeCatalog(sent.scopes) }
}
