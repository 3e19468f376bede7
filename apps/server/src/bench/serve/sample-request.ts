/** One request of a workload. */
export interface SampleRequest {
  /** Text, or token ids, which only /v1/completions takes. */
  readonly prompt: string | readonly number[]
  /** Length of the prompt as made or counted; the server's own count wins in the report. */
  readonly promptTokens: number
  /** How many tokens to ask for. */
  readonly outputTokens: number
}
