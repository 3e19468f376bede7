import { fillWithRandom } from '../weights/random-values.ts'
import { decoderAllocator } from './allocate-decoder.ts'
import type { DecoderWeights } from './decoder-weights.ts'
import type { WeightTarget } from './load-decoder.ts'
import { makeDecoder } from './make-decoder.ts'
import type { ModelConfig } from './model-config.ts'

/** Random weights of a shape, made on the device: matrices of variance 1 / inputs, norms of ones, biases of zeros. */
export async function synthesizeDecoder (seed: number, config: ModelConfig, target: WeightTarget): Promise<DecoderWeights> {
  const { device, pipelines, storage, layout, onProgress } = target
  let made = 0
  const fill = async (buffer: GPUBuffer, k: number): Promise<void> => {
    await fillWithRandom(device, buffer, storage, 1 / Math.sqrt(k), (seed + 7919 * made++) >>> 0, pipelines)
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
