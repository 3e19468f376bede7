import type { RunnerLimits } from '@daybreak/engine/contract'

/** What to measure. */
export interface EngineBenchPlan {
  /** Sequences that decode together, one measurement each. */
  readonly batches: readonly number[]
  /** Tokens already in each sequence when decoding begins, one measurement each for every batch. */
  readonly contexts: readonly number[]
  /** Prompt lengths, one prefill measurement each. */
  readonly prompts: readonly number[]
  /** Decode steps that are measured. */
  readonly decodeTokens: number
  /** Prefills that are measured; the median counts. */
  readonly prefillRepeats: number
  /** Decode steps before the measured ones, of the same batch. */
  readonly warmupSteps: number
  /** Decoding for so long before anything that decodes is measured; default 0. */
  readonly wakeSeconds?: number
  /** Of the random prompts. */
  readonly seed: number
}

/** The longest sequence of any measurement, prompt and output together. */
export function longestSequence (plan: EngineBenchPlan): number {
  return Math.max(...plan.prompts.map(prompt => prompt + 1), ...plan.contexts.map(context => decodeLength(plan, context)))
}

/** Tokens in each sequence at the end of a decode measurement: one is sampled by the prefill. */
export function decodeLength (plan: EngineBenchPlan, context: number): number {
  return context + 1 + plan.warmupSteps + plan.decodeTokens
}

/** Why sequences of this length cannot be run together, or undefined when they can. */
export function whyNotRunnable (numSequences: number, length: number, limits: RunnerLimits): string | undefined {
  if (length > limits.maxModelLen) return `${length} tokens; the model's context is ${limits.maxModelLen}`
  if (numSequences > limits.maxSequences) return `${numSequences} sequences; the engine has ${limits.maxSequences} rows`
  if (numSequences > limits.maxLogitRows) return `${numSequences} sequences; the engine has ${limits.maxLogitRows} logits rows`
  if (numSequences > limits.maxBatchedTokens) return `${numSequences} sequences; a step takes ${limits.maxBatchedTokens} tokens`
  const numBlocks = numSequences * Math.ceil(length / limits.blockSize)
  return numBlocks > limits.numKVBlocks ? `${numBlocks} KV blocks; there are ${limits.numKVBlocks}` : undefined
}
