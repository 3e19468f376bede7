import type { GpuDevice } from '../device/gpu-device.ts'
import type { Dispatch } from '../kernels/command-list.ts'
import { deferredRows, rowScalesLength, rowSquaresLength } from '../kernels/matmul/deferred-norm.ts'
import { rowPadding } from '../kernels/matmul/matmul-interface.ts'
import { mmaBeforeNorm } from '../kernels/matmul/mma-before-norm.ts'
import type { BeforeNormGrid, beforeNormOverrides } from '../kernels/matmul/mma-before-norm.ts'
import { mmaGridColumns, mmaGridRows } from '../kernels/matmul/mma-grid.ts'
import { partRows } from '../kernels/matmul/mma-linear.ts'
import { rmsNorm, rmsNormSummed } from '../kernels/model-kernels.ts'
import type { PipelineCache } from '../kernels/pipeline-cache.ts'
import { normThreads } from '../layers/norms.ts'
import { fillWithRandom } from '../weights/random-values.ts'

export interface NormBehindParts {
  readonly pipelines: PipelineCache
  /** Of f32. */
  readonly fills: PipelineCache
  readonly x: GPUBuffer
  /** `[rows][columns]` f32, or the sums of parts: what the measured product writes. */
  readonly product: GPUBuffer
  readonly step: GPUBuffer
  readonly rows: number
  readonly columns: number
  readonly k: number
  /** Whoever calls it owns the buffer. */
  readonly create: (label: string, bytes: number) => Promise<GPUBuffer>
}

export interface NormBehind {
  /** The norm that reads a product of so many parts into the residual stream: adding them up takes time there, the more the more there are. */
  readonly apart: (parts: number) => Promise<Dispatch>
  /** The product itself, which leaves the norm to the one behind it (deferred-norm.ts). */
  readonly deferred: (grid: BeforeNormGrid, weight: GPUBuffer) => Promise<Dispatch>
}

/** What stands behind a product into the residual stream, to be timed with it. */
export async function createNormBehind (gpu: GpuDevice, { pipelines, fills, x, product, step, rows, columns, k, create }: NormBehindParts): Promise<NormBehind> {
  const padded = Math.ceil(rows / rowPadding) * rowPadding
  const residual = await create('tuned residual', 4 * padded * columns)
  const weight = await create('tuned norm', 4 * columns)
  await fillWithRandom(gpu, weight, 'f32', 1, 2, fills)
  const y = await create('tuned norm', 2 * padded * columns)
  const [rowScales, rowSquares] = [await create('tuned row scales', 4 * rowScalesLength), await create('tuned row squares', 4 * rowSquaresLength(columns))]
  await fillWithRandom(gpu, rowScales, 'f32', 1, 2, fills)
  const overrides = { HIDDEN_SIZE: columns, EPS: 1e-5, GATHER: 0, THREADS: normThreads({ device: gpu }, columns), LEFT_AT: 0, LEFT_ROWS: deferredRows }
  return {
    async apart (parts) {
      const grid = [rows, 1, 1] as const
      if (parts === 1) {
        const norm = await pipelines.get(rmsNorm, overrides)
        return { label: 'norm', pipeline: norm.gpu, bindGroup: norm.bind({ x: product, weight, step, y, row_scales: rowScales }), grid }
      }
      const norm = await pipelines.get(rmsNormSummed, { ...overrides, PARTS: parts, PART_ROWS: partRows(parts) })
      return { label: 'norm', pipeline: norm.gpu, bindGroup: norm.bind({ x: residual, sums: product, weight, step, y, row_scales: rowScales }), grid }
    },
    async deferred (grid, matrix) {
      const pipeline = await pipelines.get(mmaBeforeNorm(grid), beforeNormSettings(k, columns))
      return {
        label: 'product before a norm',
        pipeline: pipeline.gpu,
        bindGroup: pipeline.bind({ x, weight: matrix, norm: weight, step, y: residual, row_scales: rowScales, normed: y, row_squares: rowSquares }),
        grid: [Math.ceil(rows / mmaGridRows(grid)), Math.ceil(columns / mmaGridColumns(grid)), 1]
      }
    }
  }
}

/** Overrides of a product before a norm, as it is timed. */
export function beforeNormSettings (k: number, columns: number): Record<typeof beforeNormOverrides[number], number> {
  return { K: k, OWN_COLUMNS: columns, WHICH: 0 }
}
