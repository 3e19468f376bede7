import { siluGate } from './gated-mlp.ts'
import { matmul } from './matmul.ts'
import type { RealArray } from './real-array.ts'

export interface RoutingRule {
  readonly numExperts: number
  readonly expertsPerToken: number
  readonly normalizeTopK: boolean
}

/** The experts of every token, `[numTokens, expertsPerToken]`, the most likely first, and their weights. */
export interface Routing {
  /** `[numTokens, numExperts]` */
  readonly logits: Float64Array
  readonly chosen: Uint32Array
  readonly share: Float64Array
}

/**
 * Softmax over all experts of x · routerᵀ, then the most likely ones; of equals the one with the lower number. As in
 * transformers' MixtralTopKRouter and Qwen3MoeSparseMoeBlock, whose order among equals is not defined.
 */
export function routeExperts (x: RealArray, router: RealArray, hiddenSize: number, { numExperts, expertsPerToken, normalizeTopK }: RoutingRule): Routing {
  const logits = matmul(x, router, hiddenSize)
  const numTokens = x.length / hiddenSize
  const chosen = new Uint32Array(numTokens * expertsPerToken)
  const share = new Float64Array(numTokens * expertsPerToken)
  for (let token = 0; token < numTokens; token++) {
    const own = logits.subarray(token * numExperts, (token + 1) * numExperts)
    const largest = Math.max(...own)
    const total = own.reduce((sum, logit) => sum + Math.exp(logit - largest), 0)
    const ranked = [...own.keys()].sort((a, b) => (own[b] ?? NaN) - (own[a] ?? NaN) || a - b).slice(0, expertsPerToken)
    const probabilities = ranked.map(expert => Math.exp((own[expert] ?? NaN) - largest) / total)
    const ofChosen = normalizeTopK ? probabilities.reduce((sum, p) => sum + p, 0) : 1
    chosen.set(ranked, token * expertsPerToken)
    share.set(probabilities.map(p => p / ofChosen), token * expertsPerToken)
  }
  return { logits, chosen, share }
}

/** gelu(gate) · up, element by element, with gelu's approximation by tanh. */
export function geluTanhGate (gate: RealArray, up: RealArray): Float64Array {
  return Float64Array.from(gate, (x, i) => x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))) * (up[i] ?? NaN))
}

export const gates = { silu: siluGate, 'gelu-tanh': geluTanhGate } as const

/** One entry an expert. */
export interface ExpertWeightsReference {
  /** `[intermediateSize, hiddenSize]` each */
  readonly gate: readonly RealArray[]
  /** `[intermediateSize, hiddenSize]` each */
  readonly up: readonly RealArray[]
  /** `[hiddenSize, intermediateSize]` each */
  readonly down: readonly RealArray[]
}

/** Σ over the experts of a token of share · down(activation(gate(x)) · up(x)), for x `[numTokens, hiddenSize]`. */
export function expertMlp (x: RealArray, weights: ExpertWeightsReference, { chosen, share }: Pick<Routing, 'chosen' | 'share'>, hiddenSize: number, activation: keyof typeof gates): Float64Array {
  const out = new Float64Array(x.length)
  const expertsPerToken = chosen.length / (x.length / hiddenSize)
  for (const [pair, expert] of chosen.entries()) {
    const token = Math.floor(pair / expertsPerToken)
    const [gate, up, down] = [weights.gate[expert], weights.up[expert], weights.down[expert]]
    if (gate === undefined || up === undefined || down === undefined) throw new RangeError(`there is no expert ${expert}`)
    const row = x.subarray(token * hiddenSize, (token + 1) * hiddenSize)
    const activated = gates[activation](matmul(row, gate, hiddenSize), matmul(row, up, hiddenSize))
    const y = matmul(activated, down, activated.length)
    for (const [column, value] of y.entries()) out[token * hiddenSize + column] = (out[token * hiddenSize + column] ?? NaN) + (share[pair] ?? NaN) * value
  }
  return out
}
