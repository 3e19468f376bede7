import type { CommandList } from '../kernels/command-list.ts'
import { deferredRows } from '../kernels/matmul/deferred-norm.ts'
import { matmulVariants } from '../kernels/matmul/matmul-variants.ts'
import type { matmulBindings, matmulOverrides } from '../kernels/matmul/matmul-interface.ts'
import type { NormBehind, ProductTable } from '../kernels/matmul/product-table.ts'
import type { Epilogue } from '../kernels/matmul/weight-layout.ts'
import type { Pipeline, PipelineCache } from '../kernels/pipeline-cache.ts'
import type { GpuDevice } from '../device/gpu-device.ts'
import type { LinearWeight, WeightPart } from '../weights/linear-weight.ts'

type MatmulBindings = typeof matmulBindings

interface Variant {
  /** Rows of x a workgroup serves. */
  readonly rows: number
  /** Output columns a workgroup computes. */
  readonly columns: number
  /** Most rows of x this variant is chosen for. */
  readonly upTo: number
  /** Workgroups run along rows first, so that those that run together share W. */
  readonly rowsFirst: boolean
  readonly parts: number
  readonly pipelines: ReadonlyArray<Pipeline<MatmulBindings>>
}

export interface LinearBuffers {
  readonly x: GPUBuffer
  readonly y: GPUBuffer
  readonly step: GPUBuffer
  /** One value per output, or per gate and then per up output, f32; bound to anything when there is none. */
  readonly bias: GPUBuffer
  /**
   * `[part][partRows][columns]` f32, for sums of parts of K: present where whoever reads y adds them to it. Then y lacks them, and
   * `partsOf` tells how many there are.
   */
  readonly partialSums?: GPUBuffer | undefined
}

export interface LinearOptions {
  readonly device: GpuDevice
  readonly pipelines: PipelineCache
  readonly deterministic: boolean
  readonly products: ProductTable
  /** Rows of x are logit rows, not tokens. */
  readonly logitRows: boolean
  readonly biased: boolean
  /** Multiplies each output; default 1. */
  readonly scale?: number
  readonly softcap?: number | undefined
  /** Which norm reads the product; undefined where nothing adds up parts of it. */
  readonly norm?: NormBehind | undefined
  /** Numbers of rows that other kernels compute: none is compiled for them. */
  readonly leaves?: ((rows: number) => boolean) | undefined
}

/** The overrides of a matrix kernel for one part of a weight. */
export function linearOverrides (weight: LinearWeight, part: WeightPart, { logitRows, biased, scale = 1, softcap = 0 }: LinearOptions): Record<typeof matmulOverrides[number], number> {
  return {
    K: weight.k,
    N: part.columns * (weight.gated ? 2 : 1),
    FIRST_COLUMN: part.firstColumn,
    COLUMNS: weight.columns,
    OWN_COLUMNS: part.columns,
    LOGIT_ROWS: Number(logitRows),
    BIAS: Number(biased),
    SCALE: scale,
    SOFTCAP: softcap
  }
}

/** True for all of a range that ends; one without an end has rows that nobody else computes. */
function allRows (from: number, upTo: number, is: (rows: number) => boolean): boolean {
  return Number.isFinite(upTo) && upTo <= deferredRows && Array.from({ length: upTo - from + 1 }, (_, i) => from + i).every(is)
}

/** A projection bound to its input and output; `record` chooses the variant for the number of rows. */
export class Linear {
  readonly #variants: readonly Variant[]
  readonly #weight: LinearWeight
  readonly #label: string
  readonly #groups: readonly GPUBindGroup[]
  readonly #partedGroups: readonly GPUBindGroup[]

  private constructor (label: string, weight: LinearWeight, variants: readonly Variant[], buffers: LinearBuffers) {
    this.#label = label
    this.#weight = weight
    this.#variants = variants
    const bind = ({ x, y, step, bias }: LinearBuffers): GPUBindGroup[] => weight.parts.map(({ buffer }, i) => {
      const pipeline = variants.find(({ pipelines }) => pipelines.length > 0)?.pipelines[i]
      if (pipeline === undefined) throw new TypeError(`${label} has no kernel`)
      return pipeline.bind({ x, y, step, bias, weight: buffer })
    })
    this.#groups = bind(buffers)
    this.#partedGroups = buffers.partialSums === undefined ? [] : bind({ ...buffers, y: buffers.partialSums })
  }

  static async create (
    label: string,
    weight: LinearWeight,
    epilogue: Epilogue,
    options: LinearOptions,
    buffers: LinearBuffers
  ): Promise<Linear> {
    const { device, deterministic, products } = options
    const known = matmulVariants(weight, epilogue, device, deterministic, { table: products, norm: buffers.partialSums === undefined ? undefined : options.norm })
    const variants = await Promise.all(known.map(async ({ kernel, rows, columns, upTo, rowsFirst = false, parts = 1 }, i) => {
      const isLeft = options.leaves !== undefined && allRows((known[i - 1]?.upTo ?? 0) + 1, upTo, options.leaves)
      const pipelines = isLeft ? [] : await Promise.all(weight.parts.map(part => options.pipelines.get(kernel, linearOverrides(weight, part, options))))
      return { rows, columns, upTo, rowsFirst, parts, pipelines }
    }))
    return new Linear(label, weight, variants, buffers)
  }

  /** Parts of K whose sums are left in `partialSums`, for so many rows of x; 1: y has them. */
  partsOf (rows: number): number {
    return this.#variantFor(rows)?.parts ?? 1
  }

  /** All numbers of parts that there are, but for 1. */
  get partCounts (): number[] {
    return [...new Set(this.#variants.map(({ parts }) => parts))].filter(parts => parts > 1)
  }

  #variantFor (rows: number): Variant | undefined {
    return this.#variants.find(({ upTo }) => upTo >= rows)
  }

  /** @param rows rows of x */
  record (list: CommandList, rows: number): void {
    const variant = this.#variantFor(rows)
    if (variant === undefined) return
    this.#weight.parts.forEach((part, i) => {
      const pipeline = variant.pipelines[i]
      const group = (variant.parts > 1 ? this.#partedGroups : this.#groups)[i]
      if (pipeline === undefined || group === undefined) throw new RangeError(`${this.#label} has no kernel for ${rows} rows`)
      const alongColumns = Math.ceil(part.columns / variant.columns)
      const alongRows = Math.ceil(rows / variant.rows)
      list.dispatch(this.#label, pipeline, group, variant.rowsFirst ? [alongRows, alongColumns, variant.parts] : [alongColumns, alongRows, 1])
    })
  }
}
