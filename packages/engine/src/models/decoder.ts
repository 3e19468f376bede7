import { normBehind } from '../engine-plan.ts'
import { createAttention } from '../layers/attention.ts'
import { createBeforeNorm, deferredNorm } from '../layers/deferred-norm.ts'
import type { DeferredNorm } from '../layers/deferred-norm.ts'
import { createMergedOutput } from '../layers/attention-output.ts'
import type { BindAttention } from '../layers/attention.ts'
import { createEmbedding } from '../layers/embedding.ts'
import type { Embedding } from '../layers/embedding.ts'
import { ExpertMlp } from '../layers/expert-mlp.ts'
import type { LayerContext } from '../layers/layer-context.ts'
import { Linear } from '../layers/linear.ts'
import type { LinearBuffers, LinearOptions } from '../layers/linear.ts'
import { createNormedLinear } from '../layers/normed-linear.ts'
import { createBranchNorm, createFinalNorm, createInputNorm } from '../layers/norms.ts'
import type { Recorder } from '../layers/norms.ts'
import { createRotaryProjection, turnsInProjection } from '../layers/rotary-projection.ts'
import type { WholeLayers } from '../layers/whole-layers.ts'
import type { LinearWeight } from '../weights/linear-weight.ts'
import type { CommandList } from '../kernels/command-list.ts'
import { gateEpilogue } from '../kernels/matmul/weight-layout.ts'
import type { Epilogue } from '../kernels/matmul/weight-layout.ts'
import type { StepShape } from '../step-inputs.ts'
import type { DecoderLayerWeights, DecoderMemory, DecoderWeights, ProjectionWeights } from './decoder-weights.ts'
import { expertConfig } from './expert-layer.ts'
import type { ModelConfig } from './model-config.ts'

/**
 * A decoder-only transformer as a list of dispatches, then the head for the rows that need logits. All families are this one, told
 * apart by their configuration. Reads the step inputs and writes `buffers.logits`; where kernels are deterministic, a token's
 * logits depend on its own sequence alone, to the bit.
 */
export class Decoder {
  /** Computes the layers of a few single tokens where it takes them. Set it before steps are recorded. */
  wholeLayers: WholeLayers | undefined
  readonly #embedding: Embedding
  readonly #layers: readonly Recorder[]
  readonly #head: Recorder
  /** Behind whole layers, which leave no sums in parts for the final norm. */
  readonly #wholeHead: Recorder

  private constructor (embedding: Embedding, layers: readonly Recorder[], head: Recorder, wholeHead: Recorder) {
    this.#embedding = embedding
    this.#layers = layers
    this.#head = head
    this.#wholeHead = wholeHead
  }

  /** Compiles every kernel variant the model can use. */
  static async create (context: LayerContext, weights: DecoderWeights, memory: DecoderMemory): Promise<Decoder> {
    const { config } = context
    const attentions = new Map<number | undefined, BindAttention>()
    for (const { window } of config.layers) {
      if (!attentions.has(window)) attentions.set(window, await createAttention(context, window))
    }
    const embedding = await createEmbedding(context, weights.embedding, weights.layers[0]?.beforeAttention)
    const recorders: Recorder[] = []
    let before: Linear | undefined
    const deferred = weights.layers.map((layer, i) => deferredNorms(context, layer, i, weights.layers[i - 1]))
    for (const [i, layer] of weights.layers.entries()) {
      const attention = attentions.get(config.layers[i]?.window)
      if (attention === undefined) throw new TypeError(`layer ${i} has no configuration`)
      const block = await createAttentionBlock(context, layer, i, attention, memory, before, { ...deferred[i], ...i === 0 ? { normalised: embedding.normalises } : {} })
      const mlp = await createMlp(context, layer, memory, block.last, { mlp: deferred[i]?.mlp, attention: deferred[i + 1]?.attention })
      recorders.push(...block.recorders, ...mlp.recorders)
      before = mlp.last
    }
    const [head, wholeHead] = [await createHead(context, weights, before), await createHead(context, weights, undefined)]
    return new Decoder(embedding, recorders, head, wholeHead)
  }

