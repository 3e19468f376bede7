import { CommandList } from '../../../packages/engine/src/kernels/command-list.ts'
import { defineKernel } from '../../../packages/engine/src/kernels/define-kernel.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'

const gpu = await GpuHarness.open()

/** Adds the grid's sides, packed into one number, for each workgroup. */
const countGroups = defineKernel({
  name: 'count_groups',
  bindings: { counts: 'read_write' },
  overrides: ['SLOT'],
  wgsl: `
@group(0) @binding(0) var<storage, read_write> counts: array<atomic<u32>>;
override SLOT: u32;
@compute @workgroup_size(1)
fn main(@builtin(num_workgroups) n: vec3<u32>) {
  atomicAdd(&counts[2 * SLOT], 1);
  atomicStore(&counts[2 * SLOT + 1], n.x + 100 * n.y + 10000 * n.z);
}`
})

gpuTest('grids of one, two and three dimensions run as they were recorded, in every replay, and empty ones do not', gpu, async (t, gpu) => {
  const grids = [[3, 1, 1], [3, 2, 1], [1, 2, 1], [3, 2, 4], [3, 1, 4], [1, 1, 4], [0, 2, 2]] as const
  const counts = await gpu.upload(new Uint32Array(2 * grids.length), 'u32')
  const list = new CommandList()
  for (const [slot, grid] of grids.entries()) {
    const pipeline = await gpu.pipelines('f32', 'f32').get(countGroups, { SLOT: slot })
    list.dispatch('count', pipeline, pipeline.bind({ counts }), grid)
  }
  t.equal(list.length, grids.length - 1)
  for (let replay = 0; replay < 2; replay++) {
    const encoder = gpu.device.device.createCommandEncoder()
    const pass = encoder.beginComputePass()
    list.replay(pass)
    pass.end()
    gpu.device.queue.submit([encoder.finish()])
  }
  const expected = grids.flatMap(([x, y, z]) => x === 0 ? [0, 0] : [2 * x * y * z, x + 100 * y + 10_000 * z])
  t.strictSame([...await gpu.download(counts, 2 * grids.length, 'u32')], expected)
})
