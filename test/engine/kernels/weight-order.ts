import { paddedRows } from '../../../packages/engine/src/kernels/matmul/weight-layout.ts'
import type { WeightLayout } from '../../../packages/engine/src/kernels/matmul/weight-layout.ts'
import type { RealArray } from '../../reference/real-array.ts'

/** Where element (row, column) of a weight `[rows][k]` lies, by the definition of the layouts in weight-layout.ts. */
export function weightIndex (layout: WeightLayout, rows: number, k: number, row: number, column: number): number {
  if (layout === 'interleaved') return (Math.floor(column / 4) * rows + row) * 4 + column % 4
  const tile = Math.floor(row / 16) * (k / 16) + Math.floor(column / 16)
  return tile * 256 + row % 16 * 16 + column % 16
}

/** A row-major weight in the order of `layout`; rows that only pad are `padding`. */
export function inLayout (weight: RealArray, k: number, layout: WeightLayout, padding = 0): Float64Array {
  const rows = weight.length / k
  const out = new Float64Array(paddedRows(layout, rows) * k).fill(padding)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < k; column++) out[weightIndex(layout, rows, k, row, column)] = weight[row * k + column] ?? NaN
  }
  return out
}
