import type { GpuDevice } from '../device/gpu-device.ts'
import { CommandList } from '../kernels/command-list.ts'
import { defineKernel } from '../kernels/define-kernel.ts'
import { PipelineCache } from '../kernels/pipeline-cache.ts'

/** Next to no work: one thread raises one number. Each dispatch depends on the one before. */
const trivial = defineKernel({
  name: 'trivial',
  bindings: { count: 'read_write' },
  wgsl: `
// trivial: count += 1
@group(0) @binding(0) var<storage, read_write> count: array<u32>;

@compute @workgroup_size(1)
fn main() { count[0] += 1u; }
`
})

/** So many dispatches that do nothing but depend on each other, labelled by number; with what frees them. */
export async function trivialDispatches (gpu: GpuDevice, count: number): Promise<{ readonly list: CommandList, destroy (): void }> {
  const pipeline = await new PipelineCache(gpu, 'f32', 'f32').get(trivial, {})
  const buffer = await gpu.createStorage('trivial count', 4)
  const group = pipeline.bind({ count: buffer })
  const list = new CommandList()
  for (let i = 0; i < count; i++) list.dispatch(String(i), pipeline, group, [1, 1, 1])
  return { list, destroy: () => { buffer.destroy() } }
}
