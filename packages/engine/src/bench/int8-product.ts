import type { GpuDevice } from '../device/gpu-device.ts'
import type { PassTimer } from '../device/pass-timer.ts'
import type { Dispatch } from '../kernels/command-list.ts'
import { mmaInt8, mmaInt8Bytes, mmaInt8Shapes } from '../kernels/matmul/mma-int8.ts'
import { mmaGridColumns, mmaGridRows } from '../kernels/matmul/mma-grid.ts'
import { quantizeRows } from '../kernels/model-kernels.ts'
import { PipelineCache } from '../kernels/pipeline-cache.ts'
import { fillWithRandom } from '../weights/random-values.ts'
import type { Int8Ceiling } from './kernel-bench.ts'
import { stepOf } from './product.ts'

const SIZE = 4096

/**
 * The faster of the int8 kernels for many rows, at 4096³; undefined on an adapter without such tensor cores.
 * @throws OutOfDeviceMemoryError
 */
export async function measureInt8Product (gpu: GpuDevice, timer: PassTimer): Promise<Int8Ceiling | undefined> {
  const { int8MatrixDepth, maxWorkgroupBytes } = gpu.capabilities
  if (int8MatrixDepth === undefined || gpu.report.subgroupMaxSize !== 32) return undefined
  const { many, most } = mmaInt8Shapes(int8MatrixDepth)
  const pipelines = new PipelineCache(gpu, 'f32', 'f32')
  const owned: GPUBuffer[] = []
  const create = async (label: string, bytes: number): Promise<GPUBuffer> => {
    const buffer = await gpu.createStorage(label, bytes)
    owned.push(buffer)
    return buffer
  }
  try {
    const words = stepOf(SIZE)
    const step = await create('int8 step', words.byteLength)
    gpu.queue.writeBuffer(step, 0, words)
    const values = await create('int8 values', 4 * SIZE * SIZE)
    const quantized = async (seed: number): Promise<{ readonly q: GPUBuffer, readonly scale: GPUBuffer }> => {
      await fillWithRandom(gpu, values, 'f32', 1, seed, pipelines)
      const [q, scale] = [await create('int8 rows', SIZE * SIZE), await create('int8 scales', 4 * SIZE)]
      const pipeline = await pipelines.get(quantizeRows, { HIDDEN_SIZE: SIZE, THREADS: 128 })
      runOnce(gpu, { label: 'quantize_rows', pipeline: pipeline.gpu, bindGroup: pipeline.bind({ x: values, step, q, scale }), grid: [SIZE, 1, 1] })
      return { q, scale }
    }
    const [x, weight] = [await quantized(1), await quantized(2)]
    let best: Int8Ceiling | undefined
    for (const shape of [many, most]) {
      if (mmaInt8Bytes(shape) > maxWorkgroupBytes) continue
      const kernel = mmaInt8(shape)
      const pipeline = await pipelines.get(kernel, { K: SIZE, FIRST_COLUMN: 0, COLUMNS: SIZE, OWN_COLUMNS: SIZE })
      const bindGroup = pipeline.bind({ x: x.q, weight: weight.q, scale_x: x.scale, scale_w: weight.scale, step, y: values })
      const { seconds } = await timer.time([[{ label: kernel.name, pipeline: pipeline.gpu, bindGroup, grid: [SIZE / mmaGridRows(shape), SIZE / mmaGridColumns(shape), 1] }]])
      const opsPerSecond = 2 * SIZE ** 3 / seconds
      if (best === undefined || opsPerSecond > best.opsPerSecond) best = { opsPerSecond, kernel: kernel.name, size: SIZE }
    }
    return best
  } finally {
    for (const buffer of owned) buffer.destroy()
  }
}

function runOnce (gpu: GpuDevice, { pipeline, bindGroup, grid }: Dispatch): void {
  const encoder = gpu.device.createCommandEncoder()
  const pass = encoder.beginComputePass()
  pass.setPipeline(pipeline)
  pass.setBindGroup(0, bindGroup)
  pass.dispatchWorkgroups(...grid)
  pass.end()
  gpu.queue.submit([encoder.finish()])
}
