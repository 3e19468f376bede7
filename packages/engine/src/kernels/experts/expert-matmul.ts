import { defineKernel } from '../define-kernel.ts'
import { unroll } from '../unroll.ts'
import type { ExpertConfig } from './expert-config.ts'

/** What happens to an expert's sums. */
export type ExpertEpilogue =
  /** y[pair, n] = sum, f32. */
  | 'store'
  /** y[pair, n] = activation(sum of gate row n) · (sum of up row n), stored as `act`: no further from zero than that reaches. */
  | `${ExpertConfig['activation']}-gate`

/** Shape of one grouped kernel; every choice but `splits` leaves the bits of the result unchanged. */
export interface ExpertMatmulShape {
  /** Pairs a tile holds at most: the rows each thread accumulates. */
  readonly rows: number
  /** Threads along the outputs in a workgroup: one output column each (two sums with a gate). */
  readonly columns: number
  /** Parts K is cut into. One thread group each when `parallelSplits`, else one after the other in the same thread. */
  readonly splits: number
  readonly parallelSplits: boolean
  readonly epilogue: ExpertEpilogue
}

/** Workgroups along y; tiles beyond it go on along z. */
export const expertTilesAlongY = 32_768

/**
 * y[pair] = x[pair / PAIRS_PER_ROW] · W_eᵀ for every (token, slot) pair, e the pair's expert: x `[row][K]` act, W_e interleaved
 * `[K/4][N]` of 4 `elem` (expert-weights.ts), y `[pair][COLUMNS]` by the epilogue. f32 accumulation by fused multiply-adds.
 *
 * One workgroup computes `columns` outputs of one tile: rows of one expert, wherever they stand in the batch, so a weight loaded
 * once serves all rows of its tile. Tiles come from group_experts.wgsl; the host dispatches as many as there could be, and those
 * that do not exist, or belong to experts of another part, return at once.
 *
 * The order of summation is that of fma-matmul.ts: K in `splits` ranges, a chain of fma in each, the ranges added in ascending
 * order. `splits` depends on the adapter and the weight alone, so a row's bits do not depend on its neighbours, on its place in a
 * tile or on which variant ran (batch invariance).
 *
 * Bytes: N·K·sizeof(elem) for each tile (for each chosen expert when its rows fit one tile), and 4·K a row from the cache.
 * Operations: 2·N·K a pair; rows that a tile lacks are computed and dropped.
 *
 * Products run on the FMA units and not on tensor cores. Few rows are bound by the weights' bytes, where that costs nothing; large
 * prefills are bound by operations, of which an H100 does some 15 times as many per second on tensor cores.
 */
