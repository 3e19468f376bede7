import { defineKernel } from '../define-kernel.ts'
import { mmaGridName, mmaProduct } from './mma-product.ts'
import type { MmaGrid } from './mma-product.ts'
import { rotaryHeader, rotaryOverrides, storeRotated } from './rotary-outputs.ts'

const bindings = { x: 'read', weight: 'read', bias: 'read', step: 'read', rotation: 'read', q: 'read_write', kv: 'read_write' } as const

/**
 * Queries, keys and values of normalised tokens to where attention reads them: the projection and rope_kv_write in one dispatch. x `[M][K]` f16, padded
 * to the workgroup's rows; W as in gemv-rotary.ts, of whose column tiles each holds eight pairs of outputs that turn together.
 */
export function mmaRotary (grid: Omit<MmaGrid, 'parts'>) {
  const { columnGroups, columnTiles } = grid
  return defineKernel({
    name: `matmul_mma_rotary_${mmaGridName(grid)}`,
    bindings,
    overrides: rotaryOverrides,
    wgsl: mmaProduct(grid, {
      title: 'q, k and v, rotated and written',
      header: `${rotaryHeader('vec4<u32>')}
@group(0) @binding(4) var<storage, read> rotation: array<vec2<f32>>; // [position][D/2] cos, sin
@group(0) @binding(5) var<storage, read_write> q: array<act>;        // [token][q head][D]
@group(0) @binding(6) var<storage, read_write> kv: array<elem>;      // [block][k|v][KV head][slot][D]

/** Past the last column tile, the last again. */
fn column_vector(group: u32, n: u32, row: u32) -> u32 {
  return pair_row(min(group * ${columnGroups * columnTiles}u + n, OWN_COLUMNS / 16u - 1u), row);
}`,
      rows: 'num_tokens()',
      streams: 1,
      perTile: 128,
      store: sum => `let m = m0 + row0 + element / 8u;
      if (m < tokens && tile < own_tiles) {
        let record = token_record(m);
        let e = element % 8u;
        let at = element / 8u * 16u + e;
        var turned = vec2<f32>(1.0, 0.0);
        if (turns(tile)) { turned = rotation[turn_index(tile, record.position, e)]; }
        ${storeRotated('tile', 'e', `(${sum(0, 'at')})`, `(${sum(0, 'at + 8u')})`)}
      }`
    })
  })
}
