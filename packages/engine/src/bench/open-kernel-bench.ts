import { GpuDevice } from '../device/gpu-device.ts'
import { planEngine } from '../engine-plan.ts'
import type { EnginePlan } from '../engine-plan.ts'
import { DeviceLostError, UnsupportedModelError } from '../errors.ts'
import { sampleParts } from '../kernels/sample-kernels.ts'
import type { ModelConfig } from '../models/model-config.ts'
import { namedShape } from '../models/named-shapes.ts'
import { ROWS_OF_A_PROMPT } from './bench-batches.ts'
import { BenchModel } from './bench-model.ts'
import { measureCeilings } from './ceilings.ts'
import type { KernelBench, KernelBenchPlan, KernelBenchReport } from './kernel-bench.ts'
import { linearSizes } from './kernel-work.ts'
import { measureKernels, promptTokens } from './measure-kernels.ts'
import { PassTimer } from '../device/pass-timer.ts'
import { knownAdapterSource } from '../tuning/known-adapter-source.ts'
import { staleTables } from '../tuning/known-products.ts'
import { tuneNamedShapes } from '../tuning/tune-named-shapes.ts'

const BLOCK_SIZE = 16
/** Logits of all measured rows take this much at most: a server's never come close. */
const MOST_LOGIT_BYTES = 1.5 * 2 ** 30
/** Weights of all layers together, embedding and head aside. */
const MOST_WEIGHT_BYTES = 3 * 2 ** 30

/**
 * Buffers that kernels go through in turn come to this much, more than any cache on a GPU. A software adapter's caches are the CPU's,
 * and its time is dearer.
 */
function turnsOf ({ capabilities: { software } }: GpuDevice): { readonly bytes: number, readonly mostCopies: number } {
  return software ? { bytes: 4e6, mostCopies: 8 } : { bytes: 208e6, mostCopies: 256 }
}

/**
 * Opens a device for measuring its kernels.
 * @param adapter substring of its name; undefined: the first real GPU, else the software adapter
 * @throws NoAdapterError; UnsupportedModelError where the adapter has no timestamps
 */
export async function openKernelBench (adapter: string | undefined): Promise<KernelBench> {
  const gpu = await GpuDevice.open({ profile: 'production', adapter })
  if (!gpu.capabilities.timestamps) {
    await gpu[Symbol.asyncDispose]()
    throw new UnsupportedModelError({ field: 'bench kernels', value: gpu.report.name, supported: 'adapters with timestamp queries' })
  }
  return {
    adapter: gpu.report,
    run: plan => run(gpu, plan),
    tune: async options => {
      const known = await tuneNamedShapes(gpu, options)
      checkErrors(gpu)
      return { adapter: known.adapter, numProducts: Object.keys(known.products).length, source: knownAdapterSource(known) }
    },
    [Symbol.asyncDispose]: () => gpu[Symbol.asyncDispose]()
  }
}

async function run (gpu: GpuDevice, plan: KernelBenchPlan): Promise<KernelBenchReport> {
  const shape = namedShape(plan.shape)
  checkContexts(plan, shape)
  const enginePlan = planEngine(shape, {
    dtype: plan.dtype,
    blockSize: BLOCK_SIZE,
    kvCacheBytes: undefined,
    maxModelLen: Math.max(ROWS_OF_A_PROMPT, ...plan.contexts),
    maxSequences: Math.max(...plan.batches, ...plan.rows.map(rows => Math.ceil(rows / ROWS_OF_A_PROMPT))),
    maxBatchedTokens: Math.max(...plan.rows, ...plan.batches, ...plan.contexts.map(promptTokens)),
    deterministic: plan.deterministic,
    sharedAttention: true
  }, gpu)
  const { storage, activation, layout, limits } = enginePlan
  using timer = new PassTimer(gpu)
  plan.onProgress(0, 0, 'what the adapter can do')
  const ceilings = await measureCeilings(gpu, timer, { storage, activation, layout })
  const mostLogits = Math.min(MOST_LOGIT_BYTES, gpu.capabilities.maxBindingBytes) / 4 / sampleParts(shape.vocabSize).adjustedLength
  const headRows = plan.kinds.includes('linear') ? plan.rows.filter(rows => rows <= mostLogits) : []
  const config = benchConfig(shape, enginePlan, gpu, plan)
  const model = await BenchModel.create(gpu, config, enginePlan, {
    maxLogitRows: Math.max(limits.maxLogitRows, ...headRows),
    tuningFolder: plan.tuningFolder,
    tune: plan.tune,
    onProgress: ({ done, total, detail }) => { plan.onProgress(done, total, detail) }
  })
  const turns = turnsOf(gpu)
  const kernels = await measureKernels({ model, timer, plan, config, layers: shape.layers, storage, activation, cacheBytes: turns.bytes, mostCopies: turns.mostCopies })
  checkErrors(gpu)
  const notes = [
    ...shape.experts === undefined ? [] : ['the products of experts are not measured'],
    ...staleTables().filter(({ adapter }) => adapter === gpu.report.name).map(({ message }) => message)
  ]
  return { dtype: storage, activation, ceilings, notes, kernels }
}

/** What was measured in spite of an error is worth nothing. */
function checkErrors (gpu: GpuDevice): void {
  const problem = gpu.takeErrors()[0]
  if (problem !== undefined) throw new DeviceLostError({ reason: 'error', message: problem })
}

function checkContexts ({ contexts }: KernelBenchPlan, { maxPositionEmbeddings }: ModelConfig): void {
  const longest = Math.max(...contexts)
  if (longest > maxPositionEmbeddings) throw new UnsupportedModelError({ field: '--contexts', value: longest, supported: `contexts of up to ${maxPositionEmbeddings} tokens` })
}

/** The shape with as many layers as its smallest product needs to find no weight in a cache. Experts are not measured: layers become dense. */
function benchConfig (shape: ModelConfig, { storage }: EnginePlan, gpu: GpuDevice, { kinds, batches }: KernelBenchPlan): ModelConfig {
  const [first] = shape.layers
  if (first === undefined) throw new TypeError(`${shape.architecture} has no layers`)
  const { head: _, ...products } = linearSizes(shape)
  const bytes = Object.values(products).map(([outputs, inputs]) => outputs * inputs * (storage === 'f16' ? 2 : 4))
  const perLayer = bytes.reduce((sum, own) => sum + own, 0)
  const wanted = Math.min(Math.ceil(turnsOf(gpu).bytes / Math.min(...bytes)), Math.floor(MOST_WEIGHT_BYTES / perLayer))
  // A lone token's attention ends in a product with a weight.
  const hasProducts = kinds.includes('linear') || (kinds.includes('attention') && batches.includes(1))
  const numLayers = hasProducts ? Math.max(1, wanted) : 1
  return { ...shape, experts: undefined, layers: Array.from({ length: numLayers }, () => ({ ...first, mlp: 'dense' as const })) }
}
