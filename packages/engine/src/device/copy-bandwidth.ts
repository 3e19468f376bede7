import { defineKernel } from '../kernels/define-kernel.ts'
import { PipelineCache } from '../kernels/pipeline-cache.ts'
import { readShader } from '../kernels/shader-source.ts'
import type { GpuDevice } from './gpu-device.ts'

const copy = defineKernel({
  name: 'copy',
  bindings: { input: 'read', output: 'read_write' },
  overrides: ['COUNT'],
  wgsl: readShader('copy')
})

/** Larger than any cache on a GPU; a software adapter's caches are the CPU's, and its time is dearer. */
const GPU_BYTES = 1 << 30
const SOFTWARE_BYTES = 64 << 20
const LEAST_RUNS = 4
/** A GPU's clocks take a while to rise: it is kept busy this long before its best run counts. */
const WAKE_MS = 400

/**
 * Bytes per second, read plus written, of a plain copy kernel: the ceiling that memory-bound kernels are compared with.
 * The best of several runs. Takes twice its bytes of device memory and frees it again.
 * @throws OutOfDeviceMemoryError
 */
export async function measureCopyBandwidth (gpu: GpuDevice): Promise<number> {
  const { device, queue } = gpu
  const wanted = gpu.capabilities.software ? SOFTWARE_BYTES : GPU_BYTES
  const bytes = Math.min(wanted, Math.floor(gpu.capabilities.maxBindingBytes / 16) * 16)
  const pipeline = await new PipelineCache(gpu, 'f32', 'f32').get(copy, { COUNT: bytes / 16 })
  const input = await gpu.createStorage('copy source', bytes)
  const output = await gpu.createStorage('copy target', bytes)
  const group = pipeline.bind({ input, output })
  const repeats = gpu.capabilities.software ? 2 : 16
  let best = Infinity
  const started = performance.now()
  for (let run = 0; run < LEAST_RUNS || (performance.now() - started < WAKE_MS && !gpu.capabilities.software); run++) {
    const encoder = device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    pass.setPipeline(pipeline.gpu)
    pass.setBindGroup(0, group)
    for (let i = 0; i < repeats; i++) pass.dispatchWorkgroups(Math.min(65_535, Math.ceil(bytes / 16 / 256)))
    pass.end()
    const submitted = performance.now()
    queue.submit([encoder.finish()])
    await queue.onSubmittedWorkDone()
    // The first run pays for page faults.
    if (run > 0) best = Math.min(best, (performance.now() - submitted) / 1000)
  }
  input.destroy()
  output.destroy()
  return 2 * bytes * repeats / best
}
