import type { GpuDevice } from '../device/gpu-device.ts'
import { UnsupportedModelError } from '../errors.ts'
import { productKey } from '../kernels/matmul/product-table.ts'
import type { ProductTable } from '../kernels/matmul/product-table.ts'
import { PipelineCache } from '../kernels/pipeline-cache.ts'
import { MODEL_SHAPE_NAMES, namedShape } from '../models/named-shapes.ts'
import { KeptProducts } from './kept-products.ts'
import { kernelsFingerprint } from './kernels-fingerprint.ts'
import type { KnownAdapter } from './known-adapter.ts'
import { productShapes } from './measured-products.ts'
import { tuneProducts } from './tune-products.ts'

export interface TuneNamedShapesOptions {
  /** Their names; undefined: all of them. */
  readonly shapes: readonly string[] | undefined
  /** Where servers look first; what is measured is kept there, too. Undefined: nowhere. */
  readonly folder: string | undefined
  readonly onProgress: (done: number, total: number, detail: string) => void
}

/**
 * Measures the products of whole models, whatever is known of them: seconds each.
 * @throws UnknownModelShapeError; UnsupportedModelError where the adapter lacks timestamps or tensor cores; OutOfDeviceMemoryError
 */
export async function tuneNamedShapes (gpu: GpuDevice, { shapes = MODEL_SHAPE_NAMES, folder, onProgress }: TuneNamedShapesOptions): Promise<KnownAdapter> {
  const models = shapes.map(name => ({ name, products: productShapes(namedShape(name)) }))
  const { timestamps, subgroupMatrix } = gpu.capabilities
  if (!timestamps || !subgroupMatrix || gpu.report.subgroupMaxSize !== 32) {
    throw new UnsupportedModelError({ field: 'bench kernels --save-known', value: gpu.report.name, supported: 'adapters with tensor cores, subgroups of 32 and timestamp queries' })
  }
  let products: ProductTable = {}
  for (const [done, model] of models.entries()) {
    // Models share shapes, and few share kernels: those of one are let go before the next.
    const missing = model.products.filter(({ columns, k, epilogue, norm }) => products[productKey(columns, k, epilogue, norm)] === undefined)
    const table = await tuneProducts(gpu, missing, {
      pipelines: new PipelineCache(gpu, 'f16', 'f16'),
      onProgress: (_done, _total, detail) => onProgress(done, models.length, `${model.name}: ${detail}`)
    })
    products = { ...products, ...table }
  }
  if (folder !== undefined) await new KeptProducts(folder, gpu.report).add(products)
  onProgress(models.length, models.length, 'products measured')
  return { adapter: gpu.report.name, driver: gpu.report.driver, kernels: kernelsFingerprint(), products }
}
