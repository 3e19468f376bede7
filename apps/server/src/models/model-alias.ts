import type { DownloadProgress } from './download/index.ts'
import type { ModelSource } from './model-source.ts'

/** A short name for a model that is fetched from somewhere and made ready in a folder of its own. */
export interface ModelAlias {
  /** What the user types: lower-case letters, digits, `-` and `.`; no `/`. */
  readonly name: string
  /** One line for lists: what it is, and how large. */
  readonly description: string
  /** Makes the model ready, downloading only what `context.folder` lacks. What it rejects with is shown to the user as it is. */
  prepare (context: ModelAliasContext): Promise<PreparedModel>
}

export interface PreparedModel extends ModelSource {
  /** Whether its files are known to match sha256 sums: compared now, or when something was last done to them. */
  readonly verified: boolean
}

export interface ModelAliasContext {
  /** Absolute; this alias's own folder below the model cache, which may not exist yet. What is unfinished in it ends in `.incomplete`. */
  readonly folder: string
  readonly env: Readonly<Record<string, string | undefined>>
  readonly fetch: typeof globalThis.fetch
  readonly progress: DownloadProgress
  readonly signal: AbortSignal | undefined
}
