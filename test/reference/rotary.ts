import type { RealArray } from './real-array.ts'

/**
 * Angle per position of each rotated pair: theta^(-2i / headDim), i < headDim / 2. A model with rope scaling replaces these.
 * Hugging Face computes them and the angles in float32, so at position p its angles are off by up to p · 2⁻²⁴.
 */
export function rotaryFrequencies (headDim: number, theta: number): Float64Array {
  return Float64Array.from({ length: headDim / 2 }, (_, i) => theta ** (-2 * i / headDim))
}

/**
 * Rotary embedding as Hugging Face's Llama applies it: in every head, element i pairs with element i + headDim / 2.
 * x `[numTokens, numHeads, headDim]`; `positions[t]` is token t's absolute position; `frequencies.length` is headDim / 2.
 */
export function rotary (x: RealArray, positions: readonly number[], frequencies: Float64Array): Float64Array {
  const half = frequencies.length
  const tokenSize = x.length / positions.length
  const out = new Float64Array(x.length)
  positions.forEach((position, token) => {
    for (let i = 0; i < half; i++) {
      const angle = position * (frequencies[i] ?? NaN)
      const cos = Math.cos(angle)
      const sin = Math.sin(angle)
      for (let head = token * tokenSize; head < (token + 1) * tokenSize; head += 2 * half) {
        const first = x[head + i] ?? NaN
        const second = x[head + half + i] ?? NaN
        out[head + i] = first * cos - second * sin
        out[head + half + i] = second * cos + first * sin
      }
    }
  })
  return out
}
