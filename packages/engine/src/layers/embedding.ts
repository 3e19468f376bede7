import type { CommandList } from '../kernels/command-list.ts'
import { deferredRows } from '../kernels/matmul/deferred-norm.ts'
import { layoutNumber } from '../kernels/matmul/weight-layout.ts'
import { embedding, embeddingNorm } from '../kernels/model-kernels.ts'
import type { StepShape } from '../step-inputs.ts'
import type { LinearWeight } from '../weights/linear-weight.ts'
import type { LayerContext } from './layer-context.ts'
import { normThreads } from './norms.ts'
import type { Recorder } from './norms.ts'

/** The residual stream's first value, and what the first layer's norm makes of it. */
export interface Embedding {
  /** True where `record` normalises, too. A single token is normalised by the product that reads it. */
  readonly normalises: (shape: StepShape) => boolean
  /** @param whole the layers normalise for themselves */
  readonly record: (list: CommandList, shape: StepShape, whole: boolean) => void
}

/** @param norm the weight of the norm that reads it first; undefined: none does */
export async function createEmbedding (context: LayerContext, table: LinearWeight, norm: GPUBuffer | undefined): Promise<Embedding> {
  const gather = await createGather(context, table)
  const normed = await createNormed(context, table, norm)
  const normalises = ({ tokens }: StepShape): boolean => normed !== undefined && tokens > 1
  return {
    normalises,
    record: (list, shape, whole) => {
      if (normed !== undefined && !whole && normalises(shape)) normed(list, shape)
      else for (const part of gather) part(list, shape)
    }
  }
}

async function createGather ({ config, pipelines, buffers }: LayerContext, { parts, layout }: LinearWeight): Promise<Recorder[]> {
  const { hiddenSize, embeddingScale } = config
  return await Promise.all(parts.map(async ({ buffer, firstColumn, columns }): Promise<Recorder> => {
    const gather = await pipelines.get(embedding, { HIDDEN_SIZE: hiddenSize, FIRST_ROW: firstColumn, ROWS: columns, SCALE: embeddingScale, LAYOUT: layoutNumber[layout] })
    const group = gather.bind({ table: buffer, sampled: buffers.sampled, step: buffers.step, x: buffers.residual })
    return (list, shape) => list.dispatch('embedding', gather, group, [Math.ceil(hiddenSize / 256), shape.tokens, 1])
  }))
}

/** Undefined where the table is split: none of its parts has all rows. */
async function createNormed (context: LayerContext, { parts: [part, ...others], layout }: LinearWeight, norm: GPUBuffer | undefined): Promise<Recorder | undefined> {
  if (norm === undefined || part === undefined || others.length > 0) return undefined
  const { config: { hiddenSize, embeddingScale, norm: { eps } }, pipelines, buffers } = context
  const both = await pipelines.get(embeddingNorm, {
    HIDDEN_SIZE: hiddenSize,
    ROWS: part.columns,
    SCALE: embeddingScale,
    LAYOUT: layoutNumber[layout],
    EPS: eps,
    THREADS: normThreads(context, hiddenSize),
    LEFT_ROWS: buffers.partialSums === undefined ? 0 : deferredRows
  })
  const group = both.bind({ table: part.buffer, sampled: buffers.sampled, weight: norm, step: buffers.step, x: buffers.residual, y: buffers.normed, row_scales: buffers.rowScales })
  return (list, shape) => list.dispatch('embedding normed', both, group, [shape.tokens, 1, 1])
}
