import type { DeviceCapabilities } from '../../device/device-capabilities.ts'
import { defineKernel } from '../define-kernel.ts'
import { unroll } from '../unroll.ts'
import { mmaGridColumns, mmaGridRows } from './mma-grid.ts'
import type { MmaGrid } from './mma-grid.ts'

/** How a workgroup of an int8 tensor-core product is laid out; `depth` is a multiple of step · depthGroups. */
export interface MmaInt8Shape extends Omit<MmaGrid, 'parts' | 'weights'> {
  /** K of one of the adapter's products (DeviceCapabilities.int8MatrixDepth). */
  readonly step: Int8MatrixDepth
}

/** K that a tensor core multiplies at once. */
export type Int8MatrixDepth = NonNullable<DeviceCapabilities['int8MatrixDepth']>

/** Sums of longer K could exceed an i32: 2³¹ over 128². */
export const LONGEST_INT8_K = 131_071

/** Bytes of workgroup memory: both operands' stage, and a tile of i32 for every subgroup. */
export function mmaInt8Bytes (shape: MmaInt8Shape): number {
  const { rowGroups, columnGroups, depthGroups, depth } = shape
  return (mmaGridRows(shape) + mmaGridColumns(shape)) * 16 * pitchOf(depth) + rowGroups * columnGroups * depthGroups * 1024
}

/** Layouts for up to sixteen rows, whose K subgroups share, and for many: 128 × 128 outputs a workgroup, and 128 × 256. */
export function mmaInt8Shapes (step: Int8MatrixDepth): Readonly<Record<'few' | 'many' | 'most', MmaInt8Shape>> {
  return {
    few: { rowGroups: 1, columnGroups: 1, depthGroups: 8, rowTiles: 1, columnTiles: 1, depth: 512, step, subgroup: 32 },
    many: { rowGroups: 2, columnGroups: 2, depthGroups: 1, rowTiles: 4, columnTiles: 4, depth: 64, step, subgroup: 32 },
    most: { rowGroups: 2, columnGroups: 4, depthGroups: 1, rowTiles: 4, columnTiles: 4, depth: 64, step, subgroup: 32 }
  }
}

const bindings = { x: 'read', weight: 'read', scale_x: 'read', scale_w: 'read', step: 'read', y: 'read_write' } as const
const overrides = ['K', 'FIRST_COLUMN', 'COLUMNS', 'OWN_COLUMNS'] as const

/** Sixteen bytes, and sixteen that keep rows eight apart out of each other's banks. */
function pitchOf (depth: number): number {
  return depth / 16 + 1
}

/**
 * y = (x Wᵀ) · scale_x[row] · scale_w[column] on tensor cores: x `[M][K]` and W `[OWN_COLUMNS][K]` signed bytes, both row by row, i32 sums
 * that are exact up to K = LONGEST_INT8_K, y f32 rounded three times: as a sum, and by each scale. quantize_rows makes x and scale_x. K is a
 * multiple of `depth`; rows of x are padded to the workgroup's, columns need not be. A weight may be split over several buffers: its columns
 * begin at FIRST_COLUMN of a row of y, its scales at 0.
 *
 * Staged as in mma-operands.ts: what is next is loaded into registers before what is there is multiplied; with several depth groups each
 * subgroup takes every `depthGroups`-th step, and the sums do not depend on it. Dispatched with x over row tiles.
 * Bytes: ceil(M/rows)·N·K + ceil(N/columns)·M·K; operations 2·M·N·K.
 */
