import type { LogprobEntry } from './logprobs.ts'
import type { Usage } from './usage.ts'

export type ShownFinishReason = 'stop' | 'length'

/** What identifies a response; the same in every chunk. */
export interface ResponseIdentity {
  readonly id: string
  /** Unix seconds. */
  readonly created: number
  readonly model: string
}

export interface FinishedChoice {
  readonly index: number
  readonly text: string
  readonly logprobs: readonly LogprobEntry[] | undefined
  readonly finishReason: ShownFinishReason
  /** vLLM's `stop_reason`: the stop string or stop token id that ended it; null for the end of text and for length. */
  readonly stopReason: string | number | null
}

/**
 * The JSON of one kind of response. Chunks are built as text around constant parts made once, because a stream has
 * thousands of them; `usage` is the JSON of a `,"usage":…` member, or empty.
 */
export interface ResponseFormat {
  /** @param first whether this is the choice's first chunk, which carries the role. */
  textChunk (index: number, text: string, logprobs: readonly LogprobEntry[] | undefined, first: boolean, usage: string): string
  finishChunk (index: number, choice: FinishedChoice, first: boolean, usage: string): string
  /** The chunk after all choices: no choices, the totals. */
  usageChunk (usage: Usage): string
  whole (choices: readonly FinishedChoice[], usage: Usage): object
}
