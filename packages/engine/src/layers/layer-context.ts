import type { GpuDevice } from '../device/gpu-device.ts'
import type { AttentionTileShape } from '../kernels/attention/attention-tile.ts'
import type { PipelineCache } from '../kernels/pipeline-cache.ts'
import type { ModelConfig } from '../models/model-config.ts'
import type { ActivationBuffers } from './activation-buffers.ts'

/** What every layer of a model is built from. */
export interface LayerContext {
  readonly device: GpuDevice
  readonly pipelines: PipelineCache
  readonly config: ModelConfig
  readonly buffers: ActivationBuffers
  readonly blockSize: number
  readonly tile: AttentionTileShape
}
