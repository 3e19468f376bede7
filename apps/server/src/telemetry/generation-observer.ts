import type { FinishReason } from '@daybreak/scheduler'

/** What a request was doing when it was aborted. */
export type RequestPhase = 'tokenizing' | 'queued' | 'prefill' | 'decode'
export type AbortCause = 'disconnect' | 'cancel' | 'timeout' | 'slow_reader' | 'shutdown'

/**
 * One finished choice, in seconds of the server's monotonic clock; vLLM's intervals (its docs/design/metrics.md).
 * Times that were never reached are undefined: they are not observed.
 */
export interface ChoiceRecord {
  readonly reason: FinishReason
  readonly promptTokens: number
  readonly cachedTokens: number
  readonly generatedTokens: number
  readonly maxTokens: number
  readonly arrivedAt: number
  readonly queuedAt: number
  readonly scheduledAt: number | undefined
  readonly firstTokenAt: number | undefined
  readonly lastTokenAt: number | undefined
  readonly finishedAt: number
}

/** Where a generation reports what happened to it. */
export interface GenerationObserver {
  requestStarted (request: { readonly numChoices: number }): void
  promptScheduled (prompt: { readonly promptTokens: number, readonly cachedTokens: number }): void
  /** Seconds from arrival, before tokenising, to the first token. */
  firstToken (seconds: number): void
  /** Seconds between two tokens of a choice. */
  interToken (seconds: number): void
  tokensGenerated (count: number): void
  choiceFinished (record: ChoiceRecord): void
  requestAborted (phase: RequestPhase, cause: AbortCause): void
}
