import type { PromptTokens } from '@daybreak/scheduler'
import { RandomStream } from '../random-stream.ts'

/** Prompts about documents: each document is the beginning of some prompts, which then go on by themselves. */
export interface BatchWorkload {
  readonly numPrompts: number
  /** Prompts that share a beginning: the same number of all, or a mean of degrees with a heavy tail. */
  readonly degree: { readonly type: 'fixed', readonly value: number } | { readonly type: 'mean', readonly value: number }
  readonly prefixTokens: number
  readonly distinctTokens: number
  readonly seed: number
}

/** The largest of the degrees with a mean; beyond it one document would be most of a small batch. */
const MAX_DEGREE = 256

/**
 * The prompts, in random order. Degrees with a mean follow a power law, `P(d) ∝ d^-a` up to 256, whose exponent gives the mean: most
 * documents have one prompt, a few have very many, as BatchLLM's authors found it in industry.
 */
export function batchPrompts ({ numPrompts, degree, prefixTokens, distinctTokens, seed }: BatchWorkload, vocabSize: number): PromptTokens[] {
  const random = new RandomStream(seed)
  const fill = (tokens: Int32Array): void => { for (let i = 0; i < tokens.length; i++) tokens[i] = random.integer(0, vocabSize - 1) }
  const drawDegree = degree.type === 'fixed' ? () => degree.value : powerLaw(degree.value, random)
  const prompts: PromptTokens[] = []
  while (prompts.length < numPrompts) {
    const prefix = new Int32Array(prefixTokens)
    fill(prefix)
    for (let left = drawDegree(); left > 0 && prompts.length < numPrompts; left--) {
      const prompt = new Int32Array(prefixTokens + distinctTokens)
      prompt.set(prefix)
      fill(prompt.subarray(prefixTokens))
      prompts.push(prompt)
    }
  }
  return random.shuffled(prompts)
}

/** Draws degrees of this mean. */
function powerLaw (mean: number, random: RandomStream): () => number {
  let [low, high] = [0, 20]
  for (let i = 0; i < 60; i++) {
    const exponent = (low + high) / 2
    if (meanOf(exponent) > mean) low = exponent
    else high = exponent
  }
  const cumulative: number[] = []
  let sum = 0
  for (let degree = 1; degree <= MAX_DEGREE; degree++) cumulative.push(sum += degree ** -low)
  return () => {
    const at = random.uniform() * sum
    return 1 + cumulative.findIndex(value => value > at)
  }
}

function meanOf (exponent: number): number {
  let [weight, weighted] = [0, 0]
  for (let degree = 1; degree <= MAX_DEGREE; degree++) {
    weight += degree ** -exponent
    weighted += degree ** (1 - exponent)
  }
  return weighted / weight
}
