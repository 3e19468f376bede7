import { matmul } from './matmul.ts'
import type { RealArray } from './real-array.ts'

/** silu(gate) · up, element by element, with silu(x) = x / (1 + e⁻ˣ). */
export function siluGate (gate: RealArray, up: RealArray): Float64Array {
  return Float64Array.from(gate, (x, i) => x / (1 + Math.exp(-x)) * (up[i] ?? NaN))
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
