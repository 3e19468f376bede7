import { defineKernel } from '../../../../packages/engine/src/kernels/define-kernel.ts'
import { layoutNumber } from '../../../../packages/engine/src/kernels/matmul/weight-layout.ts'
import { readShader } from '../../../../packages/engine/src/kernels/shader-source.ts'
import { UnsupportedModelError } from '../../../../packages/engine/src/errors.ts'
import { allocateExperts, expertWindows } from '../../../../packages/engine/src/weights/expert-weights.ts'
import type { ExpertShape } from '../../../../packages/engine/src/weights/expert-weights.ts'
import { SeededRandom } from '../../../fakes/seeded-random.ts'
import { stored } from '../../../reference/float16.ts'
import { GpuHarness, gpuTest } from '../gpu-harness.ts'
import { inLayout } from '../weight-order.ts'

const SEED = 20261125
const whole = await GpuHarness.open()
const split = await GpuHarness.open({ maxBindingBytes: 4096 })
const repack = defineKernel({ name: 'repack', bindings: { rows: 'read', range: 'read', weight: 'read_write' }, overrides: ['K', 'N', 'LAYOUT'], wgsl: readShader('repack') })

interface Allocated { readonly parts: ReadonlyArray<readonly [firstExpert: number, numExperts: number, firstColumn: number, columns: number]>, readonly shape: ExpertShape }

// A gated expert of 5 columns and K 36 has 1440 bytes of f32, 1536 with padding: 1440 + 1536 fit 4096 bytes, one more would not.
// One of K 64 and 20 columns has 10240 bytes of f32, 512 a column; 5120 of f16, 256 a column.
const shapes: ReadonlyArray<readonly [name: string, gpu: typeof whole, Allocated]> = [
  ['in one buffer', whole, { shape: { numExperts: 5, k: 36, columns: 5, gated: true, storage: 'f32' }, parts: [[0, 5, 0, 5]] }],
  ['split by experts', split, { shape: { numExperts: 5, k: 36, columns: 5, gated: true, storage: 'f32' }, parts: [[0, 2, 0, 5], [2, 2, 0, 5], [4, 1, 0, 5]] }],
  ['of one binding each', split, { shape: { numExperts: 2, k: 64, columns: 16, gated: false, storage: 'f32' }, parts: [[0, 1, 0, 16], [1, 1, 0, 16]] }],
  ['a column larger than a binding', split, { shape: { numExperts: 2, k: 64, columns: 17, gated: false, storage: 'f32' }, parts: [[0, 1, 0, 16], [0, 1, 16, 1], [1, 1, 0, 16], [1, 1, 16, 1]] }],
  ['split by columns', split, { shape: { numExperts: 2, k: 64, columns: 20, gated: true, storage: 'f16' }, parts: [[0, 1, 0, 16], [0, 1, 16, 4], [1, 1, 0, 16], [1, 1, 16, 4]] }]
]

for (const [name, gpu, { shape, parts }] of shapes) {
  gpuTest(`experts ${name}: the repack kernel places each through its windows`, gpu, async (t, gpu) => {
    t.comment(`seed ${SEED}`)
    const random = new SeededRandom(SEED)
    const { numExperts, k, columns, gated, storage } = shape
    const weights = await allocateExperts(gpu.device, 'test', shape)
    t.teardown(() => { for (const { buffer, extent } of weights.parts) { buffer.destroy(); extent.destroy() } })
    t.strictSame(weights.parts.map(part => [part.firstExpert, part.numExperts, part.firstColumn, part.columns]), parts)
    t.ok(weights.parts.every(({ buffer }) => gpu === whole || buffer.size <= 4096), 'no part is larger than a binding')
    const projections = Array.from({ length: numExperts }, () => Array.from({ length: gated ? 2 : 1 }, () => stored(random.normals(columns * k), storage)))
    const rowsOf = (expert: number, projection: number, first: number, count: number): Float64Array =>
      projections[expert]?.[projection]?.slice(first * k, (first + count) * k) ?? new Float64Array(0)
    for (let expert = 0; expert < numExperts; expert++) {
      for (const window of expertWindows(weights, expert)) {
        for (let projection = 0; projection < (gated ? 2 : 1); projection++) {
          await gpu.run(repack, {
            storage,
            overrides: { K: k, N: window.rows, LAYOUT: layoutNumber.interleaved },
            buffers: {
              rows: await gpu.upload(rowsOf(expert, projection, window.firstColumn, window.columns), storage),
              range: await gpu.upload([projection * window.columns, window.columns, 0, 0], 'u32'),
              weight: window.binding
            },
            grid: [Math.ceil(k / 256), window.columns, 1]
          })
        }
      }
    }
    let covered = 0
    for (let expert = 0; expert < numExperts; expert++) {
      for (const { binding, firstColumn, columns: own, rows } of expertWindows(weights, expert)) {
        t.equal((binding.offset ?? 0) % 256, 0, 'blocks can be bound')
        const expected = inLayout(Float64Array.from(Array.from({ length: gated ? 2 : 1 }, (_, p) => [...rowsOf(expert, p, firstColumn, own)]).flat()), k, 'interleaved')
        t.equal(expected.length, rows * k)
        const copy = await gpu.poisoned(expected.length, storage)
        const encoder = gpu.device.device.createCommandEncoder()
        encoder.copyBufferToBuffer(binding.buffer, binding.offset ?? 0, copy, 0, binding.size ?? 0)
        gpu.device.queue.submit([encoder.finish()])
        t.strictSame(await gpu.download(copy, expected.length, storage), expected, `expert ${expert}, outputs from ${firstColumn}`)
        covered += own
      }
    }
    t.equal(covered, numExperts * columns, 'every row has its place')
    t.strictSame(expertWindows(weights, numExperts), [], 'there is no further expert')
  })
}

gpuTest('an expert of which not even 16 columns fit a binding is refused by name', split, async (t, gpu) => {
  await t.rejects(allocateExperts(gpu.device, 'gate up 0', { numExperts: 2, k: 68, columns: 32, gated: false, storage: 'f32' }), new UnsupportedModelError({
    field: 'gate up 0 input size', value: 68, supported: 'what lets 16 columns fit a binding of 4096 bytes'
  }))
})
