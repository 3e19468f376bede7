import type { GpuDevice } from '../device/gpu-device.ts'
import type { Dispatch } from '../kernels/command-list.ts'
import { partRows } from '../kernels/matmul/mma-linear.ts'
import { rmsNorm, rmsNormSummed } from '../kernels/model-kernels.ts'
import type { PipelineCache } from '../kernels/pipeline-cache.ts'
import { normThreads } from '../layers/norms.ts'

export interface NormBehindParts {
  readonly pipelines: PipelineCache
  /** `[rows][columns]` f32, or the sums of parts: what the measured product writes. */
  readonly product: GPUBuffer
  readonly step: GPUBuffer
  readonly rows: number
  readonly columns: number
  /** Whoever calls it owns the buffer. */
  readonly create: (label: string, bytes: number) => Promise<GPUBuffer>
}

/**
 * The norm that reads a product into the residual stream, to be timed with it: adding up parts takes time there, the more the more parts there are.
 * @returns its dispatch for a product of so many parts
 */
export async function createNormBehind (gpu: GpuDevice, { pipelines, product, step, rows, columns, create }: NormBehindParts): Promise<(parts: number) => Promise<Dispatch>> {
  const residual = await create('tuned residual', 4 * rows * columns)
  const weight = await create('tuned norm', 4 * columns)
  const y = await create('tuned norm', 2 * rows * columns)
  const overrides = { HIDDEN_SIZE: columns, EPS: 1e-5, GATHER: 0, THREADS: normThreads({ device: gpu }, columns) }
  return async parts => {
    const grid = [rows, 1, 1] as const
    if (parts === 1) {
      const norm = await pipelines.get(rmsNorm, overrides)
      return { label: 'norm', pipeline: norm.gpu, bindGroup: norm.bind({ x: product, weight, step, y }), grid }
    }
    const norm = await pipelines.get(rmsNormSummed, { ...overrides, PARTS: parts, PART_ROWS: partRows(parts) })
    return { label: 'norm', pipeline: norm.gpu, bindGroup: norm.bind({ x: residual, sums: product, weight, step, y }), grid }
  }
}
