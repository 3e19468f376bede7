export interface Usage {
  readonly promptTokens: number
  readonly completionTokens: number
  /** Prompt tokens whose KV came from the prefix cache. */
  readonly cachedTokens: number
}

/** OpenAI's usage object; the details are always there because benchmark clients read them. */
export function usageObject (usage: Usage) {
  return {
    prompt_tokens: usage.promptTokens,
    completion_tokens: usage.completionTokens,
    total_tokens: usage.promptTokens + usage.completionTokens,
    prompt_tokens_details: { cached_tokens: usage.cachedTokens },
    completion_tokens_details: { reasoning_tokens: 0 },
  }
}
