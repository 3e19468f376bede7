import { gemvMerged, mergedBytes, mostMergedParts } from '../kernels/matmul/gemv-merged.ts'
import { vectorLoop } from '../kernels/matmul/fast-variants.ts'
import type { Epilogue } from '../kernels/matmul/weight-layout.ts'
import type { StepShape } from '../step-inputs.ts'
import type { LinearWeight } from '../weights/linear-weight.ts'
import type { LayerContext } from './layer-context.ts'
import { linearOverrides } from './linear.ts'
import type { Linear, LinearBuffers, LinearOptions } from './linear.ts'
import type { Recorder } from './norms.ts'

/** True where the parts of a single token's attention are left for the projection behind it. */
export type LeavesParts = (shape: StepShape) => boolean

export interface AttentionOutputParts {
  readonly weight: LinearWeight
  readonly epilogue: Epilogue
  readonly options: LinearOptions
  readonly buffers: LinearBuffers
  /** Keys a query sees; undefined: all before it. */
  readonly window: number | undefined
  /** The same projection of merged rows. */
  readonly whole: Linear
}

/** The output projection of a single token, straight from the parts of its attention; undefined where that is not to be had. */
export async function createMergedOutput (context: LayerContext, { weight, epilogue, options, buffers, window, whole }: AttentionOutputParts): Promise<{ readonly takes: LeavesParts, readonly record: Recorder } | undefined> {
  const { device, pipelines, config, attention, deterministic } = context
  const loop = vectorLoop(weight.columns, weight.k, device.capabilities)
  if (attention.type !== 'matrix' || weight.layout !== 'tiled' || deterministic || mergedBytes(loop) > device.capabilities.maxWorkgroupBytes) return undefined
  const kernel = gemvMerged({ ...loop, epilogue })
  const dispatches = await Promise.all(weight.parts.map(async part => {
    const pipeline = await pipelines.get(kernel, { ...linearOverrides(weight, part, options), HEAD_DIM: config.headDim, WINDOW: window ?? 0 })
    const { partialOut, partialMaxSum } = context.buffers
    return { pipeline, group: pipeline.bind({ ...buffers, x: partialOut, max_sums: partialMaxSum, weight: part.buffer }), columns: part.columns }
  }))
  return {
    // Who takes parts of the projection's own sums expects them at every step of a single token.
    takes: ({ tokens, singles, splits, groups }) => tokens === 1 && singles === 1 && groups === 0 && splits > 1 && splits <= mostMergedParts && whole.partsOf(1) === 1,
    record: list => { for (const { pipeline, group, columns } of dispatches) list.dispatch('output merged', pipeline, group, [Math.ceil(columns / 16), 1, 1]) }
  }
}
