import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import t from 'tap'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import { OutOfDeviceMemoryError } from '../../../packages/engine/src/errors.ts'
import { fastVariants } from '../../../packages/engine/src/kernels/matmul/fast-variants.ts'
import { ANY_ROWS, productKey } from '../../../packages/engine/src/kernels/matmul/product-table.ts'
import type { ProductTable } from '../../../packages/engine/src/kernels/matmul/product-table.ts'
import type { PipelineCache } from '../../../packages/engine/src/kernels/pipeline-cache.ts'
import { namedShape } from '../../../packages/engine/src/models/named-shapes.ts'
import { KeptProducts } from '../../../packages/engine/src/tuning/kept-products.ts'
import { measuredProducts, productShapes } from '../../../packages/engine/src/tuning/measured-products.ts'
import { rowRanges } from '../../../packages/engine/src/tuning/product-candidates.ts'

const adapter = { name: 'Paper GPU 9000', driver: 'paper 1.2' }
const table: ProductTable = { '64 x 96': [{ upTo: 1, kernel: ['vector', 1, 4, 8] }, { upTo: 16, kernel: ['streamed', 1, 1, 2, 1, 1, 32] }, { upTo: ANY_ROWS, kernel: ['staged', 2, 2, 1, 2, 2, 32] }] }
const capabilities = { f16: true, subgroups: true, timestamps: true, subgroupMatrix: true, software: false, maxBindingBytes: 2 ** 31, maxWorkgroupThreads: 1024, maxWorkgroupBytes: 48 << 10 }

async function aFolder (t: Tap): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'daybreak-kept-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}
type Tap = Pick<typeof t, 'teardown'>

t.test('what was measured is found again, and tables of several models add up', async t => {
  const folder = path.join(await aFolder(t), 'made on demand')
  t.same(await new KeptProducts(folder, adapter).read(), {}, 'nothing at first')
  await new KeptProducts(folder, adapter).add(table)
  await new KeptProducts(folder, adapter).add({ '32 x 32': [{ upTo: ANY_ROWS, kernel: ['vector', 1, 2, 4] }] })
  const kept = await new KeptProducts(folder, adapter).read()
  t.same(Object.keys(kept).sort(), ['32 x 32', '64 x 96'])
  t.same(kept['64 x 96'], table['64 x 96'])
  t.match(await readdir(folder), [/^products-paper-gpu-9000-[0-9a-f]{12}\.json$/], 'one file, and no draft of it')
})

t.test('another driver starts over', async t => {
  const folder = await aFolder(t)
  await new KeptProducts(folder, adapter).add(table)
  t.same(await new KeptProducts(folder, { ...adapter, driver: 'paper 1.3' }).read(), {})
})

t.test('a file that somebody broke is measured again, and entries that are no choices are left out', async t => {
  const folder = await aFolder(t)
  await new KeptProducts(folder, adapter).add(table)
  const [name = ''] = await readdir(folder)
  for (const text of ['', '{', 'null', '[]', '{"64 x 96": [{"upTo": 1, "kernel": ["vector", 1]}]}', '{"64 x 96": [{"upTo": 1, "kernel": ["staged", 2, 2, 1, 2, 2, -32]}]}', '{"64 x 96": []}']) {
    await writeFile(path.join(folder, name), text)
    t.same(await new KeptProducts(folder, adapter).read(), {}, text)
  }
})

t.test('a folder that cannot be written to is no error', async t => {
  const folder = await aFolder(t)
  await writeFile(path.join(folder, 'file'), '')
  await new KeptProducts(path.join(folder, 'file'), adapter).add(table)
  t.same(await new KeptProducts(path.join(folder, 'file'), adapter).read(), {})
})

t.test('a measured table decides which kernel runs, and its last choice serves any number of rows', async t => {
  const variants = fastVariants(64, 96, 'store', capabilities, { table })
  t.same(variants.map(({ upTo, kernel }) => [upTo, kernel.name.replace(/_[rg]\d.*/, '')]), [[1, 'matmul_gemv_tiled_store'], [16, 'matmul_mma_store_streamed'], [Infinity, 'matmul_mma_store_staged']])
  const elsewhere = fastVariants(64, 128, 'store', capabilities, { table })
  t.same(elsewhere.map(({ kernel }) => kernel.name), fastVariants(64, 128, 'store', capabilities).map(({ kernel }) => kernel.name), 'a shape that was not measured follows the rules')
})

t.test('every product of a model is measured, and every range of several rows has a candidate that fits any K', async t => {
  const shapes = productShapes(namedShape('llama-3.2-1b'))
  t.same(shapes.map(({ columns, k, epilogue, norm }) => productKey(columns, k, epilogue, norm)), ['3072 x 2048', '2048 x 2048 deferred', '8192 x 2048 gated', '2048 x 8192 deferred', '128256 x 2048'])
  for (const columns of [2048, 128_256]) {
    const ranges = rowRanges(columns)
    t.equal(ranges.at(-1)?.upTo, ANY_ROWS)
    t.same(ranges.map(({ upTo }) => upTo), ranges.map(({ upTo }) => upTo).toSorted((a, b) => a - b), 'ascending')
    t.ok(ranges.every(({ upTo, candidates }) => upTo === 1 || candidates.some(([type, ...numbers]) => type === 'vector' || numbers.at(-1) === 32 || numbers.at(-1) === 64)))
  }
})

t.test('a device without room to measure in follows the rules, and is asked again at the next start', async t => {
  const device = await GpuDevice.open({ profile: 'production', backend: 'null' })
  t.teardown(() => device[Symbol.asyncDispose]())
  const folder = await aFolder(t)
  const full = Object.assign(Object.create(device) as GpuDevice, {
    capabilities,
    createStorage: async (label: string, bytes: number) => { throw new OutOfDeviceMemoryError({ label, bytes }) }
  })
  const pipelines = { get: async () => ({}) } as unknown as PipelineCache
  t.same(await measuredProducts(full, namedShape('daybreak-mini'), { pipelines, folder, onProgress: () => {} }), {})
  t.same(await readdir(folder), [], 'nothing is kept')
})
