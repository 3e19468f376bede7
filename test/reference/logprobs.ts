import type { RealArray } from './real-array.ts'

/** logits - log Σ exp(logits), over one row. A logit of -Infinity stays one. */
export function logSoftmax (logits: RealArray): Float64Array {
  let largest = -Infinity
  for (const logit of logits) largest = Math.max(largest, logit)
  let sum = 0
  for (const logit of logits) sum += Math.exp(logit - largest)
  const logSum = largest + Math.log(sum)
  return Float64Array.from(logits, logit => logit - logSum)
}

/** The `count` most likely tokens of one row of logits with their log-probabilities; the lower id first on a tie. */
export function topLogprobs (logits: RealArray, count: number): Array<{ token: number; logprob: number }> {
  return Array.from(logSoftmax(logits), (logprob, token) => ({ token, logprob }))
    .sort((a, b) => b.logprob - a.logprob || a.token - b.token)
    .slice(0, count)
}
