import { dot } from './matmul.ts'
import { pagedKVStart, slotOf } from './paged-kv.ts'
import type { PagedKVShape } from './paged-kv.ts'
import type { RealArray } from './real-array.ts'

/** One sequence's queries: `numTokens` consecutive rows, the first at absolute position `startPosition`. */
export interface AttendingSequence {
  readonly startPosition: number
  readonly numTokens: number
  /** Physical block ids; covers at least `startPosition + numTokens` tokens. */
  readonly blockTable: readonly number[]
}

export interface AttentionVariation {
  /** Keys a query sees, itself included; undefined: all before it. */
  readonly window?: number
  /** Scores become softcap · tanh(score / softcap). */
  readonly softcap?: number
}

/**
 * Causal attention over paged keys and values, for any mix of prefill chunks and decodes: the query at absolute position p
 * reads positions 0 to p of its own sequence. Query head h reads KV head floor(h · numKVHeads / numHeads).
 *
 * query `[numTokens of all sequences, numHeads, headDim]`, rows in the order of `sequences`; the result has the same shape.
 * Scores are scaled by 1 / sqrt(headDim). The keys and values of the queried tokens themselves are already in `cache`.
 */
export function pagedAttention (
  query: RealArray, cache: RealArray, shape: PagedKVShape, numHeads: number, sequences: readonly AttendingSequence[],
  { window = Infinity, softcap }: AttentionVariation = {}
): Float64Array {
  const { blockSize, numKVHeads, headDim } = shape
  const out = new Float64Array(query.length)
  let row = 0
  for (const { startPosition, numTokens, blockTable } of sequences) {
    const slots = Array.from({ length: startPosition + numTokens }, (_, position) => slotOf(blockTable, position, blockSize))
    for (let token = 0; token < numTokens; token++, row++) {
      const visible = slots.slice(Math.max(0, startPosition + token + 1 - window), startPosition + token + 1)
      for (let head = 0; head < numHeads; head++) {
        const kvHead = Math.floor(head * numKVHeads / numHeads)
        const start = (row * numHeads + head) * headDim
        const scores = visible.map(slot => {
          const score = dot(query, start, cache, pagedKVStart(shape, slot, 'key', kvHead), headDim) / Math.sqrt(headDim)
          return softcap === undefined ? score : softcap * Math.tanh(score / softcap)
        })
        const weights = softmax(scores)
        visible.forEach((slot, position) => {
          const valueStart = pagedKVStart(shape, slot, 'value', kvHead)
          for (let i = 0; i < headDim; i++) {
            out[start + i] = (out[start + i] ?? NaN) + (weights[position] ?? NaN) * (cache[valueStart + i] ?? NaN)
          }
        })
      }
    }
  }
  return out
}

function softmax (scores: readonly number[]): readonly number[] {
  const largest = scores.reduce((a, b) => Math.max(a, b), -Infinity)
  const exponentials = scores.map(score => Math.exp(score - largest))
  const sum = exponentials.reduce((a, b) => a + b, 0)
  return exponentials.map(exponential => exponential / sum)
}
