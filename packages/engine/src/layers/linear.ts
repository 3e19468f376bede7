import type { CommandList } from '../kernels/command-list.ts'
import { fmaMatmul } from '../kernels/matmul/fma-matmul.ts'
import type { Epilogue, WeightLayout } from '../kernels/matmul/weight-layout.ts'
import type { Pipeline, PipelineCache } from '../kernels/pipeline-cache.ts'
import type { GpuDevice } from '../device/gpu-device.ts'

/** One buffer's share of a weight: a binding may not span more than the adapter allows, so a large weight is split by outputs. */
export interface WeightPart {
  readonly buffer: GPUBuffer
  /** First output column of y that this part writes. */
  readonly firstColumn: number
  /** Output columns: the rows of the buffer, or half of them for a gated weight (gate rows, then as many up rows). */
  readonly columns: number
}

/** A projection's weight on the device. */
export interface LinearWeight {
  readonly k: number
  /** Output columns of y over all parts. */
  readonly columns: number
  readonly gated: boolean
  readonly layout: WeightLayout
  readonly parts: readonly WeightPart[]
}

type MatmulBindings = { readonly x: 'read', readonly weight: 'read', readonly step: 'read', readonly y: 'read_write' }

interface Variant {
  /** Rows of x a workgroup serves. */
  readonly rows: number
  readonly columns: number
  readonly pipelines: ReadonlyArray<Pipeline<MatmulBindings>>
}

export interface LinearBuffers {
  readonly x: GPUBuffer
  readonly y: GPUBuffer
  readonly step: GPUBuffer
}

/** A projection bound to its input and output; `record` chooses the variant for the number of rows. */
export class Linear {
  readonly #variants: readonly Variant[]
  readonly #weight: LinearWeight
  readonly #label: string
  readonly #groups: readonly GPUBindGroup[]

  private constructor (label: string, weight: LinearWeight, variants: readonly Variant[], buffers: LinearBuffers) {
    this.#label = label
    this.#weight = weight
    this.#variants = variants
    this.#groups = weight.parts.map((part, i) => {
      const pipeline = variants[0]?.pipelines[i]
      if (pipeline === undefined) throw new TypeError(`${label} has no kernel`)
      return pipeline.bind({ ...buffers, weight: part.buffer })
    })
  }

  static async create (
    label: string,
    weight: LinearWeight,
    epilogue: Epilogue,
    options: { readonly device: GpuDevice, readonly pipelines: PipelineCache, readonly logitRows: boolean },
    buffers: LinearBuffers
  ): Promise<Linear> {
    const variants = await Promise.all(fmaShapes(weight, options.device).map(async ({ rows, columns, splits, parallelSplits }) => {
      const kernel = fmaMatmul({ rows, columns, splits, parallelSplits, epilogue })
      const pipelines = await Promise.all(weight.parts.map(part => options.pipelines.get(kernel, {
        K: weight.k,
        N: part.columns * (weight.gated ? 2 : 1),
        FIRST_COLUMN: part.firstColumn,
        COLUMNS: weight.columns,
        OWN_COLUMNS: part.columns,
        LOGIT_ROWS: Number(options.logitRows)
      })))
      return { rows, columns, pipelines }
    }))
    return new Linear(label, weight, variants, buffers)
  }

  /** @param rows rows of x */
  record (list: CommandList, rows: number): void {
    const variant = this.#variants.find(v => v.rows >= rows) ?? this.#variants.at(-1)
    if (variant === undefined) return
    this.#weight.parts.forEach((part, i) => {
      const pipeline = variant.pipelines[i]
      const group = this.#groups[i]
      if (pipeline === undefined || group === undefined) return
      list.dispatch(this.#label, pipeline, group, [Math.ceil(part.columns / variant.columns), Math.ceil(rows / variant.rows), 1])
    })
  }
}

/**
 * The FMA variants for a weight, by ascending rows. `splits` follows from the adapter and the weight alone (fma-matmul.ts says why).
 * A software adapter has a handful of wide cores: one thread a column and no barrier is fastest. A GPU needs K cut up to be filled.
 */
function fmaShapes (weight: LinearWeight, device: GpuDevice): Array<{ rows: number, columns: number, splits: number, parallelSplits: boolean }> {
  if (device.capabilities.software) {
    return [1, 2, 4, 8].map(rows => ({ rows, columns: 32, splits: 1, parallelSplits: false }))
  }
  const splits = Math.min(8, Math.max(1, Math.floor(weight.k / 64)))
  return [
    ...[1, 2, 4, 8].map(rows => ({ rows, columns: 32, splits, parallelSplits: true })),
    { rows: 16, columns: 64, splits, parallelSplits: false }
  ]
}
