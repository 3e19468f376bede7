import { PassTimer } from '../device/pass-timer.ts'
import { fillWithRandom } from '../weights/random-values.ts'
import type { GpuDevice } from '../device/gpu-device.ts'
import type { Dispatch } from '../kernels/command-list.ts'
import type { matmulOverrides } from '../kernels/matmul/matmul-interface.ts'
import { ruledProducts } from '../kernels/matmul/fast-variants.ts'
import { deferredRows } from '../kernels/matmul/deferred-norm.ts'
import { beforeNormGrid, mmaBeforeNorm } from '../kernels/matmul/mma-before-norm.ts'
import type { BeforeNormGrid } from '../kernels/matmul/mma-before-norm.ts'
import { partSumRows } from '../kernels/matmul/mma-linear.ts'
import { plainSum } from '../kernels/matmul/matmul-interface.ts'
import { MANY_COLUMNS } from '../kernels/matmul/matmul-variant.ts'
import type { MatmulVariant } from '../kernels/matmul/matmul-variant.ts'
import { MOST_VECTOR_ROWS, productKey, productVariant, rotaryProduct } from '../kernels/matmul/product-table.ts'
import type { NormBehind, ProductChoice, ProductKernel, ProductTable } from '../kernels/matmul/product-table.ts'
import type { Epilogue } from '../kernels/matmul/weight-layout.ts'
import { isGated } from '../kernels/matmul/weight-layout.ts'
import { PipelineCache } from '../kernels/pipeline-cache.ts'
import { beforeNormSettings, createNormBehind } from './norm-behind.ts'
import { rowRanges } from './product-candidates.ts'
import type { RowRange } from './product-candidates.ts'

/** One shape of a model's weights; one of very many columns is a head, whose rows are those of logits. */
export interface ProductShape {
  readonly columns: number
  readonly k: number
  readonly epilogue: Epilogue
  /** Which norm reads the product, if one does. */
  readonly norm?: NormBehind | undefined
  /** Queries, keys and values, which the kernel that projects them turns, too. */
  readonly turned?: boolean
}

export interface TuneOptions {
  readonly pipelines: PipelineCache
  readonly onProgress: (done: number, total: number, detail: string) => void
}

/** Weights that are read in turn come to this much, more than any cache on a GPU. */
const TURN_BYTES = 208e6
/** The card is busy from one measurement to the next: it need not be woken for each. */
const QUICK = { wakeSeconds: 0.005, passSeconds: 0.002 }
/** What is not this much faster than what the rules choose, twice, is noise: the rules' choice stays. */
const WORTH = 0.95

/**
 * Measures which kernel is fastest for every shape and range of rows, with random weights and rows; with the norm behind it where that is to be had in parts, or not at all. The device must have timestamps
 * and tensor cores, and nothing else to do.
 * @throws OutOfDeviceMemoryError when a shape's buffers do not fit
 */
export async function tuneProducts (gpu: GpuDevice, shapes: readonly ProductShape[], { pipelines, onProgress }: TuneOptions): Promise<ProductTable> {
  const distinct = new Map(shapes.map(shape => [productKey(shape.columns, shape.k, shape.epilogue, shape.norm), shape]))
  // Compiling takes longer than measuring, and drivers compile side by side.
  await Promise.all([...distinct.values()].flatMap(shape => rowRanges(shape.columns, shape.norm !== undefined).flatMap(range => candidatesOf(gpu, shape, range).map(({ variant, beforeNorm }) => beforeNorm === undefined
    ? pipelines.get(variant.kernel, overridesOf(shape))
    : pipelines.get(mmaBeforeNorm(beforeNorm), beforeNormSettings(shape.k, shape.columns))))))
  using timer = new PassTimer(gpu)
  const table: Record<string, readonly ProductChoice[]> = {}
  for (const [key, shape] of distinct) {
    onProgress(Object.keys(table).length, distinct.size, `measuring products of ${key}`)
    table[key] = await tuneShape(gpu, timer, shape, pipelines)
  }
  onProgress(distinct.size, distinct.size, 'products measured')
  return table
}

interface Candidate {
  readonly kernel: ProductKernel
  readonly variant: MatmulVariant
  /** What stands for it before a norm that is deferred. */
  readonly beforeNorm: BeforeNormGrid | undefined
}

/** What the rules choose first, then the others. */
function candidatesOf (gpu: GpuDevice, { columns, k, epilogue, norm, turned }: ProductShape, { upTo, measuredRows, candidates }: RowRange): Candidate[] {
  const ruled = ruledProducts(columns, k, epilogue, gpu.capabilities, norm).find(choice => choice.upTo >= measuredRows)?.kernel
  const kernels = [...ruled === undefined ? [] : [ruled], ...candidates].map(kernel => turned === true ? rotaryProduct(kernel) : kernel)
  const fitting = kernels.flatMap((kernel): Candidate[] => {
    const variant = productVariant({ upTo, kernel }, k, epilogue, gpu.capabilities)
    // So few rows are mostly read by a gate's vector kernel, which has no deferred norm.
    const defers = norm === 'deferred' && measuredRows > MOST_VECTOR_ROWS && measuredRows <= deferredRows
    return variant === undefined ? [] : [{ kernel, variant, beforeNorm: defers ? beforeNormGrid(kernel, gpu.capabilities) : undefined }]
  })
  return fitting.filter(({ variant: { kernel: { name } } }, i) => fitting.findIndex(({ variant }) => variant.kernel.name === name) === i)
}

