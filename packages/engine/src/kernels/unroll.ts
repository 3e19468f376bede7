/** WGSL has no unroll attribute, and accumulators indexed by a loop variable spill to memory: hot loops are written out as text. */
export function unroll (count: number, line: (index: number) => string): string {
  return Array.from({ length: count }, (_, index) => line(index)).join('\n')
}