export function mmaInt8 (shape: MmaInt8Shape) {
  const { rowGroups, columnGroups, depthGroups, rowTiles, columnTiles, depth, step, subgroup } = shape
  const [rows, columns] = [mmaGridRows(shape), mmaGridColumns(shape)]
  const threads = rowGroups * columnGroups * depthGroups * subgroup
  const pitch = pitchOf(depth)
  const perRow = depth / 16
  const pieces = (vectors: number, line: (n: number, e: string) => string): string =>
    unroll(Math.ceil(vectors / threads), n => {
      const guarded = (n + 1) * threads > vectors
      return `{ let e = thread + ${n * threads}u; ${guarded ? `if (e < ${vectors}u) { ${line(n, 'e')} }` : line(n, 'e')} }`
    })
  const load = (k: string): string => `
      ${pieces(rows * perRow, (n, e) => `next_x_${n} = x[(m0 + ${e} / ${perRow}u) * row_vectors + ${k} + ${e} % ${perRow}u];`)}
      ${pieces(columns * perRow, (n, e) => `next_w_${n} = weight[min(n0 + ${e} / ${perRow}u, OWN_COLUMNS - 1u) * row_vectors + ${k} + ${e} % ${perRow}u];`)}`
  const stage = `
      ${pieces(rows * perRow, (n, e) => `tile_x[${e} / ${perRow}u * ${pitch}u + ${e} % ${perRow}u] = next_x_${n};`)}
      ${pieces(columns * perRow, (n, e) => `tile_w[${e} / ${perRow}u * ${pitch}u + ${e} % ${perRow}u] = next_w_${n};`)}`
  // Offsets and strides count what the array holds: sixteen bytes.
  const multiply = unroll(depth / step / depthGroups, u => `{
        let at = (${u * depthGroups}u${depthGroups > 1 ? ' + depth_group' : ''}) * ${step / 16}u;
        ${unroll(columnTiles, j => `let b_${j} = subgroupMatrixLoad<subgroup_matrix_right<i8, 16, ${step}>, col_major>(&tile_w, (column_group * ${columnTiles}u + ${j}u) * ${16 * pitch}u + at, ${pitch}u);`)}
        ${unroll(rowTiles, i => `let a_${i} = subgroupMatrixLoad<subgroup_matrix_left<i8, ${step}, 16>, row_major>(&tile_x, (row_group * ${rowTiles}u + ${i}u) * ${16 * pitch}u + at, ${pitch}u);
        ${unroll(columnTiles, j => `acc_${i}_${j} = subgroupMatrixMultiplyAccumulate(a_${i}, b_${j}, acc_${i}_${j});`)}`)}
      }`)
  const tiles = Array.from({ length: rowTiles }, (_, i) => Array.from({ length: columnTiles }, (_, j) => ({ i, j }))).flat()
  const perGroup = 256 / depthGroups
  // One tile after the other passes through workgroup memory: a matrix' elements cannot be reached otherwise.
  const finish = tiles.map(({ i, j }) => `
    workgroupBarrier();
    subgroupMatrixStore<row_major>(&stage, sg * 256u, acc_${i}_${j}, 16u);
    workgroupBarrier();
    ${unroll(Math.ceil(perGroup / subgroup), q => `{
      let element = ${depthGroups > 1 ? `depth_group * ${perGroup}u + ` : ''}lane + ${q * subgroup}u;
      let m = m0 + (row_group * ${rowTiles}u + ${i}u) * 16u + element / 16u;
      let own = n0 + (column_group * ${columnTiles}u + ${j}u) * 16u + element % 16u;
      let total = ${Array.from({ length: depthGroups }, (_, d) => `stage[(sg / ${depthGroups}u * ${depthGroups}u + ${d}u) * 256u + element]`).join(' + ')};
      if (${perGroup < subgroup ? `lane < ${perGroup}u && ` : ''}m < tokens && own < OWN_COLUMNS) { y[m * COLUMNS + FIRST_COLUMN + own] = f32(total) * scale_x[m] * scale_w[own]; }
    }`)}`).join('\n')

  return defineKernel({
    name: `matmul_mma_int8_g${rowGroups}x${columnGroups}x${depthGroups}_t${rowTiles}x${columnTiles}_k${depth}_s${step}`,
    bindings,
    overrides,
    wgsl: `
// y = (x Wᵀ) · scale_x · scale_w, ${rows} × ${columns} products a workgroup, K in steps of ${depth}; generated by mma-int8.ts
override K: u32;
override FIRST_COLUMN: u32;
override COLUMNS: u32;
override OWN_COLUMNS: u32;
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> scale_x: array<f32>;
@group(0) @binding(3) var<storage, read> scale_w: array<f32>;
@group(0) @binding(4) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
var<workgroup> tile_x: array<vec4<u32>, ${rows * pitch}>;
var<workgroup> tile_w: array<vec4<u32>, ${columns * pitch}>;
var<workgroup> stage: array<i32, ${rowGroups * columnGroups * depthGroups * 256}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let tokens = num_tokens();
  let m0 = wg.x * ${rows}u;
  let n0 = wg.y * ${columns}u;
  let sg = thread / ${subgroup}u;
  let lane = thread % ${subgroup}u;
  let depth_group = sg % ${depthGroups}u;
  let row_group = sg / ${depthGroups}u % ${rowGroups}u;
  let column_group = sg / ${depthGroups * rowGroups}u;
  let row_vectors = K / 16u;
  ${tiles.map(({ i, j }) => `var acc_${i}_${j}: subgroup_matrix_result<i32, 16, 16>;`).join('\n')}
  ${unroll(Math.ceil(rows * perRow / threads), n => `var next_x_${n}: vec4<u32>;`)}
  ${unroll(Math.ceil(columns * perRow / threads), n => `var next_w_${n}: vec4<u32>;`)}
  ${load('0u')}
  for (var k = 0u; k < row_vectors; k += ${perRow}u) {
    workgroupBarrier();
    ${stage}
    workgroupBarrier();
    if (k + ${perRow}u < row_vectors) { ${load(`k + ${perRow}u`)} }
    ${multiply}
  }
  ${finish}
}
`
  })
}