function overridesOf ({ columns, k, epilogue }: ProductShape): Record<typeof matmulOverrides[number], number> {
  return { K: k, N: columns * (isGated(epilogue) ? 2 : 1), FIRST_COLUMN: 0, COLUMNS: columns, OWN_COLUMNS: columns, LOGIT_ROWS: Number(columns >= MANY_COLUMNS), ...plainSum }
}

async function tuneShape (gpu: GpuDevice, timer: PassTimer, shape: ProductShape, pipelines: PipelineCache): Promise<ProductChoice[]> {
  const { columns, k, epilogue, norm } = shape
  const ranges = rowRanges(columns, norm !== undefined)
  const weightRows = columns * (isGated(epilogue) ? 2 : 1)
  const copies = Math.max(1, Math.min(32, Math.ceil(TURN_BYTES / (2 * weightRows * k))))
  const mostRows = Math.max(...ranges.map(({ measuredRows }) => measuredRows))
  const owned: GPUBuffer[] = []
  const create = async (label: string, bytes: number): Promise<GPUBuffer> => {
    const buffer = await gpu.createStorage(label, bytes)
    owned.push(buffer)
    return buffer
  }
  try {
    const weights: GPUBuffer[] = []
    for (let i = 0; i < copies; i++) weights.push(await create('tuned weight', 2 * weightRows * k))
    for (const [i, weight] of weights.entries()) await fillWithRandom(gpu, weight, 'f16', 1 / Math.sqrt(k), i, pipelines)
    // Rows that pad a workgroup's tile are written, too.
    const padded = Math.max(256, mostRows)
    const x = await create('tuned rows', 2 * padded * k)
    await fillWithRandom(gpu, x, 'f16', 1, 1, pipelines)
    const fills = new PipelineCache(gpu, 'f32', 'f32')
    const [y, bias] = [await create('tuned product', 4 * Math.max(padded, partSumRows) * columns), await create('no bias', 0)]
    const choices: ProductChoice[] = []
    for (const range of ranges) {
      const { upTo, measuredRows } = range
      const step = await create('tuned step', 48)
      gpu.queue.writeBuffer(step, 0, Uint32Array.of(measuredRows, 0, 0, measuredRows, 0, 3, 3, 3, 0, 12, 0, 0))
      const normBehind = norm !== undefined ? await createNormBehind(gpu, { pipelines, fills, x, product: y, step, rows: measuredRows, columns, k, create }) : undefined
      const unitsOf = async ({ kernel, variant, beforeNorm }: Candidate): Promise<Dispatch[][]> => {
        if (normBehind !== undefined && beforeNorm !== undefined) return await Promise.all(weights.map(async weight => [await normBehind.deferred(beforeNorm, weight)]))
        const pipeline = await pipelines.get(variant.kernel, overridesOf(shape))
        const [alongRows, alongColumns] = [Math.ceil(measuredRows / variant.rows), Math.ceil(columns / variant.columns)]
        const behind = normBehind === undefined ? [] : [await normBehind.apart(variant.parts ?? 1)]
        return weights.map((weight): Dispatch[] => [{
          label: kernel.join(' '), pipeline: pipeline.gpu, bindGroup: pipeline.bind({ x, weight, bias, step, y }), grid: variant.rowsFirst === true ? [alongRows, alongColumns, variant.parts ?? 1] : [alongColumns, alongRows, 1]
        }, ...behind])
      }
      const timed: Array<{ readonly kernel: ProductKernel, readonly units: Dispatch[][], readonly seconds: number }> = []
      for (const candidate of candidatesOf(gpu, shape, range)) {
        const units = await unitsOf(candidate)
        const { seconds } = await timer.time(units, QUICK)
        timed.push({ kernel: candidate.kernel, units, seconds })
      }
      const [ruled] = timed
      const best = timed.toSorted((a, b) => a.seconds - b.seconds)[0]
      if (ruled === undefined || best === undefined) continue
      const isBetter = best.seconds < ruled.seconds * WORTH && (await timer.time(best.units, QUICK)).seconds < (await timer.time(ruled.units, QUICK)).seconds * WORTH
      choices.push({ upTo, kernel: isBetter ? best.kernel : ruled.kernel })
    }
    return choices
  } finally {
    for (const buffer of owned) buffer.destroy()
  }
}
