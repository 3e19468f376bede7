import type { RealArray } from './real-array.ts'

export interface MatmulEpilogue {
  /** `[outSize]`, added to every row. */
  readonly bias?: RealArray
  /** `[numRows, outSize]`, added element by element. */
  readonly residual?: RealArray
}

/**
 * y = x · Wᵀ (+ bias) (+ residual): x `[numRows, inSize]`, W `[outSize, inSize]` row-major as Hugging Face stores it,
 * y `[numRows, outSize]`. Accumulates in float64.
 */
export function matmul (x: RealArray, weight: RealArray, inSize: number, epilogue: MatmulEpilogue = {}): Float64Array {
  const numRows = x.length / inSize
  const outSize = weight.length / inSize
  const out = new Float64Array(numRows * outSize)
  for (let column = 0; column < outSize; column++) {
    for (let row = 0; row < numRows; row++) {
      out[row * outSize + column] = dot(x, row * inSize, weight, column * inSize, inSize)
    }
  }
  const { bias, residual } = epilogue
  if (bias !== undefined) for (let i = 0; i < out.length; i++) out[i] = (out[i] ?? NaN) + (bias[i % outSize] ?? NaN)
  if (residual !== undefined) for (let i = 0; i < out.length; i++) out[i] = (out[i] ?? NaN) + (residual[i] ?? NaN)
  return out
}

/** Sum of `a[aStart + i] · b[bStart + i]`; four partial sums, because a whole model runs through this loop. */
export function dot (a: RealArray, aStart: number, b: RealArray, bStart: number, length: number): number {
  let sum0 = 0
  let sum1 = 0
  let sum2 = 0
  let sum3 = 0
  let i = 0
  for (; i + 4 <= length; i += 4) {
    sum0 += (a[aStart + i] ?? NaN) * (b[bStart + i] ?? NaN)
    sum1 += (a[aStart + i + 1] ?? NaN) * (b[bStart + i + 1] ?? NaN)
    sum2 += (a[aStart + i + 2] ?? NaN) * (b[bStart + i + 2] ?? NaN)
    sum3 += (a[aStart + i + 3] ?? NaN) * (b[bStart + i + 3] ?? NaN)
  }
  for (; i < length; i++) sum0 += (a[aStart + i] ?? NaN) * (b[bStart + i] ?? NaN)
  return sum0 + sum1 + (sum2 + sum3)
}
