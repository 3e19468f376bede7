import type { GpuDevice } from '../device/gpu-device.ts'
import type { LoadProgress, StorageType } from '../engine.ts'
import type { WeightLayout } from '../kernels/matmul/weight-layout.ts'
import type { PipelineCache } from '../kernels/pipeline-cache.ts'
import { checkTensors, specifiedTensor } from '../weights/check-tensors.ts'
import { WeightUploader } from '../weights/weight-uploader.ts'
import type { DecoderWeights } from './decoder-weights.ts'
import { decoderTensors } from './decoder-tensors.ts'
import type { TensorSpec } from './decoder-tensors.ts'
import { makeDecoder } from './make-decoder.ts'
import type { OpenModel } from './open-model.ts'
import { listTensors } from './tensor-list.ts'

export interface WeightTarget {
  readonly device: GpuDevice
  readonly pipelines: PipelineCache
  readonly storage: StorageType
  readonly layout: WeightLayout
  readonly onProgress: (progress: LoadProgress) => void
}

/**
 * Streams a model's weights to the device.
 * @throws InvalidCheckpointError, WeightRangeError, OutOfDeviceMemoryError
 */
export async function loadDecoder ({ config, source }: OpenModel, target: WeightTarget): Promise<DecoderWeights> {
  checkTensors(source, config)
  const { device, pipelines, storage, layout, onProgress } = target
  const stored = listTensors(decoderTensors(config)).map(({ name }) => source.tensors.get(name)?.byteLength ?? 0)
  const total = stored.reduce((sum, bytes) => sum + bytes, 0)
  let done = 0
  const uploader = new WeightUploader(device, pipelines, storage, layout, bytes => {
    done += bytes
    onProgress({ stage: 'weights', done: Math.round(done), total, detail: 'bytes of weights uploaded' })
  })
  const tensors = (specs: readonly TensorSpec[]) => specs.map(spec => specifiedTensor(source, spec))
  const weights = await makeDecoder(config, {
    linear: (label, specs, gated) => uploader.upload(label, tensors(specs), gated),
    experts: (label, experts, gated) => uploader.uploadExperts(label, experts.map(tensors), gated),
    values: (label, _kind, specs, offset) => uploader.uploadValues(label, tensors(specs), offset)
  })
  await uploader.finish()
  return weights
}
