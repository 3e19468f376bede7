import type { GpuDevice } from '../device/gpu-device.ts'
import type { LoadProgress, StorageType } from '../engine.ts'
import { fillRandom } from '../kernels/model-kernels.ts'
import type { WeightLayout } from '../kernels/matmul/weight-layout.ts'
import type { PipelineCache } from '../kernels/pipeline-cache.ts'
import type { LinearWeight } from '../weights/linear-weight.ts'
import { checkLlamaTensors } from '../weights/check-tensors.ts'
import { Checkpoint } from '../weights/checkpoint.ts'
import { allocateLinear } from '../weights/linear-weight.ts'
import { WeightUploader } from '../weights/weight-uploader.ts'
import type { LlamaLayerWeights, LlamaWeights } from './llama.ts'
import { llamaTensors } from './llama-tensors.ts'
import type { TensorSpec } from './llama-tensors.ts'
import type { ModelConfig } from './model-config.ts'

export interface WeightTarget {
  readonly device: GpuDevice
  readonly pipelines: PipelineCache
  readonly storage: StorageType
  readonly layout: WeightLayout
  readonly onProgress: (progress: LoadProgress) => void
}

/** Makes a model's weights, one named tensor group at a time. */
interface WeightMaker {
  linear (label: string, tensors: readonly TensorSpec[], gated: boolean): Promise<LinearWeight>
  vector (label: string, tensor: TensorSpec): Promise<GPUBuffer>
}

async function makeLlama (config: ModelConfig, maker: WeightMaker): Promise<LlamaWeights> {
  const tensors = llamaTensors(config)
  const embedding = await maker.linear('embedding', [tensors.embedding], false)
  const layers: LlamaLayerWeights[] = []
  for (const [i, layer] of tensors.layers.entries()) {
    layers.push({
      attentionNorm: await maker.vector(`attention norm ${i}`, layer.attentionNorm),
      qkv: await maker.linear(`qkv ${i}`, [layer.queryProjection, layer.keyProjection, layer.valueProjection], false),
      output: await maker.linear(`output ${i}`, [layer.outputProjection], false),
      mlpNorm: await maker.vector(`mlp norm ${i}`, layer.mlpNorm),
      gateUp: await maker.linear(`gate up ${i}`, [layer.gateProjection, layer.upProjection], true),
      down: await maker.linear(`down ${i}`, [layer.downProjection], false)
    })
  }
  return {
    embedding,
    layers,
    finalNorm: await maker.vector('final norm', tensors.finalNorm),
    head: tensors.head === tensors.embedding ? embedding : await maker.linear('head', [tensors.head], false)
  }
}

/**
 * Streams a checkpoint's weights to the device.
 * @throws InvalidCheckpointError, WeightRangeError, OutOfDeviceMemoryError
 */
export async function loadLlama (directory: string, config: ModelConfig, target: WeightTarget): Promise<LlamaWeights> {
  await using checkpoint = await Checkpoint.open(directory)
  checkLlamaTensors(checkpoint, config)
  const { device, pipelines, storage, layout, onProgress } = target
  const total = [...checkpoint.tensors.values()].reduce((sum, tensor) => sum + tensor.byteLength, 0)
  let done = 0
  const uploader = new WeightUploader(device, pipelines, storage, layout, bytes => {
    done += bytes
    onProgress({ stage: 'weights', done, total, detail: 'bytes of weights uploaded' })
  })
  const weights = await makeLlama(config, {
    linear: (label, specs, gated) => uploader.upload(label, specs.map(spec => checkpoint.tensor(spec.name)), gated),
    vector: (label, spec) => uploader.uploadVector(label, checkpoint.tensor(spec.name))
  })
  await uploader.finish()
  return weights
}

/** Random weights of a shape, made on the device: matrices of variance 1 / inputs, norms of ones. */
export async function synthesizeLlama (seed: number, config: ModelConfig, target: WeightTarget): Promise<LlamaWeights> {
  const { device, pipelines, storage, layout, onProgress } = target
  let made = 0
  return await makeLlama(config, {
    async linear (label, specs, gated) {
      const k = specs[0]?.shape[1] ?? 0
      const rows = specs.reduce((sum, spec) => sum + (spec.shape[0] ?? 0), 0)
      const weight = await allocateLinear(device, label, { rows, k, gated, storage, layout })
      for (const part of weight.parts) {
        const vectors = Math.floor(part.buffer.size / (storage === 'f16' ? 8 : 16))
        // The difference of two uniform draws has variance 1/6 of its amplitude squared.
        const fill = await pipelines.get(fillRandom, { AMPLITUDE: Math.sqrt(6 / k), SEED: (seed + 7919 * made++) >>> 0, COUNT: vectors })
        const encoder = device.device.createCommandEncoder()
        const pass = encoder.beginComputePass()
        pass.setPipeline(fill.gpu)
        pass.setBindGroup(0, fill.bind({ weight: part.buffer }))
        pass.dispatchWorkgroups(Math.min(16384, Math.ceil(vectors / 256)))
        pass.end()
        device.queue.submit([encoder.finish()])
      }
      onProgress({ stage: 'weights', done: made, total: 0, detail: 'random weights made' })
      return weight
    },
    async vector (label, spec) {
      const values = new Float32Array(spec.shape[0] ?? 1).fill(1)
      const buffer = await device.createStorage(label, values.byteLength)
      device.queue.writeBuffer(buffer, 0, values)
      return buffer
    }
  })
}
