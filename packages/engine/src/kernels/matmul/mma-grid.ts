/** How a workgroup of a tensor-core product is laid out. */
export interface MmaGrid {
  /**
   * How the weight reaches the tensor cores: `staged` through workgroup memory, by loads of 16 bytes, which all of the workgroup's rows share; `streamed` straight
   * from storage, which needs no barrier, and leaves workgroup memory to x. The former is for many rows, the latter for few.
   */
  readonly weights: 'staged' | 'streamed'
  /** Subgroups side by side along rows of x, along output columns, and along K. */
  readonly rowGroups: number
  readonly columnGroups: number
  readonly depthGroups: number
  /** Tiles of 16 × 16 a subgroup accumulates: rows × columns. Gated, a gate and its up tile count as two columns. */
  readonly rowTiles: number
  readonly columnTiles: number
  /** K staged at a time, a multiple of 16 · depthGroups. */
  readonly depth: number
  /** Parts K is cut into, each by workgroups of its own; default 1. */
  readonly parts?: number
  readonly subgroup: number
}

/** Rows of x a workgroup serves. */
export function mmaGridRows ({ rowGroups, rowTiles }: Pick<MmaGrid, 'rowGroups' | 'rowTiles'>): number {
  return 16 * rowGroups * rowTiles
}

/** Rows of W a workgroup serves. */
export function mmaGridColumns ({ columnGroups, columnTiles }: Pick<MmaGrid, 'columnGroups' | 'columnTiles'>): number {
  return 16 * columnGroups * columnTiles
}

export function mmaGridThreads ({ rowGroups, columnGroups, depthGroups, subgroup }: MmaGrid): number {
  return rowGroups * columnGroups * depthGroups * subgroup
}

/** What tells the names of kernels apart. */
export function mmaGridName ({ weights, rowGroups, columnGroups, depthGroups, rowTiles, columnTiles, depth, parts = 1 }: MmaGrid): string {
  return `${weights}_g${rowGroups}x${columnGroups}x${depthGroups}_t${rowTiles}x${columnTiles}_k${depth}${parts > 1 ? `_p${parts}` : ''}`
}
