import type { RealArray } from './real-array.ts'

/** One layer's KV buffer: `[block][k|v][kvHead][slot][headDim]`. */
export interface PagedKVShape {
  readonly numBlocks: number
  /** Tokens per block. */
  readonly blockSize: number
  readonly numKVHeads: number
  readonly headDim: number
}

export type KeyOrValue = 'key' | 'value'

/** Elements in one layer's buffer. */
export function pagedKVLength ({ numBlocks, blockSize, numKVHeads, headDim }: PagedKVShape): number {
  return numBlocks * 2 * numKVHeads * blockSize * headDim
}

/** `blockId · blockSize + offset` of the token at `position`. */
export function slotOf (blockTable: readonly number[], position: number, blockSize: number): number {
  const block = blockTable[Math.floor(position / blockSize)]
  if (block === undefined) throw new RangeError(`position ${position} lies beyond a table of ${blockTable.length} blocks`)
  return block * blockSize + position % blockSize
}

/** Index of the first of a slot's `headDim` elements. */
export function pagedKVStart (shape: PagedKVShape, slot: number, which: KeyOrValue, kvHead: number): number {
  const { blockSize, numKVHeads, headDim } = shape
  const block = Math.floor(slot / blockSize)
  const plane = block * 2 + (which === 'key' ? 0 : 1)
  return ((plane * numKVHeads + kvHead) * blockSize + slot % blockSize) * headDim
}

/**
 * Writes `keys` (already rotated) and `values`, both `[numTokens, numKVHeads, headDim]`, into `cache`; token t goes to
 * `slotMapping[t]`. Nothing else in `cache` changes.
 */
export function writePagedKV (
  cache: Float64Array, shape: PagedKVShape, keys: RealArray, values: RealArray, slotMapping: readonly number[]
): void {
  const { numKVHeads, headDim } = shape
  slotMapping.forEach((slot, token) => {
    for (let kvHead = 0; kvHead < numKVHeads; kvHead++) {
      const from = (token * numKVHeads + kvHead) * headDim
      cache.set(keys.subarray(from, from + headDim), pagedKVStart(shape, slot, 'key', kvHead))
      cache.set(values.subarray(from, from + headDim), pagedKVStart(shape, slot, 'value', kvHead))
    }
  })
}
