import { defineKernel } from '../define-kernel.ts'
import { behindNormBindings, behindNormHeader, behindNormOverrides, rowFactors } from './deferred-norm.ts'
import { matmulBindings, matmulHeader, matmulOverrides, storeOutput } from './matmul-interface.ts'
import { mmaGridColumns, mmaGridName } from './mma-grid.ts'
import type { MmaGrid } from './mma-grid.ts'
import { mmaProduct, mmaProductBytes } from './mma-product.ts'
import type { MmaOutputs } from './mma-product.ts'
import { isGated } from './weight-layout.ts'
import type { Epilogue } from './weight-layout.ts'

export interface MmaLinearShape extends MmaGrid {
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

/** Output columns of a workgroup. */
export function mmaLinearColumns (shape: MmaLinearShape): number {
  return mmaGridColumns(shape) / (isGated(shape.epilogue) ? 2 : 1)
}

/** Bytes of workgroup memory. */
export function mmaLinearBytes (shape: MmaLinearShape): number {
  return mmaProductBytes(shape, isGated(shape.epilogue) ? 2 : 1)
}

/**
 * y = x Wᵀ on tensor cores: mma-product.ts with an epilogue. Where nothing but the sum is stored, accumulators start from y (residual) and go
 * straight back to it; rows of y that pad a tile are written, too.
 * With several parts y is `[part][partRows][COLUMNS]` f32, and whoever reads it adds them up: few outputs of a long K are then
 * computed in wide tiles, whose workgroups read x less often, and still fill the device. There is no bias, scale or residual then.
 */
export function mmaLinear (shape: MmaLinearShape) {
  return defineKernel({ name: nameOf(shape), bindings: matmulBindings, overrides: matmulOverrides, wgsl: mmaProduct(shape, linearOutputs(shape)) })
}

/** The same, K whole, behind a deferred norm (deferred-norm.ts): sums are multiplied by a factor of each row first. @param k K */
export function mmaLinearBehindNorm (shape: Omit<MmaLinearShape, 'parts'>, k: number) {
  const { asked, added } = rowFactors(shape, k)
  const { header, store, direct: _direct, ...outputs } = linearOutputs(shape)
  return defineKernel({
    name: `${nameOf(shape)}_behind_norm_${k}`,
    bindings: { ...matmulBindings, ...behindNormBindings },
    overrides: [...matmulOverrides, ...behindNormOverrides],
    wgsl: mmaProduct(shape, {
      ...outputs,
      header: header + behindNormHeader(shape, Object.keys(matmulBindings).length),
      begin: asked,
      waited: added,
      store: (sum, n) => `let factor = row_factors[row0 + element / 16u];
      ${store((stream, index) => `(${sum(stream, index)}) * factor`, n)}`
    })
  })
}

function nameOf (shape: MmaLinearShape): string {
  return `matmul_mma_${shape.epilogue}_${mmaGridName(shape)}`
}

function linearOutputs (shape: MmaLinearShape): MmaOutputs {
  const { columnGroups, depthGroups, columnTiles, parts = 1, epilogue } = shape
  const gated = isGated(epilogue)
  const part = parts > 1 ? `wg.z * ${partRows(parts)}u + ` : ''
  const at = (row0: string, tile: string): string => `(${part}m0 + ${row0}) * COLUMNS + FIRST_COLUMN + (${tile}) * 16u`
  return {
    title: `y = x Wᵀ, epilogue ${epilogue}`,
    header: `${matmulHeader(epilogue, 'vec4<u32>', 'vec4<u32>')}

/** Past the last column tile, the last again. */
fn column_tile(group: u32, n: u32) -> u32 {
  let own_tiles = OWN_COLUMNS / 16u;
  ${gated
? `return min(group * ${columnGroups * columnTiles / 2}u + n / 2u, own_tiles - 1u) + n % 2u * own_tiles;`
: `return min(group * ${columnGroups * columnTiles}u + n, own_tiles - 1u);`}
}
fn column_vector(group: u32, n: u32, row: u32) -> u32 { return column_tile(group, n) * (K / 16u) * 32u + row * 2u; }`,
    rows: 'select(num_tokens(), num_logit_rows(), LOGIT_ROWS)',
    streams: gated ? 2 : 1,
    perTile: 256,
    store: sum => `let m = m0 + row0 + element / 16u;
      let own = tile * 16u + element % 16u;
      if (m < tokens && own < OWN_COLUMNS) {
        ${parts > 1
? `y[(${part}m) * COLUMNS + FIRST_COLUMN + own] = ${sum(0, 'element')};`
: storeOutput(epilogue, 'm', 'FIRST_COLUMN + own', stream => `(${sum(stream, 'element')})`)}
      }`,
    ...!gated && depthGroups === 1
      ? {
          direct: {
            // Rows of logits are not padded, and finishing touches need elements.
            condition: parts > 1 ? 'true' : '!LOGIT_ROWS && !BIAS && SCALE == 1.0 && SOFTCAP == 0.0',
            begin: (accumulator, row0, tile, order) => epilogue === 'residual' && parts === 1
              ? `${accumulator} = subgroupMatrixLoad<subgroup_matrix_result<f32, 16, 16>, ${order}>(&y, ${at(row0, tile)}, COLUMNS);`
              : '',
            end: (accumulator, row0, tile, order) => `subgroupMatrixStore<${order}>(&y, ${at(row0, tile)}, ${accumulator}, COLUMNS);`,
            always: parts > 1
          }
        }
      : {}
  }
}
