import type { StepShape } from '../step-inputs.ts'
import { gemvNormed, normedBytes } from '../kernels/matmul/gemv-normed.ts'
import { vectorLoop } from '../kernels/matmul/fast-variants.ts'
import { isGated } from '../kernels/matmul/weight-layout.ts'
import type { Epilogue } from '../kernels/matmul/weight-layout.ts'
import type { LinearWeight } from '../weights/linear-weight.ts'
import { createBehindNorm } from './deferred-norm.ts'
import type { DeferredNorm } from './deferred-norm.ts'
import type { LayerContext } from './layer-context.ts'
import { Linear, linearOverrides } from './linear.ts'
import type { LinearBuffers, LinearOptions } from './linear.ts'
import type { Recorder } from './norms.ts'

export interface NormedLinearParts {
  readonly label: string
  /** Writes the linear's x: the residual stream's rows, normalised. */
  readonly norm: Recorder
  /** The norm's weight; undefined where x is the residual stream as it is. */
  readonly normWeight: GPUBuffer | undefined
  readonly weight: LinearWeight
  readonly epilogue: Epilogue
  readonly options: LinearOptions
  readonly buffers: LinearBuffers
  /** The projection that went into the residual stream last: where it left parts, the norm has to add them up first. */
  readonly before: Linear | undefined
  /** Where the norm is left to this projection and the one before. */
  readonly deferred: DeferredNorm | undefined
  /** Rows of x in a step. */
  readonly rows: (shape: StepShape) => number
}

/** A norm, and the projection of what it normalises: one dispatch for a single row where the weight is tiled, and where the norm is deferred; else two. */
export async function createNormedLinear (context: LayerContext, parts: NormedLinearParts): Promise<Recorder> {
  const { label, norm, normWeight, weight, epilogue, options, buffers, before, deferred, rows } = parts
  const linear = await Linear.create(label, weight, epilogue, { ...options, leaves: deferred?.takes }, buffers)
  const behindNorm = deferred === undefined ? undefined : await createBehindNorm(context, deferred, parts)
  const severalRows: Recorder = (list, shape) => {
    if (behindNorm !== undefined && deferred?.takes(shape.tokens) === true) {
      behindNorm(list, shape)
      return
    }
    norm(list, shape)
    linear.record(list, rows(shape))
  }
  if (normWeight === undefined || weight.layout !== 'tiled' || options.deterministic) return severalRows
  const loop = vectorLoop(weight.columns, weight.k, context.device.capabilities)
  if (normedBytes(loop, isGated(epilogue) ? 2 : 1) > context.device.capabilities.maxWorkgroupBytes) return severalRows
  const kernel = gemvNormed({ ...loop, epilogue })
  const dispatches = await Promise.all(weight.parts.map(async part => {
    const pipeline = await context.pipelines.get(kernel, { ...linearOverrides(weight, part, options), EPS: context.config.norm.eps })
    return { pipeline, group: pipeline.bind({ ...buffers, x: context.buffers.residual, weight: part.buffer, norm: normWeight }), columns: part.columns }
  }))
  return (list, shape) => {
    if (rows(shape) !== 1 || (before?.partsOf(shape.tokens) ?? 1) > 1) severalRows(list, shape)
    else for (const { pipeline, group, columns } of dispatches) list.dispatch(`${label} normed`, pipeline, group, [Math.ceil(columns / 16), 1, 1])
  }
}
