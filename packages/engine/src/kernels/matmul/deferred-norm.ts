import { mmaGridRows, mmaGridThreads } from './mma-grid.ts'
import type { MmaGrid } from './mma-grid.ts'

/**
 * A norm between two products, without a dispatch of its own: rows of x are divided by their root mean square, which is a factor of each row of a product, too. So the product before
 * (mma-before-norm.ts) leaves its rows times the norm's weight, and their sums of squares; the one behind multiplies its sums by a factor of each row.
 *
 * What is left has to be f16, and how large a row will be is not known while its columns are computed: they are scaled by the inverse root mean square that the row had at the norm
 * before this one, and by `headroom`: an element 45 times the root mean square, which is all of a row of 2,048, is clamped only where the row has grown more than 23,000 times since
 * (divided by the norm's weight); and what is a thousandth of it, or more if it has shrunk, has fewer than eleven bits, as all that small have that f16 adds to what is large.
 */

/** Most rows of a step whose norms are deferred. */
export const deferredRows = 128

/** 2⁻⁴: normalised values of 1 become 2⁻⁴, and f16 holds up to 2¹⁶, in full from 2⁻¹⁴ on. */
export const headroom = '0.0625'

/** f32 of `row_scales`, `[attention's norm | MLP's][row]`: inverse root mean squares. */
export const rowScalesLength = 2 * deferredRows

/** f32 of `row_squares`, `[row][column tile]`: sums of squares of the norm that was left last. */
export function rowSquaresLength (hiddenSize: number): number {
  return deferredRows * hiddenSize / 16
}

/** Bindings and overrides that a kernel behind a deferred norm has more. */
export const behindNormBindings = { row_squares: 'read', row_scales: 'read_write' } as const
export const behindNormOverrides = ['EPS', 'WHICH'] as const

/** Vectors of squares that a lane holds while the first operands come. */
const MOST_VECTORS = 8

/** Lanes that add up a row's squares. */
function lanesOfRow (grid: MmaGrid): number {
  return Math.min(grid.subgroup, mmaGridThreads(grid) / mmaGridRows(grid))
}

/** True where a workgroup has the lanes to add up its rows' squares, four column tiles at a time, and its rows are those that there are scales of. */
export function fitsBehindNorm (grid: MmaGrid, k: number): boolean {
  return Math.log2(lanesOfRow(grid)) % 1 === 0 && lanesOfRow(grid) >= 1 && deferredRows % mmaGridRows(grid) === 0 && k % 64 === 0 && k / 64 / lanesOfRow(grid) <= MOST_VECTORS
}

/** Declarations of a kernel behind a deferred norm, of `row_factors` of its workgroup's rows among them. */
export function behindNormHeader (grid: MmaGrid, binding: number): string {
  return `
override EPS: f32;
override WHICH: u32;         // the norm that was left: attention's is 0, MLP's 1
@group(0) @binding(${binding}) var<storage, read> row_squares: array<vec4<f32>>;
@group(0) @binding(${binding + 1}) var<storage, read_write> row_scales: array<f32>;
var<workgroup> row_factors: array<f32, ${mmaGridRows(grid)}>;
`
}

/**
 * Adds up the squares of the workgroup's rows; one of the workgroups that share rows leaves their inverse root mean squares to the next norm. `asked` stands before the loads of
 * operands and `added` behind the first of them: whoever waits for one load waits for all, and so waits once.
 * @param k known beforehand, so that each lane's loads are: 64 columns each
 */
export function rowFactors (grid: MmaGrid, k: number): { readonly asked: string, readonly added: string } {
  const rows = mmaGridRows(grid)
  const lanes = lanesOfRow(grid)
  const vectors = k / 64
  const own = Array.from({ length: Math.ceil(vectors / lanes) }, (_, i) => i)
  const at = (i: number): string => `square_lane + ${i * lanes}u`
  const masks = Array.from({ length: Math.log2(lanes) }, (_, i) => 2 ** i)
  return {
    asked: `let factor_row = min(thread / ${lanes}u, ${rows - 1}u);
  let square_lane = thread % ${lanes}u;
  ${own.map(i => `let squares_${i} = row_squares[(m0 + factor_row) * ${vectors}u + ${(i + 1) * lanes > vectors ? `min(${at(i)}, ${vectors - 1}u)` : at(i)}];`).join('\n  ')}
  let scale_before = row_scales[(1u - WHICH) * ${deferredRows}u + m0 + factor_row];`,
    added: `{
    var sum = ${own.map(i => (i + 1) * lanes > vectors ? `select(0.0, dot(squares_${i}, vec4<f32>(1.0)), ${at(i)} < ${vectors}u)` : `dot(squares_${i}, vec4<f32>(1.0))`).join(' + ')};
    ${masks.map(mask => `sum += subgroupShuffleXor(sum, ${mask}u);`).join('\n    ')}
    let inverse = inverseSqrt(sum / ${k}.0 + EPS);
    if (square_lane == 0u && thread < ${rows * lanes}u) {
      row_factors[factor_row] = inverse / (scale_before * ${headroom});
      if (wg.y == 0u) { row_scales[WHICH * ${deferredRows}u + m0 + factor_row] = inverse; }
    }
  }`
  }
}
