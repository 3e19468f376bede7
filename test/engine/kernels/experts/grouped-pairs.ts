/** The pairs in the order of their experts, and tiles of at most `rows` of one expert each: what group_experts.wgsl must make. */
export interface GroupedPairs {
  readonly pairs: number[]
  readonly tiles: number[][]
}

export function groupedPairs (chosen: ArrayLike<number>, numExperts: number, rows: number): GroupedPairs {
  const pairs: number[] = []
  const tiles: number[][] = []
  for (let expert = 0; expert < numExperts; expert++) {
    const own = Array.from(chosen, (e, pair) => e === expert ? pair : -1).filter(pair => pair !== -1)
    for (let i = 0; i < own.length; i += rows) tiles.push([expert, pairs.length + i, Math.min(rows, own.length - i), 0])
    pairs.push(...own)
  }
  return { pairs, tiles }
}

/** The tiles as the kernels read them: their number first. */
export function tileWords (tiles: readonly number[][]): number[] {
  return [tiles.length, 0, 0, 0, ...tiles.flat()]
}
