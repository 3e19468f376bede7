import { matmul } from './matmul.ts'
import type { RealArray } from './real-array.ts'

/** silu(gate) · up, element by element, with silu(x) = x / (1 + e⁻ˣ). */
export function siluGate (gate: RealArray, up: RealArray): Float64Array {
  return Float64Array.from(gate, (x, i) => x / (1 + Math.exp(-x)) * (up[i] ?? NaN))
}

/** gelu(gate) · up with GELU's tanh form, 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))). */
export function geluGate (gate: RealArray, up: RealArray): Float64Array {
  return Float64Array.from(gate, (x, i) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))) * (up[i] ?? NaN))
}

export interface GatedMlpWeights {
  /** `[intermediateSize, hiddenSize]` */
  readonly gate: RealArray
  /** `[intermediateSize, hiddenSize]` */
  readonly up: RealArray
  /** `[hiddenSize, intermediateSize]` */
  readonly down: RealArray
}

/** down(silu(gate(x)) · up(x)) for x `[numTokens, hiddenSize]`. */
export function gatedMlp (x: RealArray, weights: GatedMlpWeights, hiddenSize: number): Float64Array {
  const activated = siluGate(matmul(x, weights.gate, hiddenSize), matmul(x, weights.up, hiddenSize))
  return matmul(activated, weights.down, weights.gate.length / hiddenSize)
}
