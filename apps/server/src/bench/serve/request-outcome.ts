/** What one request measured. Times are seconds; a failed request has an `error` and its other numbers do not count. */
export interface RequestOutcome {
  readonly error: string | undefined
  readonly promptTokens: number
  /** The server's `usage.completion_tokens`; chunks with text where it sent none. */
  readonly outputTokens: number
  readonly hasUsage: boolean
  /** On the load clock, when the request left. */
  readonly startTime: number
  /** How long it had waited for a concurrency slot before that. */
  readonly queueSeconds: number
  /** To the first chunk with choices, as vLLM counts it. */
  readonly ttft: number
  /** To the first chunk with text, as inference-perf and AIPerf count it. */
  readonly firstTextSeconds: number
  /** Gaps between chunks. */
  readonly itls: readonly number[]
  /** To the last chunk with choices. */
  readonly latency: number
  readonly text: string
}

/** Mean time per output token after the first; undefined when there was only one. */
export function tpotOf (outcome: RequestOutcome): number | undefined {
  return outcome.outputTokens > 1 ? (outcome.latency - outcome.ttft) / (outcome.outputTokens - 1) : undefined
}
