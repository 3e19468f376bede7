import type { GpuDevice } from '../device/gpu-device.ts'
import type { LoadProgress } from '../engine.ts'
import { normBehind } from '../engine-plan.ts'
import { OutOfDeviceMemoryError } from '../errors.ts'
import { productKey } from '../kernels/matmul/product-table.ts'
import type { ProductTable } from '../kernels/matmul/product-table.ts'
import { gateEpilogue } from '../kernels/matmul/weight-layout.ts'
import type { PipelineCache } from '../kernels/pipeline-cache.ts'
import type { ModelConfig } from '../models/model-config.ts'
import { KeptProducts } from './kept-products.ts'
import { kernelsFingerprint } from './kernels-fingerprint.ts'
import type { KnownAdapter } from './known-adapter.ts'
import { knownAdapters } from './known-adapters.ts'
import { knownProducts } from './known-products.ts'
import { tuneProducts } from './tune-products.ts'
import type { ProductShape } from './tune-products.ts'

export interface MeasuredProductsOptions {
  readonly pipelines: PipelineCache
  /** Where measurements are kept; undefined: neither read nor made, and what the repository knows is all. */
  readonly folder: string | undefined
  /** The repository's tables. */
  readonly known?: readonly KnownAdapter[]
  /** Measures what is known, too, and replaces it. */
  readonly anew?: boolean
  readonly onProgress: (progress: LoadProgress) => void
}

/** The shapes of a model's products on tensor cores; experts have kernels of their own. */
export function productShapes (config: ModelConfig): ProductShape[] {
  const { hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, vocabSize, activation, layers, attention, mlpBias, rotaries } = config
  const norm = normBehind(config)
  const dense = layers.some(({ mlp }) => mlp === 'dense')
  return [
    { columns: (numHeads + 2 * numKVHeads) * headDim, k: hiddenSize, epilogue: 'store', turned: attention.qkNorm === undefined && headDim % 32 === 0 && rotaries.every(({ dim }) => dim === headDim) },
    { columns: hiddenSize, k: numHeads * headDim, epilogue: 'store', norm: attention.outputBias ? undefined : norm },
    ...dense ? [{ columns: intermediateSize, k: hiddenSize, epilogue: gateEpilogue(activation) }, { columns: hiddenSize, k: intermediateSize, epilogue: 'store', norm: mlpBias ? undefined : norm }] as const : [],
    { columns: vocabSize, k: hiddenSize, epilogue: 'store' }
  ]
}

/**
 * Which kernels are fastest for a model's products on this adapter: what was measured on it, from the folder; what was measured on one of
 * its name, from the repository; and measured now where neither knows. That takes seconds the first time. Where there is no memory to
 * measure with, rules decide.
 */
export async function measuredProducts (gpu: GpuDevice, config: ModelConfig, { pipelines, folder, known: tables = knownAdapters, anew = false, onProgress }: MeasuredProductsOptions): Promise<ProductTable> {
  const fingerprint = kernelsFingerprint()
  const ofItsName = knownProducts(gpu.report, tables, fingerprint)
  if (folder === undefined) return ofItsName
  const kept = new KeptProducts(folder, gpu.report, fingerprint)
  const known = { ...ofItsName, ...await kept.read() }
  const missing = productShapes(config).filter(({ columns, k, epilogue, norm }) => anew || known[productKey(columns, k, epilogue, norm)] === undefined)
  if (missing.length === 0 || !gpu.capabilities.timestamps) return known
  try {
    const measured = await tuneProducts(gpu, missing, {
      pipelines,
      onProgress: (done, total, detail) => onProgress({ stage: 'kernels', done, total, detail })
    })
    await kept.add(measured)
    return { ...known, ...measured }
  } catch (error) {
    if (error instanceof OutOfDeviceMemoryError) return known
    throw error
  }
}
