/**
 * Sampling by the letter of SamplingParams, one row of logits at a time, in vLLM's order: bias, penalties, temperature, then
 * min-p, top-k, top-p, each on what the one before left. Its pieces are exported because a GPU test cannot ask for equality with
 * a draw: it asks that the drawn token is among the kept ones, and that many draws follow their probabilities.
 */
import type { SamplingParams, TokenHistory } from '@daybreak/engine/contract'
import type { RealArray } from './real-array.ts'

/** The distribution one token is drawn from. */
export interface TokenDistribution {
  /** Raw logits after bias, penalties and temperature (not divided when greedy). `[vocabSize]` */
  readonly adjusted: Float64Array
  /** 1 where the token may be drawn. `[vocabSize]` */
  readonly kept: Uint8Array
  /** Softmax of the kept tokens' adjusted logits, 0 elsewhere. `[vocabSize]` */
  readonly probabilities: Float64Array
}

/** Everything between the raw logits and the random number. Greedy keeps exactly the argmax, the lowest id on a tie. */
export function tokenDistribution (logits: RealArray, params: SamplingParams, history: TokenHistory): TokenDistribution {
  const penalised = applyPenalties(applyBias(logits, params), params, history)
  if (params.temperature === 0) {
    const kept = new Uint8Array(logits.length)
    kept[argmax(penalised)] = 1
    return { adjusted: penalised, kept, probabilities: softmaxOf(penalised, kept) }
  }
  const adjusted = penalised.map(logit => logit / params.temperature)
  const kept = keptTokens(adjusted, params)
  return { adjusted, kept, probabilities: softmaxOf(adjusted, kept) }
}

export function applyBias (logits: RealArray, { logitBias }: SamplingParams): Float64Array {
  const out = Float64Array.from(logits)
  for (const [token, bias] of logitBias) out[token] = (out[token] ?? NaN) + bias
  return out
}

/** Repetition first, over prompt and output; then frequency and presence, over the output alone. */
export function applyPenalties (logits: Float64Array, params: SamplingParams, history: TokenHistory): Float64Array {
  const out = Float64Array.from(logits)
  for (const token of new Set([...history.promptTokens, ...history.outputTokens])) {
    const logit = out[token] ?? NaN
    out[token] = logit > 0 ? logit / params.repetitionPenalty : logit * params.repetitionPenalty
  }
  for (const token of history.outputTokens) out[token] = (out[token] ?? NaN) - params.frequencyPenalty
  for (const token of new Set(history.outputTokens)) out[token] = (out[token] ?? NaN) - params.presencePenalty
  return out
}

/**
 * What min-p, top-k and top-p leave of tempered logits. Every mask is a threshold on the logit, so tokens that tie with the last
 * one kept are kept too (vLLM's top-k does the same), and the most likely token always stays.
 */
export function keptTokens (adjusted: Float64Array, { minP, topK, topP }: SamplingParams): Uint8Array {
  const kept = new Uint8Array(adjusted.length).fill(1)
  const largest = adjusted.reduce((a, b) => Math.max(a, b), -Infinity)
  if (minP > 0) dropBelow(kept, adjusted, largest + Math.log(minP))
  if (topK > 0) dropBelow(kept, adjusted, keptDescending(kept, adjusted)[topK - 1] ?? -Infinity)
  if (topP < 1) dropBelow(kept, adjusted, topPThreshold(keptDescending(kept, adjusted), topP))
  return kept
}

/** Inverse of the cumulative distribution at `uniform` in [0, 1), tokens in order of id. */
export function drawToken (probabilities: RealArray, uniform: number): number {
  let total = 0
  for (const probability of probabilities) total += probability
  let cumulative = 0
  let lastPossible = 0
  for (let token = 0; token < probabilities.length; token++) {
    const probability = probabilities[token] ?? NaN
    if (probability === 0) continue
    cumulative += probability
    lastPossible = token
    if (cumulative > uniform * total) return token
  }
  return lastPossible
}

/** The random number of a seed and a position, in [0, 1): murmur3's finaliser over both, twice. */
export function randomUniform (seed: number, position: number): number {
  let h = seed ^ Math.imul(position, 0x9e3779b1)
  for (let round = 0; round < 2; round++) {
    h = Math.imul(h ^ h >>> 16, 0x85ebca6b)
    h = Math.imul(h ^ h >>> 13, 0xc2b2ae35)
    h = h ^ h >>> 16 ^ position
  }
  return (h >>> 0) / 2 ** 32
}

/** Index of the largest value, the lowest on a tie. */
export function argmax (values: RealArray): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if ((values[i] ?? NaN) > (values[best] ?? NaN)) best = i
  return best
}

/** Logit of the last token that the smallest set with a probability of at least `topP` needs. */
function topPThreshold (descending: Float64Array, topP: number): number {
  const largest = descending[0] ?? NaN
  const weights = descending.map(logit => Math.exp(logit - largest))
  const enough = topP * weights.reduce((a, b) => a + b, 0)
  let cumulative = 0
  const last = weights.findIndex(weight => (cumulative += weight) >= enough)
  return descending[last] ?? -Infinity
}

function keptDescending (kept: Uint8Array, adjusted: Float64Array): Float64Array {
  return adjusted.filter((_, token) => kept[token] === 1).sort().reverse()
}

function dropBelow (kept: Uint8Array, adjusted: Float64Array, threshold: number): void {
  for (let token = 0; token < kept.length; token++) if ((adjusted[token] ?? NaN) < threshold) kept[token] = 0
}

function softmaxOf (adjusted: Float64Array, kept: Uint8Array): Float64Array {
  const largest = adjusted.reduce((a, b) => Math.max(a, b), -Infinity)
  const weights = adjusted.map((logit, token) => kept[token] === 1 ? Math.exp(logit - largest) : 0)
  const sum = weights.reduce((a, b) => a + b, 0)
  return weights.map(weight => weight / sum)
}
