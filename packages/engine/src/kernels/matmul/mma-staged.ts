import { defineKernel } from '../define-kernel.ts'
import { unroll } from '../unroll.ts'
import { matmulBindings, matmulHeader, matmulOverrides, storeOutput } from './matmul-interface.ts'
import { isGated } from './weight-layout.ts'
import type { Epilogue } from './weight-layout.ts'

/** How a workgroup of a staged tensor-core product is laid out. */
export interface MmaStagedShape {
  /** Subgroups side by side along rows of x, along output columns, and along K. */
  readonly rowGroups: number
  readonly columnGroups: number
  readonly depthGroups: number
  /** Tiles of 16 × 16 a subgroup accumulates: rows × columns. Gated, a gate and its up tile count as two columns. */
  readonly rowTiles: number
  readonly columnTiles: number
  /** K staged at a time, a multiple of 16 · depthGroups. */
  readonly depth: number
  /** Parts K is cut into, each by workgroups of its own that leave their sums side by side; default 1. */
  readonly parts?: number
  readonly subgroup: number
  readonly epilogue: Epilogue
}

/** Rows of sums that there is room for, of all parts together: with more rows a device is full without parts. */
export const partSumRows = 1024
/** Parts at most. */
export const mostParts = 8

/** Rows of a part's sums, the most that a product in so many parts has. */
export function partRows (parts: number): number {
  return partSumRows / parts
}

/** Rows of x a workgroup serves. */
export function mmaStagedRows ({ rowGroups, rowTiles }: MmaStagedShape): number {
  return 16 * rowGroups * rowTiles
}

/** Output columns of a workgroup. */
export function mmaStagedColumns ({ columnGroups, columnTiles, epilogue }: MmaStagedShape): number {
  return 16 * columnGroups * columnTiles / (isGated(epilogue) ? 2 : 1)
}

/** Bytes of workgroup memory: both operands' stage, and a tile (gated: two) of f32 for every subgroup. */
export function mmaStagedBytes (shape: MmaStagedShape): number {
  const { rowGroups, columnGroups, depthGroups, rowTiles, columnTiles, depth, epilogue } = shape
  const pitch = depth / 8 + 1
  return 16 * pitch * 16 * (rowGroups * rowTiles + columnGroups * columnTiles) + rowGroups * columnGroups * depthGroups * (isGated(epilogue) ? 2 : 1) * 1024
}

/**
 * y = x Wᵀ on tensor cores, both operands staged through workgroup memory: x `[M][K]` f16 (rows padded to the workgroup's), W tiled
 * f16, f32 accumulation. The next stage is loaded into registers before the present one is multiplied, so that memory latency
 * passes behind the products.
 *
 * With one depth group an accumulator takes all of K in ascending order: the form for many rows. With several, each takes every
 * `depthGroups`-th step of 16 and their sums are added in ascending order: the flat form, where few rows leave no other
 * parallelism. Where nothing but the sum is stored, accumulators start from y (residual) and go straight back to it.
 * With several parts y is `[part][partRows][COLUMNS]` f32, and whoever reads it adds them up: few outputs of a long K are then
 * computed in wide tiles, whose workgroups read x less often, and still fill the device. There is no bias, scale or residual then.
 * Dispatched with x over row tiles, so that workgroups that run together share W, and parts last. Rows of y that pad a tile are written too.
 * Bytes: ceil(M/rows)·N·K + ceil(N/columns)·M·K halves; operations 2·M·N·K.
 * @see FlashDecoding++ (Hong et al. 2023) part 2. Differs: the double buffer is in registers. Two stages in workgroup memory, with one
 * barrier a step, were slower.
 */
