import { defineKernel } from '../define-kernel.ts'
import { deferredRows, headroom } from './deferred-norm.ts'
import { mmaGridName, mmaGridRows } from './mma-grid.ts'
import type { MmaGrid } from './mma-grid.ts'
import { mmaProduct, mmaProductBytes } from './mma-product.ts'
import { mmaGrid } from './product-table.ts'
import type { ProductKernel } from './product-table.ts'
import type { DeviceCapabilities } from '../../device/device-capabilities.ts'

const bindings = { x: 'read', weight: 'read', norm: 'read', step: 'read', y: 'read_write', row_scales: 'read', normed: 'read_write', row_squares: 'read_write' } as const

export const beforeNormOverrides = ['K', 'OWN_COLUMNS', 'WHICH'] as const

/** Outputs of a lane whose residual stream waits in registers while they are multiplied. */
const MOST_OUTPUTS = 16

export type BeforeNormGrid = Omit<MmaGrid, 'parts'>

/** The grid that stands for a product's kernel before a deferred norm; undefined where it has parts, is none of tensor cores, or does not fit. */
export function beforeNormGrid (kernel: ProductKernel, { maxWorkgroupBytes }: Pick<DeviceCapabilities, 'maxWorkgroupBytes'>): BeforeNormGrid | undefined {
  if (kernel[0] === 'vector') return undefined
  const { parts = 1, ...grid } = mmaGrid(kernel)
  const outputs = grid.rowTiles * grid.columnTiles * Math.ceil(8 / grid.depthGroups)
  // A row's sixteen columns are one subgroup's, and rows are those that there are scales of.
  const fits = parts === 1 && grid.depthGroups <= 16 && deferredRows % mmaGridRows(grid) === 0 && outputs <= MOST_OUTPUTS
  return fits && mmaProductBytes(grid, 1) <= maxWorkgroupBytes ? grid : undefined
}

/**
 * y += x Wᵀ, the residual stream, for up to `deferredRows` rows, and what the product behind the next norm needs (deferred-norm.ts): `normed` `[M][OWN_COLUMNS]`, y times the norm's
 * weight and a scale of each row, and the sum of squares of each 16 columns of y. Shapes as of mma-product.ts; W in one buffer, no bias.
 */
export function mmaBeforeNorm (grid: BeforeNormGrid) {
  const { columnGroups, columnTiles } = grid
  return defineKernel({
    name: `matmul_mma_before_norm_${mmaGridName(grid)}`,
    bindings,
    overrides: beforeNormOverrides,
    wgsl: mmaProduct(grid, {
      title: 'y += x Wᵀ, and what the next norm needs',
      header: `override K: u32;
override OWN_COLUMNS: u32;
override WHICH: u32;         // the next norm: attention's is 0, MLP's 1
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read> row_scales: array<f32>;
@group(0) @binding(6) var<storage, read_write> normed: array<act>;
@group(0) @binding(7) var<storage, read_write> row_squares: array<f32>;

/** Past the last column tile, the last again. */
fn column_tile(group: u32, n: u32) -> u32 { return min(group * ${columnGroups * columnTiles}u + n, OWN_COLUMNS / 16u - 1u); }
fn column_vector(group: u32, n: u32, row: u32) -> u32 { return column_tile(group, n) * (K / 16u) * 32u + row * 2u; }`,
      rows: 'num_tokens()',
      streams: 1,
      perTile: 256,
      wholeSubgroups: true,
      // The residual stream, and what is left of it, are asked for first: behind the product they would be waited for. The branch keeps the driver from asking later.
      ahead: (n, element, row0, tile) => `let m_${n} = m0 + ${row0} + (${element}) / 16u;
  let own_${n} = (${tile}) * 16u + (${element}) % 16u;
  var old_${n} = 0.0;
  var weight_${n} = 0.0;
  var scale_${n} = 0.0;
  if (own_${n} < OWN_COLUMNS) {
    old_${n} = y[m_${n} * OWN_COLUMNS + own_${n}];
    weight_${n} = norm[own_${n}];
    scale_${n} = row_scales[(1u - WHICH) * ${deferredRows}u + m_${n}];
  }`,
      store: (sum, n) => `let inside = mine && m_${n} < tokens && tile < own_tiles;
      let v = old_${n} + (${sum(0, 'element')});
      if (inside) {
        let at = m_${n} * OWN_COLUMNS + own_${n};
        y[at] = v;
        normed[at] = act(clamp(v * weight_${n} * (scale_${n} * ${headroom}), -ACT_MAX, ACT_MAX));
      }
      // The sixteen lanes of a row.
      var square = v * v;
      square += subgroupShuffleXor(square, 1u);
      square += subgroupShuffleXor(square, 2u);
      square += subgroupShuffleXor(square, 4u);
      square += subgroupShuffleXor(square, 8u);
      if (inside && element % 16u == 0u) { row_squares[m_${n} * own_tiles + tile] = square; }`
    })
  })
}