export function expertMatmul (shape: ExpertMatmulShape) {
  const { rows, columns, splits, parallelSplits, epilogue } = shape
  const gated = epilogue !== 'store'
  const streams = gated ? ['g', 'u'] : ['a']
  const depth = parallelSplits ? splits : 1
  const axes = ['x', 'y', 'z', 'w']
  const forRows = (line: (row: number) => string): string => unroll(rows, line)
  const forAll = (line: (stream: string, row: number) => string): string => streams.map(s => forRows(r => line(s, r))).join('\n')

  const accumulateRange = `
    for (var k = from_k; k < to_k; k++) {
      ${streams.map(s => `let w_${s} = vec4<f32>(weight[base + k * n_rows${s === 'u' ? ' + own_columns' : ''}]);`).join('\n')}
      ${forRows(r => `let x_${r} = vec4<f32>(x[at_${r} + k]);`)}
      ${axes.map(axis => forAll((s, r) => `${s}_${r} = fma(w_${s}.${axis}, x_${r}.${axis}, ${s}_${r});`)).join('\n')}
    }`

  const store = (row: number): string => {
    const value = gated ? `act(clamp(activated(total_g_${row}) * total_u_${row}, -ACT_MAX, ACT_MAX))` : `total_a_${row}`
    return `if (own < own_columns && ${row}u < tile.z) { y[pair_${row} * COLUMNS + part[1].x + own] = ${value}; }`
  }

  const serial = `
    ${forAll((s, r) => `var total_${s}_${r} = 0.0;`)}
    for (var split = 0u; split < SPLITS; split++) {
      let from_k = min(split * range, K / 4u);
      let to_k = min(from_k + range, K / 4u);
      ${forAll((s, r) => `var ${s}_${r} = 0.0;`)}
      ${accumulateRange}
      ${forAll((s, r) => `total_${s}_${r} += ${s}_${r};`)}
    }
    ${forRows(store)}`

  const parallel = `
    let split = local.y;
    let from_k = min(split * range, K / 4u);
    let to_k = min(from_k + range, K / 4u);
    ${forAll((s, r) => `var ${s}_${r} = 0.0;`)}
    ${accumulateRange}
    ${streams.map((s, i) => forRows(r => `parts[(${i * rows + r}u * SPLITS + split) * ${columns}u + local.x] = ${s}_${r};`)).join('\n')}
    workgroupBarrier();
    ${forRows(r => `if (split == ${r % depth}u) {
      ${streams.map((s, i) => `var total_${s}_${r} = 0.0;
      for (var i = 0u; i < SPLITS; i++) { total_${s}_${r} += parts[(${i * rows + r}u * SPLITS + i) * ${columns}u + local.x]; }`).join('\n')}
      ${store(r)}
    }`)}`

  return defineKernel({
    name: `expert_matmul_${epilogue}_r${rows}_c${columns}_s${splits}${parallelSplits ? 'p' : ''}`,
    bindings: { x: 'read', weight: 'read', part: 'read', pairs: 'read', tiles: 'read', y: 'read_write' },
    overrides: ['K', 'COLUMNS', 'PAIRS_PER_ROW'],
    wgsl: `
// y[pair] = x[pair / PAIRS_PER_ROW] · W_eᵀ, tiles of ${rows} row(s), ${splits} split(s) of K${parallelSplits ? ' side by side' : ''}, epilogue ${epilogue}; generated by expert-matmul.ts
override K: u32;
override COLUMNS: u32;         // outputs in a row of y
override PAIRS_PER_ROW: u32;   // slots of a token where x holds tokens, 1 where it holds pairs
@group(0) @binding(0) var<storage, read> x: array<act4>;
@group(0) @binding(1) var<storage, read> weight: array<elem4>;
@group(0) @binding(2) var<storage, read> part: array<vec4<u32>>;    // first expert, experts, vectors from one expert to the next, 0; first column, columns, 0, 0
@group(0) @binding(3) var<storage, read> pairs: array<u32>;
@group(0) @binding(4) var<storage, read> tiles: array<vec4<u32>>;   // [0].x = number of tiles, then expert, first index into pairs, pairs, 0
@group(0) @binding(5) var<storage, read_write> y: array<${gated ? 'act' : 'f32'}>;
const SPLITS = ${splits}u;
${parallelSplits ? `var<workgroup> parts: array<f32, ${streams.length * rows * splits * columns}>;` : ''}
${gated ? activationText(epilogue) : ''}

@compute @workgroup_size(${columns}, ${depth})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let index = wg.y + wg.z * ${expertTilesAlongY}u;
  if (index >= tiles[0].x) { return; }
  let tile = tiles[1u + index];
  let expert = tile.x - part[0].x;   // wraps around for experts before the part's first
  if (expert >= part[0].y) { return; }
  let own_columns = part[1].y;
  let n_rows = own_columns${gated ? ' * 2u' : ''};
  let own = wg.x * ${columns}u + local.x;
  let base = expert * part[0].z + min(own, own_columns - 1u);
  let range = (K / 4u + SPLITS - 1u) / SPLITS;
  ${forRows(r => `let pair_${r} = pairs[tile.y + min(${r}u, tile.z - 1u)];
  let at_${r} = pair_${r} / PAIRS_PER_ROW * (K / 4u);`)}
  ${parallelSplits ? parallel : serial}
}
`
  })
}

/** Both as x · sigmoid(…), which overflows nowhere: gelu's (1 + tanh z) / 2 is sigmoid(2z), with z = √(2/π)·(x + 0.044715·x³). */
function activationText (epilogue: Exclude<ExpertEpilogue, 'store'>): string {
  const exponent = epilogue === 'silu-gate' ? 'value' : `${2 * Math.sqrt(2 / Math.PI)} * value * fma(0.044715 * value, value, 1.0)`
  return `fn activated(value: f32) -> f32 { return value / (1.0 + exp(-(${exponent}))); }`
}
