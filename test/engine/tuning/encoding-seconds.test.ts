import { CommandList } from '../../../packages/engine/src/kernels/command-list.ts'
import { defineKernel } from '../../../packages/engine/src/kernels/define-kernel.ts'
import { PipelineCache } from '../../../packages/engine/src/kernels/pipeline-cache.ts'
import { encodingSeconds } from '../../../packages/engine/src/tuning/encoding-seconds.ts'
import { GpuHarness, gpuTest } from '../kernels/gpu-harness.ts'

const counter = defineKernel({
  name: 'counter',
  bindings: { counted: 'read_write' },
  wgsl: `
@group(0) @binding(0) var<storage, read_write> counted: array<atomic<u32>>;
@compute @workgroup_size(1) fn main() { atomicAdd(&counted[0], 1u); }`
})

gpuTest('how long a list takes to encode is measured on the list itself, all of it, and nothing is still running afterwards', await GpuHarness.open(), async (t, gpu) => {
  const pipeline = await new PipelineCache(gpu.device, 'f32', 'f32').get(counter, {})
  const counted = await gpu.device.createStorage('counted', 16)
  const list = new CommandList()
  for (let i = 0; i < 5; i++) list.dispatch('counter', pipeline, pipeline.bind({ counted }), [1, 1, 1])
  const seconds = await encodingSeconds(gpu.device, list)
  t.ok(seconds > 0 && Number.isFinite(seconds), `${seconds} s`)
  const [count = 0] = await gpu.bits(counted, 4, 'f32')
  t.ok(count > 5 && count % 5 === 0, `${count} dispatches of 5 in a list ran`)
  counted.destroy()
})
