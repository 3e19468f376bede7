import type { SamplingParams, SampledToken, ScoredToken, TokenHistory, TokenLogprob } from '@daybreak/engine/contract'
import type { TokenId } from '@daybreak/kvcache'

/**
 * A language model in two multiplies: every token depends on all tokens before it, on the sampling parameters and, under
 * penalties, on the history they count. Two runs agree for long only if every input agreed.
 */
export interface FakeModel {
  readonly vocabSize: number
}

export const greedySampling: SamplingParams = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  seed: 0,
  presencePenalty: 0,
  frequencyPenalty: 0,
  repetitionPenalty: 1,
  logitBias: [],
  numLogprobs: undefined
}

export function carriesPenalty ({ presencePenalty, frequencyPenalty, repetitionPenalty }: SamplingParams): boolean {
  return presencePenalty !== 0 || frequencyPenalty !== 0 || repetitionPenalty !== 1
}

function hashOf (tokens: readonly TokenId[], seed: number): number {
  let hash = seed | 0
  for (const token of tokens) {
    hash = Math.imul(hash ^ (token + 1), 0x85ebca6b)
    hash ^= hash >>> 13
  }
  return hash >>> 0
}

/** The token that follows `tokens`; `history` is what the penalties count. */
export function nextToken ({ vocabSize }: FakeModel, tokens: readonly TokenId[], sampling: SamplingParams, history: TokenHistory | undefined): TokenId {
  const seed = sampling.temperature > 0 ? sampling.seed + tokens.length : 0
  const counted = carriesPenalty(sampling) && history !== undefined
    ? hashOf(history.promptTokens, 1) ^ hashOf(history.outputTokens, 2)
    : 0
  return ((hashOf(tokens, seed) ^ counted) >>> 0) % vocabSize
}

function alternatives ({ vocabSize }: FakeModel, tokens: readonly TokenId[], count: number): TokenLogprob[] {
  return Array.from({ length: count }, (_, i) => ({ token: (hashOf(tokens, 3) + i) % vocabSize, logprob: -1 - i }))
}

const logprobOf = (tokens: readonly TokenId[], token: TokenId): number => -(hashOf([...tokens, token], 4) % 1000) / 100

export function sampledToken (model: FakeModel, tokens: readonly TokenId[], sampling: SamplingParams, history: TokenHistory | undefined): Omit<SampledToken, 'id'> {
  const token = nextToken(model, tokens, sampling, history)
  const topLogprobs = sampling.numLogprobs === undefined ? undefined : alternatives(model, tokens, sampling.numLogprobs)
  return { token, logprob: logprobOf(tokens, token), topLogprobs }
}

export function scoredToken (model: FakeModel, tokens: readonly TokenId[], target: TokenId, numLogprobs: number): ScoredToken {
  return { token: target, logprob: logprobOf(tokens, target), topLogprobs: alternatives(model, tokens, numLogprobs) }
}

/** What one choice generates when it is alone, straight from the definition. */
export function continuation (
  model: FakeModel, promptTokens: readonly TokenId[], sampling: SamplingParams, maxTokens: number, stopTokens: readonly TokenId[] = []
): TokenId[] {
  const outputTokens: TokenId[] = []
  while (outputTokens.length < maxTokens) {
    const token = nextToken(model, [...promptTokens, ...outputTokens], sampling, { promptTokens, outputTokens })
    outputTokens.push(token)
    if (stopTokens.includes(token)) break
  }
  return outputTokens
}

/** The scores of a prompt's tokens after the first, straight from the definition. */
export function promptScores (model: FakeModel, promptTokens: readonly TokenId[], numLogprobs: number): ScoredToken[] {
  return promptTokens.slice(1).map((target, i) => scoredToken(model, promptTokens.slice(0, i + 1), target, numLogprobs))
}
