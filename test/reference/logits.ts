import { matmul } from './matmul.ts'
import type { RealArray } from './real-array.ts'

/**
 * Logits of chosen rows: `hidden` `[numTokens, hiddenSize]` (normalised), `head` `[vocabSize, hiddenSize]`, `rows` the token
 * indices that are sampled or scored; out `[rows.length, vocabSize]`.
 */
export function logits (hidden: RealArray, head: RealArray, hiddenSize: number, rows: readonly number[]): Float64Array {
  const gathered = new Float64Array(rows.length * hiddenSize)
  rows.forEach((row, i) => gathered.set(hidden.subarray(row * hiddenSize, (row + 1) * hiddenSize), i * hiddenSize))
  return matmul(gathered, head, hiddenSize)
}
