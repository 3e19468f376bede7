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

/**
 * Which output the kernel of a linear writes, and how. A bias is added to each sum first; `scale` multiplies what `store` and
 * `residual` write, and a soft-cap c makes it c · tanh(v / c).
 */
export type Epilogue =
  /** y[m, n] = v, f32. */
  | 'store'
  /** y[m, n] += v, f32: the residual stream. */
  | 'residual'
  /** y[m, n] = silu(v of row n) · (v of row n + N/2), stored as `act`: gate and up projections in one weight. */
  | 'silu-gate'
  /** The same with the tanh form of GELU. */
  | 'gelu-gate'

export function isGated (epilogue: Epilogue): boolean {
  return epilogue === 'silu-gate' || epilogue === 'gelu-gate'
}

/** What gates an MLP of this activation. */
export function gateEpilogue (activation: 'silu' | 'gelu-tanh'): 'silu-gate' | 'gelu-gate' {
  return activation === 'silu' ? 'silu-gate' : 'gelu-gate'
}
