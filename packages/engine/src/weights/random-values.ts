import type { GpuDevice } from '../device/gpu-device.ts'
import type { StorageType } from '../engine.ts'
import { fillRandom } from '../kernels/model-kernels.ts'
import { PipelineCache } from '../kernels/pipeline-cache.ts'

/**
 * Fills a buffer with random values of standard deviation `deviation`, made on the device. Zeros would not do for measuring: what does
 * not toggle takes less power, and a GPU's clocks follow.
 * @param pipelines where the kernel is kept, of storage `type`; undefined: compiled for this
 */
export async function fillWithRandom (gpu: GpuDevice, buffer: GPUBuffer, type: StorageType, deviation: number, seed: number, pipelines = new PipelineCache(gpu, type, type)): Promise<void> {
  const vectors = Math.floor(buffer.size / (type === 'f16' ? 8 : 16))
  // The difference of two uniform draws has variance 1/6 of its amplitude squared.
  const pipeline = await pipelines.get(fillRandom, {})
  const request = await gpu.createStorage('random values', 12)
  gpu.queue.writeBuffer(request, 0, Uint32Array.of(vectors, seed))
  gpu.queue.writeBuffer(request, 8, Float32Array.of(Math.sqrt(6) * deviation))
  const encoder = gpu.device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  pass.setPipeline(pipeline.gpu)
  pass.setBindGroup(0, pipeline.bind({ request, weight: buffer }))
  pass.dispatchWorkgroups(Math.min(16_384, Math.ceil(vectors / 256)))
  pass.end()
  gpu.queue.submit([encoder.finish()])
  request.destroy()
}
