import { defineKernel } from '../define-kernel.ts'
import { behindNormBindings, behindNormHeader, behindNormOverrides, rowFactors } from './deferred-norm.ts'
import { mmaGridName } from './mma-grid.ts'
import type { MmaGrid } from './mma-grid.ts'
import { mmaProduct, mmaProductBytes } from './mma-product.ts'
import type { MmaOutputs } from './mma-product.ts'
import { rotaryHeader, rotaryOverrides, storeRotated } from './rotary-outputs.ts'

const bindings = { x: 'read', weight: 'read', bias: 'read', step: 'read', rotation: 'read', q: 'read_write', kv: 'read_write' } as const

export type MmaRotaryGrid = Omit<MmaGrid, 'parts'>

/**
 * Queries, keys and values of normalised tokens to where attention reads them: the projection and rope_kv_write in one dispatch. x `[M][K]` f16, padded
 * to the workgroup's rows; W as in gemv-rotary.ts. Staged, each column tile is made of two half tiles of the weight, eight pairs of outputs that turn together;
 * streamed, tiles come as they are, and two whose outputs turn together are stored together.
 */
export function mmaRotary (grid: MmaRotaryGrid) {
  return defineKernel({
    name: `matmul_mma_rotary_${mmaGridName(grid)}`,
    bindings,
    overrides: rotaryOverrides,
    wgsl: mmaProduct(grid, rotaryOutputs(grid))
  })
}

/** The same behind a deferred norm (deferred-norm.ts). @param k K */
export function mmaRotaryBehindNorm (grid: MmaRotaryGrid, k: number) {
  const { asked, added } = rowFactors(grid, k)
  const { header, store, perTile, ...outputs } = rotaryOutputs(grid)
  return defineKernel({
    name: `matmul_mma_rotary_${mmaGridName(grid)}_behind_norm_${k}`,
    bindings: { ...bindings, ...behindNormBindings },
    overrides: [...rotaryOverrides, ...behindNormOverrides],
    wgsl: mmaProduct(grid, {
      ...outputs,
      perTile,
      header: header + behindNormHeader(grid, Object.keys(bindings).length),
      begin: asked,
      waited: added,
      store: (sum, n) => `let factor = row_factors[row0 + element / ${perTile / 16}u];
      ${store((stream, index) => `(${sum(stream, index)}) * factor`, n)}`
    })
  })
}

function rotaryOutputs (grid: MmaRotaryGrid): MmaOutputs {
  return grid.weights === 'staged' ? halfTiles(grid) : pairsOfTiles(grid)
}

/** The nearest grid whose subgroups have both tiles of a pair: one that streams weights has an even number of column tiles. */
export function mmaRotaryGrid (grid: MmaRotaryGrid): MmaRotaryGrid {
  const { weights, columnGroups, columnTiles } = grid
  return weights === 'staged' || columnTiles % 2 === 0 ? grid : { ...grid, columnGroups: Math.ceil(columnGroups / 2), columnTiles: 2 * columnTiles }
}

/** Bytes of workgroup memory. */
export function mmaRotaryBytes (grid: MmaRotaryGrid): number {
  return mmaProductBytes(grid, grid.weights === 'staged' ? 1 : 2)
}

const title = 'q, k and v, rotated and written'
const header = `${rotaryHeader('vec4<u32>')}
@group(0) @binding(4) var<storage, read> rotation: array<vec2<f32>>; // [position][D/2] cos, sin
@group(0) @binding(5) var<storage, read_write> q: array<act>;        // [token][q head][D]
@group(0) @binding(6) var<storage, read_write> kv: array<elem>;      // [block][k|v][KV head][slot][D]

/** Past the last column tile, or pair of such, the last again. */
`

/** Turns pair `e` of eight pairs, by their number among all, and writes it for row `m`. */
const turned = (eight: string, a: string, b: string): string => `let record = token_record(m);
        var turned = vec2<f32>(1.0, 0.0);
        if (turns(${eight})) { turned = rotation[turn_index(${eight}, record.position, e)]; }
        ${storeRotated(eight, 'e', `(${a})`, `(${b})`)}`

function halfTiles ({ columnGroups, columnTiles }: MmaRotaryGrid): MmaOutputs {
  return {
    title,
    header: `${header}fn column_vector(group: u32, n: u32, row: u32) -> u32 {
  return pair_row(min(group * ${columnGroups * columnTiles}u + n, OWN_COLUMNS / 16u - 1u), row);
}`,
    rows: 'num_tokens()',
    streams: 1,
    perTile: 128,
    store: sum => `let m = m0 + row0 + element / 8u;
      if (m < tokens && tile < own_tiles) {
        let e = element % 8u;
        let at = element / 8u * 16u + e;
        ${turned('tile', sum(0, 'at'), sum(0, 'at + 8u'))}
      }`
  }
}

function pairsOfTiles ({ columnGroups, columnTiles }: MmaRotaryGrid): MmaOutputs {
  return {
    title,
    header: `${header}fn column_tile(group: u32, n: u32) -> u32 {
  let pair = min(group * ${columnGroups * columnTiles / 2}u + n / 2u, OWN_COLUMNS / 32u - 1u);
  let half = head_tiles() / 2u;
  return pair * 2u - pair % half + n % 2u * half;
}`,
    rows: 'num_tokens()',
    streams: 2,
    perTile: 256,
    store: sum => `let m = m0 + row0 + element / 16u;
      if (m < tokens && tile < own_tiles / 2u) {
        let e = element % 8u;
        let eight = tile * 2u + element % 16u / 8u;
        ${turned('eight', sum(0, 'element'), sum(1, 'element'))}
      }`
  }
}
