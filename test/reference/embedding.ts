import type { RealArray } from './real-array.ts'

/** Rows of `table` `[vocabSize, hiddenSize]` for `tokens`: `[numTokens, hiddenSize]`. */
export function embedding (table: RealArray, tokens: readonly number[], hiddenSize: number): Float64Array {
  const out = new Float64Array(tokens.length * hiddenSize)
  tokens.forEach((token, row) => {
    for (let column = 0; column < hiddenSize; column++) {
      out[row * hiddenSize + column] = table[token * hiddenSize + column] ?? NaN
    }
  })
  return out
}
