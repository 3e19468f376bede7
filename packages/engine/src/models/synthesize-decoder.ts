import { fillRandom } from '../kernels/model-kernels.ts'
import { decoderAllocator } from './allocate-decoder.ts'
import type { DecoderWeights } from './decoder.ts'
import type { WeightTarget } from './load-decoder.ts'
import { makeDecoder } from './make-decoder.ts'
import type { ModelConfig } from './model-config.ts'

/** Random weights of a shape, made on the device: matrices of variance 1 / inputs, norms of ones, biases of zeros. */
export async function synthesizeDecoder (seed: number, config: ModelConfig, target: WeightTarget): Promise<DecoderWeights> {
  const { device, pipelines, storage, layout, onProgress } = target
  let made = 0
  const fill = async (buffer: GPUBuffer, k: number): Promise<void> => {
    const vectors = Math.floor(buffer.size / (storage === 'f16' ? 8 : 16))
    // The difference of two uniform draws has variance 1/6 of its amplitude squared.
    const pipeline = await pipelines.get(fillRandom, { AMPLITUDE: Math.sqrt(6 / k), SEED: (seed + 7919 * made++) >>> 0, COUNT: vectors })
    const encoder = device.device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline.gpu)
    pass.setBindGroup(0, pipeline.bind({ weight: buffer }))
    pass.dispatchWorkgroups(Math.min(16384, Math.ceil(vectors / 256)))
    pass.end()
    device.queue.submit([encoder.finish()])
    onProgress({ stage: 'weights', done: made, total: 0, detail: 'random weights made' })
  }
  const allocator = decoderAllocator(device, { storage, layout })
  return await makeDecoder(config, {
    async linear (label, specs, gated) {
      const weight = await allocator.linear(label, specs, gated)
      for (const { buffer } of weight.parts) await fill(buffer, weight.k)
      return weight
    },
    async experts (label, experts, gated) {
      const weights = await allocator.experts(label, experts, gated)
      for (const { buffer } of weights.parts) await fill(buffer, weights.k)
      return weights
    },
    async values (label, kind, specs) {
      const buffer = await allocator.values(label, kind, specs)
      const values = new Float32Array(buffer.size / 4)
      // A router of zeros sends every token to the same experts; these spread them.
      if (kind === 'norm') values.fill(1)
      else if (kind === 'router') values.forEach((_, i) => { values[i] = Math.sin(12.9898 * (i + seed + 1)) * 0.1 })
      device.queue.writeBuffer(buffer, 0, values)
      return buffer
    }
  })
}
