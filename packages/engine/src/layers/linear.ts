import type { CommandList } from '../kernels/command-list.ts'
import { matmulVariants } from '../kernels/matmul/matmul-variants.ts'
import type { matmulBindings } from '../kernels/matmul/matmul-interface.ts'
import type { Epilogue } from '../kernels/matmul/weight-layout.ts'
import type { Pipeline, PipelineCache } from '../kernels/pipeline-cache.ts'
import type { GpuDevice } from '../device/gpu-device.ts'
import type { LinearWeight } from '../weights/linear-weight.ts'

type MatmulBindings = typeof matmulBindings

interface Variant {
  /** Rows of x a workgroup serves. */
  readonly rows: number
  /** Output columns a workgroup computes. */
  readonly columns: number
  /** Most rows of x this variant is chosen for. */
  readonly upTo: number
  readonly pipelines: ReadonlyArray<Pipeline<MatmulBindings>>
}

export interface LinearBuffers {
  readonly x: GPUBuffer
  readonly y: GPUBuffer
  readonly step: GPUBuffer
  /** One value per output, or per gate and then per up output, f32; bound to anything when there is none. */
  readonly bias: GPUBuffer
}

export interface LinearOptions {
  readonly device: GpuDevice
  readonly pipelines: PipelineCache
  /** Rows of x are logit rows, not tokens. */
  readonly logitRows: boolean
  readonly biased: boolean
  /** Multiplies each output; default 1. */
  readonly scale?: number
  readonly softcap?: number | undefined
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
    options: LinearOptions,
    buffers: LinearBuffers
  ): Promise<Linear> {
    const variants = await Promise.all(matmulVariants(weight, epilogue, options.device).map(async ({ kernel, rows, columns, upTo }) => {
      const pipelines = await Promise.all(weight.parts.map(part => options.pipelines.get(kernel, {
        K: weight.k,
        N: part.columns * (weight.gated ? 2 : 1),
        FIRST_COLUMN: part.firstColumn,
        COLUMNS: weight.columns,
        OWN_COLUMNS: part.columns,
        LOGIT_ROWS: Number(options.logitRows),
        BIAS: Number(options.biased),
        SCALE: options.scale ?? 1,
        SOFTCAP: options.softcap ?? 0
      })))
      return { rows, columns, upTo, pipelines }
    }))
    return new Linear(label, weight, variants, buffers)
  }

  /** @param rows rows of x */
  record (list: CommandList, rows: number): void {
    const variant = this.#variants.find(v => v.upTo >= rows)
    if (variant === undefined) return
    this.#weight.parts.forEach((part, i) => {
      const pipeline = variant.pipelines[i]
      const group = this.#groups[i]
      if (pipeline === undefined || group === undefined) return
      list.dispatch(this.#label, pipeline, group, [Math.ceil(part.columns / variant.columns), Math.ceil(rows / variant.rows), 1])
    })
  }
}
