import type { GpuDevice } from '../../device/gpu-device.ts'
import type { LinearWeight } from '../../weights/linear-weight.ts'
import { fastVariants } from './fast-variants.ts'
import type { FastVariantsOptions } from './fast-variants.ts'
import { fmaMatmul } from './fma-matmul.ts'
import { MANY_COLUMNS } from './matmul-variant.ts'
import type { MatmulVariant } from './matmul-variant.ts'
import { mmaFlat } from './mma-flat.ts'
import { mmaTile, mmaTileColumns, mmaTileRows } from './mma-tile.ts'
import { isGated } from './weight-layout.ts'
import type { Epilogue } from './weight-layout.ts'

/**
 * The kernels that may compute a weight's products, by ascending number of rows they are for. With `deterministic` all of one
 * weight's variants sum in the same order, so which one runs is a matter of speed alone.
 */
export function matmulVariants (weight: Pick<LinearWeight, 'k' | 'columns' | 'layout'>, epilogue: Epilogue, device: GpuDevice, deterministic: boolean, options: FastVariantsOptions = {}): MatmulVariant[] {
  const { capabilities, report } = device
  if (weight.layout === 'interleaved') return capabilities.software ? softwareVariants(epilogue) : fmaVariants(weight.k, epilogue)
  return deterministic
    ? orderedVariants(weight.columns, weight.k, epilogue, report.subgroupMaxSize)
    : fastVariants(weight.columns, weight.k, epilogue, capabilities, options)
}

/**
 * A software adapter has a few wide cores: a thread a column, K uncut and no barrier is fastest. Four rows a thread run at 4.0 GFLOP/s
 * on two cores, eight at 3.4.
 */
function softwareVariants (epilogue: Epilogue): MatmulVariant[] {
  return [1, 2, 4].map(rows => ({
    kernel: fmaMatmul({ rows, columns: 32, splits: 1, parallelSplits: false, rolled: true, epilogue }),
    rows,
    columns: 32,
    upTo: rows === 4 ? Infinity : rows
  }))
}

function fmaVariants (k: number, epilogue: Epilogue): MatmulVariant[] {
  const splits = Math.min(8, Math.max(1, Math.floor(k / 64)))
  const few = [1, 2, 4, 8].map(rows => ({
    kernel: fmaMatmul({ rows, columns: 32, splits, parallelSplits: true, epilogue }),
    rows,
    columns: 32,
    upTo: rows === 8 ? 32 : rows
  }))
  return [...few, { kernel: fmaMatmul({ rows: 16, columns: 64, splits, parallelSplits: false, epilogue }), rows: 16, columns: 64, upTo: Infinity }]
}

/**
 * Parts K is cut into on tensor cores, by the weight's shape alone: enough to fill the device with a few rows, whole steps of two
 * tiles each, so that every kernel can cut there.
 */
export function mmaSplits (columns: number, k: number): number {
  if (columns >= MANY_COLUMNS) return 1
  return [8, 4, 2].find(splits => (k / 16) % (2 * splits) === 0) ?? 1
}

/** True when every product of a model with these inner and outer sizes can run on 16 × 16 × 16 tiles. */
export function fitsMma (sizes: readonly number[]): boolean {
  return sizes.every(size => size % 32 === 0)
}

/**
 * One order of summation for all. The choices were measured on an H200 (docs/decisions/2026-11-21-tensor-core-products.md): few rows
 * are bound by the weight's bytes and take flat kernels with many loads in flight; from a few hundred rows on staging through
 * workgroup memory pays.
 */
function orderedVariants (columns: number, k: number, epilogue: Epilogue, subgroup: number): MatmulVariant[] {
  const splits = mmaSplits(columns, k)
  const teams = splits === 1 ? 2 : 1
  const flat = (rowTiles: number, columnTiles: number, ahead: number, upTo: number): MatmulVariant => ({
    kernel: mmaFlat({ rowTiles, columnTiles, splits, teams, ahead, subgroup, epilogue }),
    rows: 16 * rowTiles,
    columns: 16 * columnTiles * teams,
    upTo
  })
  const tile = (columnTiles: number): MatmulVariant => ({
    kernel: mmaTile({ splits, columnTiles, subgroup, epilogue }),
    rows: mmaTileRows,
    columns: mmaTileColumns(columnTiles, epilogue),
    upTo: Infinity
  })
  if (splits === 1) return [flat(1, 2, 4, 16), flat(2, 2, 2, 32), flat(4, 2, 2, 64), tile(4)]
  const gated = isGated(epilogue)
  const wide = gated || columns <= 2048 ? 1 : 2
  return [flat(1, wide, k >= 4096 ? 8 : 4, 16), flat(2, wide, 4, 32), flat(gated ? 2 : 4, 1, 2, 128), tile(2)]
}
