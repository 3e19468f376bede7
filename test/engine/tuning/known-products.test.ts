import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { GpuDevice } from '../../../packages/engine/src/device/gpu-device.ts'
import { OutOfDeviceMemoryError } from '../../../packages/engine/src/errors.ts'
import { ANY_ROWS, productKey, productVariant } from '../../../packages/engine/src/kernels/matmul/product-table.ts'
import type { PipelineCache } from '../../../packages/engine/src/kernels/pipeline-cache.ts'
import { MODEL_SHAPE_NAMES, namedShape } from '../../../packages/engine/src/models/named-shapes.ts'
import { KeptProducts } from '../../../packages/engine/src/tuning/kept-products.ts'
import { kernelsFingerprint } from '../../../packages/engine/src/tuning/kernels-fingerprint.ts'
import { knownAdapterPath } from '../../../packages/engine/src/tuning/known-adapter.ts'
import type { KnownAdapter } from '../../../packages/engine/src/tuning/known-adapter.ts'
import { knownAdapterSource } from '../../../packages/engine/src/tuning/known-adapter-source.ts'
import { knownAdapters } from '../../../packages/engine/src/tuning/known-adapters.ts'
import { knownProducts, staleTables } from '../../../packages/engine/src/tuning/known-products.ts'
import { measuredProducts, productShapes } from '../../../packages/engine/src/tuning/measured-products.ts'
import { tuneNamedShapes } from '../../../packages/engine/src/tuning/tune-named-shapes.ts'
import { GpuHarness, gpuTest } from '../kernels/gpu-harness.ts'

const config = namedShape('daybreak-mini')
const shapesOfMini = productShapes(config)
const keyOf = ({ columns, k, epilogue, norm }: typeof shapesOfMini[number]): string => productKey(columns, k, epilogue, norm)
const choices = (splits: number) => [{ upTo: 1, kernel: ['vector', 1, splits, 4] as const }, { upTo: ANY_ROWS, kernel: ['staged', 2, 2, 1, 2, 2, 32] as const }]

function aKnownAdapter (change: Partial<KnownAdapter> = {}): KnownAdapter {
  return {
    adapter: 'Paper GPU 9000',
    driver: 'paper 1.2',
    kernels: kernelsFingerprint(),
    products: Object.fromEntries(shapesOfMini.map(shape => [keyOf(shape), choices(4)])),
    ...change
  }
}

type Tap = Pick<typeof t, 'teardown'>
interface Start { readonly device: GpuDevice, readonly numMeasured: () => number }

/** A device of that name without memory: whatever begins to measure gives up at once. */
async function aDevice (t: Tap, name: string): Promise<Start> {
  const real = await GpuDevice.open({ profile: 'production', backend: 'null' })
  t.teardown(() => real[Symbol.asyncDispose]())
  let attempts = 0
  const device = Object.assign(Object.create(real) as GpuDevice, {
    report: { ...real.report, name, driver: 'paper 1.3' },
    capabilities: { ...real.capabilities, subgroupMatrix: true, timestamps: true, maxWorkgroupBytes: 48 << 10, maxWorkgroupThreads: 1024 },
    createStorage: async (label: string, bytes: number) => {
      attempts++
      throw new OutOfDeviceMemoryError({ label, bytes })
    }
  })
  return { device, numMeasured: () => attempts }
}

const pipelines = { get: async () => ({}) } as unknown as PipelineCache
const onProgress = (): void => {}

async function aFolder (t: Tap): Promise<string> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'daybreak-known-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

t.test('an adapter that the repository knows measures nothing, whatever its driver', async t => {
  const { device, numMeasured } = await aDevice(t, 'Paper GPU 9000')
  const known = [aKnownAdapter({ adapter: 'Paper GPU' }), aKnownAdapter()]
  const table = await measuredProducts(device, config, { pipelines, folder: await aFolder(t), known, onProgress })
  t.same(table, known[1]?.products)
  t.equal(numMeasured(), 0)
  t.same(await measuredProducts(device, config, { pipelines, folder: undefined, known, onProgress }), known[1]?.products, 'nor does it need a folder')
})

t.test('what was measured on the very adapter comes before what the repository knows', async t => {
  const { device, numMeasured } = await aDevice(t, 'Paper GPU 9000')
  const folder = await aFolder(t)
  const [first, ...others] = shapesOfMini.map(keyOf)
  await new KeptProducts(folder, device.report).add({ [first ?? '']: choices(8) })
  const table = await measuredProducts(device, config, { pipelines, folder, known: [aKnownAdapter()], onProgress })
  t.same(table[first ?? ''], choices(8))
  for (const key of others) t.same(table[key], choices(4), key)
  t.equal(numMeasured(), 0)
})

