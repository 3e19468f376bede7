/**
 * How a weight `[N][K]` lies in its buffer, by the family of matrix kernels that reads it.
 * - `interleaved`: `[K/4][N]` vectors of 4 along K. Neighbouring threads own neighbouring outputs and load neighbouring vectors.
 * - `tiled`: `[N/16][K/16]` tiles of 16 outputs × 16 inputs, 512 contiguous bytes each, the shape of one tensor-core operand.
 */
export type WeightLayout = 'interleaved' | 'tiled'

/** The layout's number in the `LAYOUT` override of embedding.wgsl and repack.wgsl. */
export const layoutNumber: Readonly<Record<WeightLayout, number>> = { interleaved: 0, tiled: 1 }

/** Rows a layout pads N to. */
export function paddedRows (layout: WeightLayout, rows: number): number {
  return layout === 'tiled' ? Math.ceil(rows / 16) * 16 : rows
}

/** Which output the kernel of a linear writes, and how. */
export type Epilogue =
  /** y[m, n] = sum, f32. */
  | 'store'
  /** y[m, n] += sum, f32: the residual stream. */
  | 'residual'
  /** y[m, n] = silu(sum of row n) · (sum of row n + N/2), stored as `act`: gate and up projections in one weight. */
  | 'silu-gate'
