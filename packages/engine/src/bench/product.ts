import type { GpuDevice } from '../device/gpu-device.ts'
import type { StorageType } from '../engine.ts'
import type { Dispatch } from '../kernels/command-list.ts'
import { plainSum } from '../kernels/matmul/matmul-interface.ts'
import type { MatmulVariant } from '../kernels/matmul/matmul-variant.ts'
import type { WeightLayout } from '../kernels/matmul/weight-layout.ts'
import { PipelineCache } from '../kernels/pipeline-cache.ts'
import { StepPacker } from '../step-inputs.ts'
import { rowsBatch } from './bench-batches.ts'
import { fillWithRandom } from '../weights/random-values.ts'

export interface ProductTypes {
  readonly storage: StorageType
  readonly activation: StorageType
  readonly layout: WeightLayout
}

export interface ProductSize extends ProductTypes {
  readonly rows: number
  readonly columns: number
  /** Length of the sums. */
  readonly k: number
}

/** Whatever tile of rows a kernel works in, it stays in its buffers. */
const ROW_PADDING = 256

/** y = x Wᵀ with random x and W, for any kernel of one layout to compute. Owns its buffers until it is disposed of. */
export class Product implements Disposable {
  readonly #size: ProductSize
  readonly #pipelines: PipelineCache
  readonly #buffers: Readonly<Record<'x' | 'weight' | 'bias' | 'step' | 'y', GPUBuffer>>

  private constructor (size: ProductSize, pipelines: PipelineCache, buffers: Readonly<Record<'x' | 'weight' | 'bias' | 'step' | 'y', GPUBuffer>>) {
    this.#size = size
    this.#pipelines = pipelines
    this.#buffers = buffers
  }

  /** `columns` and `k` are multiples of 32. @throws OutOfDeviceMemoryError, also when an operand is larger than one binding may be */
  static async create (gpu: GpuDevice, size: ProductSize): Promise<Product> {
    const { rows, columns, k, storage, activation } = size
    const words = stepOf(rows)
    const padded = Math.ceil(rows / ROW_PADDING) * ROW_PADDING
    const bytes = (type: StorageType): number => type === 'f16' ? 2 : 4
    const buffers = {
      x: await gpu.createStorage('product rows', padded * k * bytes(activation)),
      weight: await gpu.createStorage('product weight', columns * k * bytes(storage)),
      bias: await gpu.createStorage('no bias', 0),
      step: await gpu.createStorage('product step', words.byteLength),
      y: await gpu.createStorage('product', padded * columns * 4)
    }
    await fillWithRandom(gpu, buffers.x, activation, 1, 1)
    await fillWithRandom(gpu, buffers.weight, storage, 1 / Math.sqrt(k), 2)
    gpu.queue.writeBuffer(buffers.step, 0, words)
    return new Product(size, new PipelineCache(gpu, storage, activation), buffers)
  }

  /** @throws InvalidShaderError */
  async dispatch ({ kernel, rows, columns, rowsFirst = false }: MatmulVariant): Promise<Dispatch> {
    const { columns: outputs, k } = this.#size
    const pipeline = await this.#pipelines.get(kernel, { K: k, N: outputs, FIRST_COLUMN: 0, COLUMNS: outputs, OWN_COLUMNS: outputs, LOGIT_ROWS: 0, ...plainSum })
    const [alongRows, alongColumns] = [Math.ceil(this.#size.rows / rows), Math.ceil(outputs / columns)]
    return { label: kernel.name, pipeline: pipeline.gpu, bindGroup: pipeline.bind(this.#buffers), grid: rowsFirst ? [alongRows, alongColumns, 1] : [alongColumns, alongRows, 1] }
  }

  [Symbol.dispose] (): void {
    for (const buffer of Object.values(this.#buffers)) buffer.destroy()
  }
}

/** A step's inputs that say no more than how many rows there are. */
export function stepOf (rows: number): Uint32Array<ArrayBuffer> {
  const limits = { maxBatchedTokens: rows, maxSequences: rows, maxLogitRows: 0, maxModelLen: rows, numKVBlocks: rows, blockSize: 16, vocabSize: 1 }
  return new StepPacker(limits, { tileTokens: 16, split: () => ({ keys: 128, subgroups: 1 }), partialSplits: 0, groups: undefined }).pack(rowsBatch(rows, 0, limits)).words
}
