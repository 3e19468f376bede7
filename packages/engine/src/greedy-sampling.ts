import type { SamplingParams } from './contract.ts'

/** Always the most likely token, nothing else asked for: what warm-ups, benches and evaluations sample by. Loads no GPU code. */
export const greedySampling: SamplingParams = Object.freeze({
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
})
