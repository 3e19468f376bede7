import type { GpuDevice } from '../device/gpu-device.ts'
import type { ProductTable } from '../kernels/matmul/product-table.ts'
import type { PipelineCache } from '../kernels/pipeline-cache.ts'
import type { ModelConfig } from '../models/model-config.ts'
import type { ActivationBuffers } from './activation-buffers.ts'
import type { AttentionPlan } from './attention-plan.ts'

/** What every layer of a model is built from. */
export interface LayerContext {
  readonly device: GpuDevice
  readonly pipelines: PipelineCache
  readonly config: ModelConfig
  readonly buffers: ActivationBuffers
  readonly blockSize: number
  readonly attention: AttentionPlan
  /** Every kernel of a weight sums in one order, whatever the batch. */
  readonly deterministic: boolean
  /** What was measured on this adapter; shapes that it lacks follow rules. */
  readonly products: ProductTable
}
