import type { RealArray } from './real-array.ts'

/**
 * y[t, c] = x[t, c] / sqrt(mean_c(x²) + eps) · weight[c], for every row of `x` `[numTokens, hiddenSize]`;
 * `weight.length` is the hidden size.
 */
export function rmsNorm (x: RealArray, weight: RealArray, eps: number): Float64Array {
  const hiddenSize = weight.length
  const out = new Float64Array(x.length)
  for (let row = 0; row < x.length; row += hiddenSize) {
    let squares = 0
    for (let column = 0; column < hiddenSize; column++) squares += (x[row + column] ?? NaN) ** 2
    const scale = 1 / Math.sqrt(squares / hiddenSize + eps)
    for (let column = 0; column < hiddenSize; column++) {
      out[row + column] = (x[row + column] ?? NaN) * scale * (weight[column] ?? NaN)
    }
  }
  return out
}

/** Adds `x` to `residual` in place, then normalises the sum: how every norm but a model's first reads its input. */
export function addRmsNorm (residual: Float64Array, x: RealArray, weight: RealArray, eps: number): Float64Array {
  for (let i = 0; i < residual.length; i++) residual[i] = (residual[i] ?? NaN) + (x[i] ?? NaN)
  return rmsNorm(residual, weight, eps)
}
