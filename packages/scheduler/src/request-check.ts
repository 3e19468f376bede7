import type { RunnerLimits } from '@daybreak/engine/contract'
import { blocksFor } from '@daybreak/kvcache'
import { ContextLengthExceededError, InvalidRequestError, KVCapacityExceededError } from './errors.ts'
import type { GenerationRequest } from './generation.ts'

/**
 * Checks a request against the engine's limits.
 *
 * @returns the most tokens one of its choices may have, prompt and output together. Where `maxTokens` goes beyond the model's
 * context or the whole KV cache, these end the output with `length`.
 * @throws InvalidRequestError, ContextLengthExceededError, KVCapacityExceededError
 */
export function maxLengthOf (request: GenerationRequest, limits: RunnerLimits): number {
  const { promptTokens, choices, maxTokens, priority, promptLogprobs } = request
  const { maxModelLen, numKVBlocks, blockSize, vocabSize } = limits
  const numPromptTokens = promptTokens.length
  if (numPromptTokens === 0) throw new InvalidRequestError('the prompt has no tokens', { promptTokens: 0 })
  if (choices.length === 0) throw new InvalidRequestError('the request has no choices', { choices: 0 })
  if (!Number.isInteger(maxTokens) || maxTokens < 0) throw new InvalidRequestError(`maxTokens is a count, not ${maxTokens}`, { maxTokens })
  if (promptLogprobs !== undefined && !(Number.isInteger(promptLogprobs) && promptLogprobs >= 0)) {
    throw new InvalidRequestError(`promptLogprobs is a count, not ${promptLogprobs}`, { promptLogprobs })
  }
  if (!Number.isFinite(priority)) throw new InvalidRequestError(`priority is a number, not ${priority}`, { priority })
  for (const tokens of [promptTokens, ...choices.map(({ outputTokens }) => outputTokens)]) {
    const foreign = tokens.find(token => !(Number.isInteger(token) && token >= 0 && token < vocabSize))
    if (foreign !== undefined) throw new InvalidRequestError(`token ${foreign} is not one of the ${vocabSize}`, { token: foreign, vocabSize })
  }
  if (numPromptTokens + Math.min(maxTokens, 1) > maxModelLen) {
    throw new ContextLengthExceededError({ promptTokens: numPromptTokens, maxModelLen })
  }
  const neededBlocks = blocksFor(numPromptTokens, blockSize)
  if (neededBlocks > numKVBlocks) {
    throw new KVCapacityExceededError({ promptTokens: numPromptTokens, neededBlocks, numBlocks: numKVBlocks })
  }
  // The last token needs no K and V: nothing follows it.
  return Math.min(numPromptTokens + maxTokens, maxModelLen, numKVBlocks * blockSize + 1)
}
