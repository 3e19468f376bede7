import t from 'tap'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import { fastProducts } from '../../../packages/engine/src/kernels/matmul/fast-variants.ts'
import { mmaGridColumns, mmaGridRows } from '../../../packages/engine/src/kernels/matmul/mma-grid.ts'
import { mmaRotary, mmaRotaryBytes, mmaRotaryGrid } from '../../../packages/engine/src/kernels/matmul/mma-rotary.ts'
import type { MmaRotaryGrid } from '../../../packages/engine/src/kernels/matmul/mma-rotary.ts'
import { mmaGrid, productKey } from '../../../packages/engine/src/kernels/matmul/product-table.ts'
import { knownAdapters } from '../../../packages/engine/src/tuning/known-adapters.ts'
import { knownProducts } from '../../../packages/engine/src/tuning/known-products.ts'
import { rowRanges } from '../../../packages/engine/src/tuning/product-candidates.ts'
import { SeededRandom } from '../../fakes/seeded-random.ts'
import { float16Bits } from '../../reference/float16.ts'
import { GpuHarness, gpuTest } from './gpu-harness.ts'
import { rotaryHeads, rotaryScene } from './rotary-scene.ts'
import { workgroupBytes, workgroupThreads } from './workgroup-use.ts'
import { assertValidWgsl } from './valid-wgsl.ts'

const SEED = 20261127
const opened = await GpuHarness.open()
const gpu = 'missing' in opened || (opened.device.capabilities.subgroupMatrix && opened.device.report.subgroupMaxSize === 32)
  ? opened
  : { missing: `${opened.device.report.name} has no 16 × 16 × 16 tensor-core products by subgroups of 32` }

/** All grids that the rules choose for projections of queries, keys and values, and that known adapters were measured to be fastest with, each once. */
function grids (maxWorkgroupBytes: number): MmaRotaryGrid[] {
  const capabilities = { f16: true, subgroups: true, timestamps: true, subgroupMatrix: true, software: false, maxBindingBytes: 2 ** 31, maxWorkgroupThreads: 1024, maxWorkgroupBytes }
  const chosen = [[3072, 2048], [6144, 4096], [1536, 576], [2560, 5120]].flatMap(([columns = 0, k = 0]) => [...fastProducts(columns, k, 'store', capabilities), ...knownAdapters.flatMap(({ adapter }) => knownProducts({ name: adapter })[productKey(columns, k, 'store')] ?? [])]).flatMap(({ kernel }) => {
    return kernel[0] === 'vector' ? [] : [mmaRotaryGrid(mmaGrid(kernel))].filter(grid => mmaRotaryBytes(grid) <= maxWorkgroupBytes)
  })
  return [...new Map(chosen.map(grid => [mmaRotary(grid).name, grid])).values()]
}

t.test('every kernel that projects and rotates is valid WGSL and fits the adapter', async t => {
  const device = await GpuDevice.open({ profile: 'debug', backend: 'null' })
  t.teardown(() => device[Symbol.asyncDispose]())
  for (const maxWorkgroupBytes of [48 << 10, 32 << 10]) {
    const measured = rowRanges(3072).flatMap(({ candidates }) => candidates).flatMap(kernel => kernel[0] === 'vector' ? [] : [mmaRotaryGrid(mmaGrid(kernel))]).filter(grid => mmaRotaryBytes(grid) <= maxWorkgroupBytes)
    for (const grid of [...grids(maxWorkgroupBytes), ...measured]) {
      const { name, wgsl } = mmaRotary(grid)
      await assertValidWgsl(t, device, { name, wgsl })
      t.ok(workgroupThreads(wgsl) <= 1024 && workgroupBytes(wgsl) <= maxWorkgroupBytes, `${name}: ${workgroupBytes(wgsl)} bytes`)
    }
  }
})

gpuTest('tokens are projected and rotated, and their keys and values are written, in one kernel', gpu, async (t, gpu) => {
  t.comment(`seed ${SEED}`)
  const random = new SeededRandom(SEED)
  const runs = []
  for (const [n, grid] of grids(gpu.device.capabilities.maxWorkgroupBytes).entries()) {
    const rows = mmaGridRows(grid)
    for (const [count, stages] of [[1, 1], [rows, 3], [rows + 1, 1]] as const) {
      const heads = rotaryHeads[(n + count) % rotaryHeads.length]
      if (heads !== undefined) runs.push({ grid, rows, count, heads, scene: await rotaryScene(gpu, random, heads, { k: stages * grid.depth, count }) })
    }
  }
  await gpu.compile(runs.map(({ grid, scene }) => [mmaRotary(grid), scene.overrides] as const))
  for (const { grid, rows, count, heads, scene } of runs) {
    // Rows that pad a workgroup's are NaN.
    const x = await gpu.poisoned(Math.ceil(count / rows) * rows * scene.k, 'f16')
    gpu.device.queue.writeBuffer(x, 0, Uint16Array.from([...scene.x, ...count * scene.k % 2 === 1 ? [NaN] : []], float16Bits))
    await gpu.run(mmaRotary(grid), {
      storage: 'f16',
      activation: 'f16',
      overrides: scene.overrides,
      buffers: { ...scene.buffers, x },
      grid: [Math.ceil(count / rows), Math.ceil(scene.width / mmaGridColumns(grid)), 1]
    })
    await scene.check(t, `${mmaRotary(grid).name}, ${count} tokens, K ${scene.k}, heads of ${heads.headDim}, ${heads.numHeads} on ${heads.numKVHeads}`)
  }
})