export function mmaStaged (shape: MmaStagedShape) {
  const { rowGroups, columnGroups, depthGroups, rowTiles, columnTiles, depth, parts = 1, subgroup, epilogue } = shape
  const gated = isGated(epilogue)
  const threads = rowGroups * columnGroups * depthGroups * subgroup
  const pitch = depth / 8 + 1
  const rowVectors = 16 * rowGroups * rowTiles * depth / 8
  const columnVectors = 16 * columnGroups * columnTiles * depth / 8
  const xStage = 16 * rowGroups * rowTiles * pitch
  const wStage = 16 * columnGroups * columnTiles * pitch
  const pieces = (vectors: number, line: (n: number, e: string) => string): string =>
    unroll(Math.ceil(vectors / threads), n => {
      const guarded = (n + 1) * threads > vectors
      return `{ let e = thread + ${n * threads}u; ${guarded ? `if (e < ${vectors}u) { ${line(n, 'e')} }` : line(n, 'e')} }`
    })
  const load = (kt: string): string => `
      ${pieces(rowVectors, (n, e) => `next_x_${n} = x[(m0 + ${e} / ${depth / 8}u) * (K / 8u) + (${kt}) * 2u + ${e} % ${depth / 8}u];`)}
      ${pieces(columnVectors, (n, e) => `next_w_${n} = weight[(column_tile(wg.y, ${e} / ${2 * depth}u) * k_tiles + (${kt})) * 32u + ${e} % ${2 * depth}u];`)}`
  const stage = `
      ${pieces(rowVectors, (n, e) => `tile_x[${e} / ${depth / 8}u * ${pitch}u + ${e} % ${depth / 8}u] = next_x_${n};`)}
      ${pieces(columnVectors, (n, e) => `tile_w[(${e} / ${2 * depth}u * 16u + (${e} % 32u) / 2u) * ${pitch}u + (${e} % ${2 * depth}u) / 32u * 2u + ${e} % 2u] = next_w_${n};`)}`
  const multiply = unroll(depth / 16 / depthGroups, u => `{
        let k16 = ${u * depthGroups}u${depthGroups > 1 ? ' + depth_group' : ''};
        ${unroll(columnTiles, j => `let b_${j} = subgroupMatrixLoad<subgroup_matrix_right<f16, 16, 16>, col_major>(&tile_w, (column_group * ${columnTiles}u + ${j}u) * ${16 * pitch}u + k16 * 2u, ${pitch}u);`)}
        ${unroll(rowTiles, i => `let a_${i} = subgroupMatrixLoad<subgroup_matrix_left<f16, 16, 16>, row_major>(&tile_x, (row_group * ${rowTiles}u + ${i}u) * ${16 * pitch}u + k16 * 2u, ${pitch}u);
        ${unroll(columnTiles, j => `acc_${i}_${j} = subgroupMatrixMultiplyAccumulate(a_${i}, b_${j}, acc_${i}_${j});`)}`)}
      }`)
  const [firstTile, endTile] = parts > 1 ? ['wg.z * part_tiles', '(wg.z + 1u) * part_tiles'] : ['0u', 'k_tiles']
  const loop = `
    for (var kt = ${firstTile}; kt < ${endTile}; kt += ${depth / 16}u) {
      workgroupBarrier();
      ${stage}
      workgroupBarrier();
      if (kt + ${depth / 16}u < ${endTile}) { ${load(`kt + ${depth / 16}u`)} }
      ${multiply}
    }`

  const tiles = Array.from({ length: rowTiles }, (_, i) => Array.from({ length: columnTiles }, (_, j) => ({ i, j }))).flat()
  const streams = gated ? 2 : 1
  const perLane = Math.ceil(256 / depthGroups / subgroup)
  const staged = (stream: number, d: number): string => `stage[((sg / ${depthGroups}u * ${depthGroups}u + ${d}u) * ${streams}u + ${stream}u) * 256u + element]`
  // One tile (gate and up together) after the other passes through workgroup memory: a matrix' elements cannot be reached otherwise.
  const finish = tiles.filter(({ j }) => !gated || j % 2 === 0).map(({ i, j }) => `
    workgroupBarrier();
    ${unroll(streams, s => `subgroupMatrixStore<row_major>(&stage, (sg * ${streams}u + ${s}u) * 256u, acc_${i}_${j + s}, 16u);`)}
    workgroupBarrier();
    ${unroll(perLane, q => `{
      let element = ${depthGroups > 1 ? `depth_group * ${256 / depthGroups}u + ` : ''}lane + ${q * subgroup}u;
      let m = m0 + (row_group * ${rowTiles}u + ${i}u) * 16u + element / 16u;
      let own = (wg.y * ${columnGroups * columnTiles / streams}u + column_group * ${columnTiles / streams}u + ${j / streams}u) * 16u + element % 16u;
      ${unroll(streams, s => `let total_${s} = ${Array.from({ length: depthGroups }, (_, d) => staged(s, d)).join(' + ')};`)}
      if (${256 / depthGroups < subgroup ? `lane < ${256 / depthGroups}u && ` : ''}m < tokens && own < OWN_COLUMNS) { ${storeOutput(epilogue, 'm', 'FIRST_COLUMN + own', s => `total_${s}`)} }
    }`)}`).join('\n')
  const canStoreDirectly = !gated && depthGroups === 1
  const at = (i: number, j: number): string => `(${parts > 1 ? `wg.z * ${partRows(parts)}u + ` : ''}m0 + (row_group * ${rowTiles}u + ${i}u) * 16u) * COLUMNS + FIRST_COLUMN + (wg.y * ${columnGroups * columnTiles}u + column_group * ${columnTiles}u + ${j}u) * 16u`
  const inRange = (j: number): string => `wg.y * ${columnGroups * columnTiles}u + column_group * ${columnTiles}u + ${j}u < own_tiles`

  return defineKernel({
    name: `matmul_mma_staged_${epilogue}_g${rowGroups}x${columnGroups}x${depthGroups}_t${rowTiles}x${columnTiles}_k${depth}${parts > 1 ? `_p${parts}` : ''}`,
    bindings: matmulBindings,
    overrides: matmulOverrides,
    wgsl: `
// y = x Wᵀ, ${16 * rowGroups * rowTiles} × ${16 * columnGroups * columnTiles} products a workgroup, K in steps of ${depth}, epilogue ${epilogue}; generated by mma-staged.ts
${matmulHeader(epilogue, 'vec4<u32>', 'vec4<u32>')}
var<workgroup> tile_x: array<vec4<u32>, ${xStage}>;
var<workgroup> tile_w: array<vec4<u32>, ${wStage}>;
var<workgroup> stage: array<f32, ${rowGroups * columnGroups * depthGroups * streams * 256}>;

/** Tile of the weight that is the workgroup's n-th; past the last, the last again. */
fn column_tile(group: u32, n: u32) -> u32 {
  let own_tiles = OWN_COLUMNS / 16u;
  ${gated
? `return min(group * ${columnGroups * columnTiles / 2}u + n / 2u, own_tiles - 1u) + n % 2u * own_tiles;`
: `return min(group * ${columnGroups * columnTiles}u + n, own_tiles - 1u);`}
}

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let tokens = select(num_tokens(), num_logit_rows(), LOGIT_ROWS);
  let m0 = wg.x * ${16 * rowGroups * rowTiles}u;
  let sg = thread / ${subgroup}u;
  let lane = thread % ${subgroup}u;
  let depth_group = sg % ${depthGroups}u;
  let row_group = sg / ${depthGroups}u % ${rowGroups}u;
  let column_group = sg / ${depthGroups * rowGroups}u;
  let k_tiles = K / 16u;
  let own_tiles = OWN_COLUMNS / 16u;
  ${parts > 1 ? `let part_tiles = k_tiles / ${parts}u;` : ''}
  // Rows of logits are not padded, and finishing touches need elements.
  let direct = ${parts > 1 ? 'true' : canStoreDirectly ? '!LOGIT_ROWS && !BIAS && SCALE == 1.0 && SOFTCAP == 0.0' : 'false'};
  ${tiles.map(({ i, j }) => `var acc_${i}_${j}: subgroup_matrix_result<f32, 16, 16>;`).join('\n')}
  ${canStoreDirectly && epilogue === 'residual' && parts === 1
? `if (direct) {
    ${tiles.map(({ i, j }) => `if (${inRange(j)}) { acc_${i}_${j} = subgroupMatrixLoad<subgroup_matrix_result<f32, 16, 16>, row_major>(&y, ${at(i, j)}, COLUMNS); }`).join('\n')}
  }`
: ''}
  ${unroll(Math.ceil(rowVectors / threads), n => `var next_x_${n}: vec4<u32>;`)}
  ${unroll(Math.ceil(columnVectors / threads), n => `var next_w_${n}: vec4<u32>;`)}
  ${load(firstTile)}
  ${loop}
  ${canStoreDirectly
? `if (direct) {
    ${tiles.map(({ i, j }) => `if (${inRange(j)}) { subgroupMatrixStore<row_major>(&y, ${at(i, j)}, acc_${i}_${j}, COLUMNS); }`).join('\n')}
    return;
  }`
: ''}
  ${parts > 1 ? '' : finish}
}
`
  })
}
