import type { CommandList } from '../kernels/command-list.ts'
import { deferredRows } from '../kernels/matmul/deferred-norm.ts'
import { partRows } from '../kernels/matmul/mma-linear.ts'
import { normAdd, qkNorm, rmsNorm, rmsNormSummed, toActivation } from '../kernels/model-kernels.ts'
import type { StepShape } from '../step-inputs.ts'
import type { LayerContext } from './layer-context.ts'
import type { Linear } from './linear.ts'

export type Recorder = (list: CommandList, shape: StepShape) => void

/** A power of two, since sums are reduced by halves where there are no subgroups; not every adapter's limit is one. */
export function normThreads ({ device }: Pick<LayerContext, 'device'>, length: number): number {
  const { maxWorkgroupThreads, software } = device.capabilities
  return 2 ** Math.floor(Math.log2(Math.min(maxWorkgroupThreads, software ? 32 : length >= 2048 ? 512 : 128)))
}

/** Which of a layer's norms: attention's or MLP's. */
export type WhichNorm = 0 | 1

/**
 * `normed = norm(residual)`, the input of a layer's projections; without a weight, the residual stream as it is.
 * @param before the projection that went into the residual stream last, whose parts are added up here
 */
export async function createInputNorm (context: LayerContext, which: WhichNorm, weight: GPUBuffer | undefined, before: Linear | undefined): Promise<Recorder> {
  const { pipelines, config, buffers } = context
  const { residual, step, normed } = buffers
  const label = which === 0 ? 'attention_norm' : 'mlp_norm'
  if (weight === undefined) {
    if ((before?.partCounts.length ?? 0) > 0) throw new TypeError(`${label}: nothing adds up the parts of the projection before it`)
    const copy = await pipelines.get(toActivation, { HIDDEN_SIZE: config.hiddenSize })
    const group = copy.bind({ x: residual, step, y: normed })
    return (list, shape) => list.dispatch('to_activation', copy, group, [Math.ceil(config.hiddenSize / 256), shape.tokens, 1])
  }
  return await createResidualNorm(context, { label, weight, y: normed, before, which })
}

/** `headInput = norm(residual)` of the rows that need logits. */
export async function createFinalNorm (context: LayerContext, weight: GPUBuffer, before: Linear | undefined): Promise<Recorder> {
  return await createResidualNorm(context, { label: 'final_norm', weight, y: context.buffers.headInput, before, which: undefined })
}

interface ResidualNorm {
  readonly label: string
  readonly weight: GPUBuffer
  readonly y: GPUBuffer
  readonly before: Linear | undefined
  /** Undefined: the last norm, only of rows that need logits. */
  readonly which: WhichNorm | undefined
}

async function createResidualNorm (context: LayerContext, { label, weight, y, before, which }: ResidualNorm): Promise<Recorder> {
  const { pipelines, config, buffers: { residual, step, partialSums, rowScales } } = context
  const gather = which === undefined
  const left = gather || partialSums === undefined ? 0 : deferredRows
  const overrides = { HIDDEN_SIZE: config.hiddenSize, EPS: config.norm.eps, GATHER: Number(gather), THREADS: normThreads(context, config.hiddenSize), LEFT_AT: (which ?? 0) * left, LEFT_ROWS: left }
  const norm = await pipelines.get(rmsNorm, overrides)
  const group = norm.bind({ x: residual, weight, step, y, row_scales: rowScales })
  const summed = new Map(partialSums === undefined || before === undefined
    ? []
    : await Promise.all(before.partCounts.map(async parts => {
      const pipeline = await pipelines.get(rmsNormSummed, { ...overrides, PARTS: parts, PART_ROWS: partRows(parts) })
      return [parts, { pipeline, group: pipeline.bind({ x: residual, sums: partialSums, weight, step, y, row_scales: rowScales }) }] as const
    })))
  return (list, shape) => {
    const rows = gather ? shape.logitRows : shape.tokens
    const adding = summed.get(before?.partsOf(shape.tokens) ?? 1)
    if (adding === undefined) list.dispatch(label, norm, group, [rows, 1, 1])
    else list.dispatch(`${label} summed`, adding.pipeline, adding.group, [rows, 1, 1])
  }
}

/** `residual += norm(branch)`; nothing without a weight, since the projection before it has added to the residual itself. */
export async function createBranchNorm (context: LayerContext, label: string, weight: GPUBuffer | undefined): Promise<Recorder> {
  if (weight === undefined) return () => {}
  const { pipelines, config, buffers } = context
  const norm = await pipelines.get(normAdd, { HIDDEN_SIZE: config.hiddenSize, EPS: config.norm.eps, THREADS: normThreads(context, config.hiddenSize) })
  const group = norm.bind({ y: buffers.branch, weight, step: buffers.step, x: buffers.residual })
  return (list, shape) => list.dispatch(label, norm, group, [shape.tokens, 1, 1])
}

/** Queries and keys normalised in place; `weight` holds the queries' and then the keys'. */
export async function createQKNorm (context: LayerContext, weight: GPUBuffer | undefined): Promise<Recorder> {
  const { pipelines, config, buffers } = context
  const { numHeads, numKVHeads, headDim, attention } = config
  if (weight === undefined || attention.qkNorm === undefined) return () => {}
  const byHead = attention.qkNorm === 'head'
  const norm = await pipelines.get(qkNorm, {
    ROW: (numHeads + 2 * numKVHeads) * headDim,
    Q_SEGMENTS: byHead ? numHeads : 1,
    Q_LENGTH: byHead ? headDim : numHeads * headDim,
    K_LENGTH: byHead ? headDim : numKVHeads * headDim,
    EPS: config.norm.eps,
    THREADS: Math.min(normThreads(context, byHead ? headDim : numHeads * headDim), byHead ? 32 : Infinity)
  })
  const group = norm.bind({ weight, step: buffers.step, qkv: buffers.qkv })
  const segments = byHead ? numHeads + numKVHeads : 2
  return (list, shape) => list.dispatch('qk_norm', norm, group, [segments, shape.tokens, 1])
}