t.test('another adapter, other kernels and a shape that is not in the table are measured, as is everything when that is asked for', async t => {
  const { device, numMeasured } = await aDevice(t, 'Paper GPU 9000')
  const [first, ...others] = Object.entries(aKnownAdapter().products)
  const unknown: Readonly<Record<string, KnownAdapter>> = {
    adapter: aKnownAdapter({ adapter: 'Paper GPU 9001' }),
    kernels: aKnownAdapter({ kernels: '000000000000' }),
    shape: aKnownAdapter({ products: Object.fromEntries(others) }),
    broken: aKnownAdapter({ products: { ...Object.fromEntries(others), [first?.[0] ?? '']: [{ upTo: 1, kernel: ['of another day', 1, 2] }] } })
  }
  for (const [what, known] of Object.entries(unknown)) {
    const before = numMeasured()
    await measuredProducts(device, config, { pipelines, folder: await aFolder(t), known: [known], onProgress })
    t.equal(numMeasured(), before + 1, what)
  }
  const before = numMeasured()
  await measuredProducts(device, config, { pipelines, folder: await aFolder(t), known: [aKnownAdapter()], anew: true, onProgress })
  t.equal(numMeasured(), before + 1, 'anew')
})

t.test('a table of other kernels is told with the command that makes it anew', async t => {
  t.same(staleTables([aKnownAdapter()]), [])
  t.same(knownProducts({ name: 'Paper GPU 9000' }, [aKnownAdapter({ kernels: '000000000000' })]), {})
  t.match(staleTables([aKnownAdapter(), aKnownAdapter({ adapter: 'Paper GPU (old)', kernels: '000000000000' })]), [{
    adapter: 'Paper GPU (old)',
    message: /Paper GPU \(old\) \(paper 1\.2\).*daybreak bench kernels --save-known packages\/engine\/src\/tuning\/known\/paper-gpu-old\.ts$/
  }])
})

t.test('what is written as a module says what it was given, even of an adapter with quotes in its name', async t => {
  const given = aKnownAdapter({ adapter: "Maker's \\ GPU\n2", driver: "it's 1.0" })
  const source = knownAdapterSource(given)
  const file = path.join(await aFolder(t), 'known.mjs')
  await writeFile(file, source.replace(/^import type .*$/m, '').replace(': KnownAdapter', ''))
  const { known }: { readonly known: unknown } = await import(pathToFileURL(file).href)
  t.same(known, { ...given, adapter: "Maker's \\ GPU 2" })
  t.match(source, /^import type \{ KnownAdapter \} from '\.\.\/known-adapter\.ts'\n\n\/\*\* .* \*\/\nexport const known: KnownAdapter = \{\n/)
  const many = Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`${16 * i} x 32`, choices(4)]))
  t.match(knownAdapterSource({ ...given, products: many }), /^\/\/ longer than 400 lines because .*\nimport type \{ KnownAdapter/, 'a long one says why it is')
})

t.test('every table of the repository is of an adapter of its own, and holds shapes with a name and kernels that could run', async t => {
  t.same(knownAdapters.map(({ adapter }) => adapter), [...new Set(knownAdapters.map(({ adapter }) => adapter))])
  const shapes = new Map(MODEL_SHAPE_NAMES.flatMap(name => productShapes(namedShape(name)).map(shape => [keyOf(shape), shape])))
  for (const known of knownAdapters.filter(({ kernels }) => kernels === kernelsFingerprint())) {
    const products = knownProducts({ name: known.adapter })
    t.same(Object.keys(products), Object.keys(known.products), `${knownAdapterPath(known.adapter)} holds choices only`)
    for (const [key, ranges] of Object.entries(products)) {
      const shape = shapes.get(key)
      const variants = ranges.map(choice => shape && productVariant(choice, shape.k, shape.epilogue, { maxWorkgroupBytes: 48 << 10, maxWorkgroupThreads: 1024 }))
      t.ok(variants.every(variant => variant !== undefined) && ranges.at(-1)?.upTo === ANY_ROWS, `${known.adapter}: ${key}`)
    }
  }
})

// A stale table costs its adapter's first start some seconds. Whoever changes a kernel seldom has the card: it is told, and fails nothing.
const stale = staleTables()
t.test('the repository\'s tables were measured with the kernels that are here', stale.length > 0 ? { todo: stale.map(({ message }) => message).join('; ') } : {}, async t => {
  t.same(stale, [])
})

const gpu = await GpuHarness.open()

gpuTest('a table for the repository is refused where there are no tensor cores, and of a shape without a name', 'missing' in gpu || !gpu.device.capabilities.subgroupMatrix ? gpu : { missing: `${gpu.device.report.name} has tensor cores` }, async (t, { device }) => {
  await t.rejects(tuneNamedShapes(device, { shapes: ['daybreak-mini'], folder: undefined, onProgress }), { code: 'ENGINE_UNSUPPORTED_MODEL', details: { value: device.report.name } })
  await t.rejects(tuneNamedShapes(device, { shapes: ['gpt-9'], folder: undefined, onProgress }), { code: 'ENGINE_UNKNOWN_MODEL_SHAPE' })
})