  record (list: CommandList, shape: StepShape): void {
    const areWhole = this.wholeLayers?.takes(shape) === true
    this.#embedding.record(list, shape, areWhole)
    if (areWhole) this.wholeLayers?.record(list, shape)
    else for (const record of this.#layers) record(list, shape)
    if (shape.logitRows > 0) (areWhole ? this.#wholeHead : this.#head)(list, shape)
  }
}

async function createHead (context: LayerContext, { finalNorm, head }: DecoderWeights, before: Linear | undefined): Promise<Recorder> {
  const { config, pipelines, buffers, device, deterministic, products } = context
  return await createNormedLinear(context, {
    label: 'head',
    norm: await createFinalNorm(context, finalNorm, before),
    normWeight: finalNorm,
    before,
    deferred: undefined,
    weight: head,
    epilogue: 'store',
    options: { device, pipelines, deterministic, products, logitRows: true, biased: false, scale: config.logitScale, softcap: config.logitSoftcap },
    buffers: { x: buffers.headInput, y: buffers.logits, step: buffers.step, bias: buffers.nothing },
    rows: shape => shape.logitRows
  })
}

/** Norms of a layer that the products on both sides compute. */
interface DeferredNorms { readonly attention?: DeferredNorm | undefined, readonly mlp?: DeferredNorm | undefined }

/** And steps for which the first layer's input is normalised already. */
interface LayerNorms extends DeferredNorms { readonly normalised?: Embedding['normalises'] }

function deferredNorms (context: LayerContext, layer: DecoderLayerWeights, index: number, previous: DecoderLayerWeights | undefined): DeferredNorms {
  const { config } = context
  if (config.norm.placement !== 'before') return {}
  const { qkv, qkNorm, output, mlp } = layer
  return {
    attention: deferredNorm(context, {
      which: 0,
      normWeight: layer.beforeAttention,
      before: previous?.mlp.type === 'dense' ? previous.mlp.down : undefined,
      behind: { weight: qkv.weight, epilogue: 'store', turned: turnsInProjection(context, { qkNorm, weight: qkv.weight, rotaryDim: rotaryOf(config, index).dim }) }
    }),
    mlp: deferredNorm(context, { which: 1, normWeight: layer.beforeMlp, before: output, behind: mlp.type === 'dense' ? { weight: mlp.gateUp.weight, epilogue: gateEpilogue(config.activation), turned: false } : undefined })
  }
}

/** Half a layer, and the projection into the residual stream that ends it, which may leave parts for the next norm. */
interface Block { readonly recorders: readonly Recorder[], readonly last: Linear | undefined }

async function createAttentionBlock (context: LayerContext, layer: DecoderLayerWeights, index: number, attention: BindAttention, { kv, rotations }: DecoderMemory, before: Linear | undefined, { normalised, ...deferred }: LayerNorms): Promise<Block> {
  const { config, buffers } = context
  const keysValues = kv[index]
  if (keysValues === undefined) throw new TypeError(`layer ${index} has no KV buffer`)
  const { window } = config.layers[index] ?? {}
  const { table, dim } = rotaryOf(config, index)
  const norm = await createInputNorm(context, 0, layer.beforeAttention, before)
  const project = await createRotaryProjection(context, {
    norm: (list, shape) => { if (normalised?.(shape) !== true) norm(list, shape) },
    normWeight: layer.beforeAttention,
    before,
    deferred: deferred.attention,
    ...layer.qkv,
    qkNorm: layer.qkNorm,
    kv: keysValues,
    rotation: table === undefined ? undefined : rotations[table],
    rotaryDim: dim
  })
  const branch = branchOf(context, layer.output, buffers.attended)
  const output = await createBranch(context, 'output', branch, deferred.mlp)
  const merged = await createMergedOutput(context, { ...branch, window, whole: output.linear })
  const recorders: Recorder[] = [
    project,
    attention(keysValues, merged?.takes),
    (list, shape) => {
      if (merged?.takes(shape) === true) merged.record(list, shape)
      else output.record(list, shape)
    },
    await createBranchNorm(context, 'attention_post_norm', layer.afterAttention)
  ]
  return { recorders, last: output.linear }
}

async function createMlp (context: LayerContext, layer: DecoderLayerWeights, memory: DecoderMemory, before: Linear | undefined, deferred: DeferredNorms): Promise<Block> {
  const { config, device, pipelines, buffers, deterministic, products } = context
  const { mlp } = layer
  const norm = await createInputNorm(context, 1, layer.beforeMlp, before)
  if (mlp.type === 'experts') {
    if (memory.experts === undefined) throw new TypeError('experts have no buffers')
    const experts = await ExpertMlp.create(context, expertConfig(config), mlp, memory.experts)
    return { recorders: [norm, (list, shape) => experts.record(list, shape)], last: undefined }
  }
  const down = await createBranch(context, 'down', branchOf(context, mlp.down, buffers.gated), deferred.attention)
  const { weight, bias } = mlp.gateUp
  const gateUp = await createNormedLinear(context, {
    label: 'gate_up',
    norm,
    normWeight: layer.beforeMlp,
    before,
    deferred: deferred.mlp,
    weight,
    epilogue: gateEpilogue(config.activation),
    options: { device, pipelines, deterministic, products, logitRows: false, biased: bias !== undefined },
    buffers: { x: buffers.normed, y: buffers.gated, step: buffers.step, bias: bias ?? buffers.nothing },
    rows: shape => shape.tokens
  })
  const recorders: Recorder[] = [
    gateUp,
    down.record,
    await createBranchNorm(context, 'mlp_post_norm', layer.afterMlp)
  ]
  return { recorders, last: down.linear }
}

interface Branch { readonly weight: LinearWeight, readonly epilogue: Epilogue, readonly options: LinearOptions, readonly buffers: LinearBuffers }

/** The last projection of attention or MLP: into the residual stream, or beside it where a norm comes between. */
function branchOf ({ config, device, pipelines, buffers, deterministic, products }: LayerContext, { weight, bias }: ProjectionWeights, x: GPUBuffer): Branch {
  const direct = config.norm.placement === 'before'
  return {
    weight,
    epilogue: direct ? 'residual' : 'store',
    options: { device, pipelines, deterministic, products, logitRows: false, biased: bias !== undefined, scale: config.residualScale, norm: normBehind(config) },
    buffers: {
      x,
      y: direct ? buffers.residual : buffers.branch,
      step: buffers.step,
      bias: bias ?? buffers.nothing,
      partialSums: bias === undefined ? buffers.partialSums : undefined
    }
  }
}

/** @param deferred the norm behind it, where that is left to it and the product behind */
async function createBranch (context: LayerContext, label: string, { weight, epilogue, options, buffers }: Branch, deferred: DeferredNorm | undefined): Promise<{ readonly linear: Linear, readonly record: Recorder }> {
  const linear = await Linear.create(label, weight, epilogue, { ...options, leaves: deferred?.takes }, buffers)
  const beforeNorm = deferred === undefined ? undefined : await createBeforeNorm(context, deferred, label, weight, buffers.x)
  return {
    linear,
    record: (list, shape) => {
      if (beforeNorm !== undefined && deferred?.takes(shape.tokens) === true) beforeNorm(list, shape)
      else linear.record(list, shape.tokens)
    }
  }
}

/** Which table turns a layer's queries and keys, and how much of each head; no table: nothing turns. */
function rotaryOf (config: ModelConfig, index: number): { readonly table: number | undefined, readonly dim: number } {
  const { rotary } = config.layers[index] ?? {}
  return { table: rotary, dim: rotary === undefined ? 0 : config.rotaries[rotary]?.dim ?? 0 }
}
