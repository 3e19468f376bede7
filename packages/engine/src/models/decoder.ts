import { createAttention } from '../layers/attention.ts'
import { createMergedOutput } from '../layers/attention-output.ts'
import type { BindAttention } from '../layers/attention.ts'
import { ExpertMlp } from '../layers/expert-mlp.ts'
import type { LayerContext } from '../layers/layer-context.ts'
import { Linear } from '../layers/linear.ts'
import type { LinearBuffers, LinearOptions } from '../layers/linear.ts'
import { createNormedLinear } from '../layers/normed-linear.ts'
import { createBranchNorm, createFinalNorm, createInputNorm } from '../layers/norms.ts'
import type { Recorder } from '../layers/norms.ts'
import { createRotaryProjection } from '../layers/rotary-projection.ts'
import type { WholeLayers } from '../layers/whole-layers.ts'
import type { LinearWeight } from '../weights/linear-weight.ts'
import type { CommandList } from '../kernels/command-list.ts'
import { embedding } from '../kernels/model-kernels.ts'
import { layoutNumber } from '../kernels/matmul/weight-layout.ts'
import type { Epilogue } from '../kernels/matmul/weight-layout.ts'
import type { StepShape } from '../step-inputs.ts'
import type { DecoderLayerWeights, DecoderMemory, DecoderWeights, ProjectionWeights } from './decoder-weights.ts'
import { expertConfig } from './expert-layer.ts'

/**
 * A decoder-only transformer as a list of dispatches, then the head for the rows that need logits. All families are this one, told
 * apart by their configuration. Reads the step inputs and writes `buffers.logits`; where kernels are deterministic, a token's
 * logits depend on its own sequence alone, to the bit.
 */
export class Decoder {
  /** Computes the layers of a few single tokens where it takes them. Set it before steps are recorded. */
  wholeLayers: WholeLayers | undefined
  readonly #before: readonly Recorder[]
  readonly #layers: readonly Recorder[]
  readonly #head: Recorder
  /** Behind whole layers, which leave no sums in parts for the final norm. */
  readonly #wholeHead: Recorder

  private constructor (before: readonly Recorder[], layers: readonly Recorder[], head: Recorder, wholeHead: Recorder) {
    this.#before = before
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
    const recorders: Recorder[] = []
    let before: Linear | undefined
    for (const [i, layer] of weights.layers.entries()) {
      const attention = attentions.get(config.layers[i]?.window)
      if (attention === undefined) throw new TypeError(`layer ${i} has no configuration`)
      const block = await createAttentionBlock(context, layer, i, attention, memory, before)
      const mlp = await createMlp(context, layer, memory, block.last)
      recorders.push(...block.recorders, ...mlp.recorders)
      before = mlp.last
    }
    const [head, wholeHead] = [await createHead(context, weights, before), await createHead(context, weights, undefined)]
    return new Decoder(await createEmbedding(context, weights.embedding), recorders, head, wholeHead)
  }

  record (list: CommandList, shape: StepShape): void {
    for (const record of this.#before) record(list, shape)
    const areWhole = this.wholeLayers?.takes(shape) === true
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
    weight: head,
    epilogue: 'store',
    options: { device, pipelines, deterministic, products, logitRows: true, biased: false, scale: config.logitScale, softcap: config.logitSoftcap },
    buffers: { x: buffers.headInput, y: buffers.logits, step: buffers.step, bias: buffers.nothing },
    rows: shape => shape.logitRows
  })
}

async function createEmbedding ({ config, pipelines, buffers }: LayerContext, { parts, layout }: LinearWeight): Promise<Recorder[]> {
  const { hiddenSize, embeddingScale } = config
  return await Promise.all(parts.map(async ({ buffer, firstColumn, columns }): Promise<Recorder> => {
    const gather = await pipelines.get(embedding, { HIDDEN_SIZE: hiddenSize, FIRST_ROW: firstColumn, ROWS: columns, SCALE: embeddingScale, LAYOUT: layoutNumber[layout] })
    const group = gather.bind({ table: buffer, sampled: buffers.sampled, step: buffers.step, x: buffers.residual })
    return (list, shape) => list.dispatch('embedding', gather, group, [Math.ceil(hiddenSize / 256), shape.tokens, 1])
  }))
}

/** Half a layer, and the projection into the residual stream that ends it, which may leave parts for the next norm. */
interface Block { readonly recorders: readonly Recorder[], readonly last: Linear | undefined }

async function createAttentionBlock (context: LayerContext, layer: DecoderLayerWeights, index: number, attention: BindAttention, { kv, rotations }: DecoderMemory, before: Linear | undefined): Promise<Block> {
  const { config, buffers } = context
  const keysValues = kv[index]
  if (keysValues === undefined) throw new TypeError(`layer ${index} has no KV buffer`)
  const { rotary, window } = config.layers[index] ?? {}
  const project = await createRotaryProjection(context, {
    norm: await createInputNorm(context, 'attention_norm', layer.beforeAttention, before),
    normWeight: layer.beforeAttention,
    before,
    ...layer.qkv,
    qkNorm: layer.qkNorm,
    kv: keysValues,
    rotation: rotary === undefined ? undefined : rotations[rotary],
    rotaryDim: rotary === undefined ? 0 : config.rotaries[rotary]?.dim ?? 0
  })
  const branch = branchOf(context, layer.output, buffers.attended)
  const output = await createLinear('output', branch)
  const merged = await createMergedOutput(context, { ...branch, window, whole: output })
  const recorders: Recorder[] = [
    project,
    attention(keysValues, merged?.takes),
    (list, shape) => {
      if (merged?.takes(shape) === true) merged.record(list, shape)
      else output.record(list, shape.tokens)
    },
    await createBranchNorm(context, 'attention_post_norm', layer.afterAttention)
  ]
  return { recorders, last: output }
}

async function createMlp (context: LayerContext, layer: DecoderLayerWeights, memory: DecoderMemory, before: Linear | undefined): Promise<Block> {
  const { config, device, pipelines, buffers, deterministic, products } = context
  const { mlp } = layer
  const norm = await createInputNorm(context, 'mlp_norm', layer.beforeMlp, before)
  if (mlp.type === 'experts') {
    if (memory.experts === undefined) throw new TypeError('experts have no buffers')
    const experts = await ExpertMlp.create(context, expertConfig(config), mlp, memory.experts)
    return { recorders: [norm, (list, shape) => experts.record(list, shape)], last: undefined }
  }
  const down = await createLinear('down', branchOf(context, mlp.down, buffers.gated))
  const { weight, bias } = mlp.gateUp
  const gateUp = await createNormedLinear(context, {
    label: 'gate_up',
    norm,
    normWeight: layer.beforeMlp,
    before,
    weight,
    epilogue: config.activation === 'silu' ? 'silu-gate' : 'gelu-gate',
    options: { device, pipelines, deterministic, products, logitRows: false, biased: bias !== undefined },
    buffers: { x: buffers.normed, y: buffers.gated, step: buffers.step, bias: bias ?? buffers.nothing },
    rows: shape => shape.tokens
  })
  const recorders: Recorder[] = [
    gateUp,
    (list, shape) => down.record(list, shape.tokens),
    await createBranchNorm(context, 'mlp_post_norm', layer.afterMlp)
  ]
  return { recorders, last: down }
}

interface Branch { readonly weight: LinearWeight, readonly epilogue: Epilogue, readonly options: LinearOptions, readonly buffers: LinearBuffers }

/** The last projection of attention or MLP: into the residual stream, or beside it where a norm comes between. */
function branchOf ({ config, device, pipelines, buffers, deterministic, products }: LayerContext, { weight, bias }: ProjectionWeights, x: GPUBuffer): Branch {
  const direct = config.norm.placement === 'before'
  return {
    weight,
    epilogue: direct ? 'residual' : 'store',
    options: { device, pipelines, deterministic, products, logitRows: false, biased: bias !== undefined, scale: config.residualScale },
    buffers: {
      x,
      y: direct ? buffers.residual : buffers.branch,
      step: buffers.step,
      bias: bias ?? buffers.nothing,
      partialSums: bias === undefined ? buffers.partialSums : undefined
    }
  }
}

async function createLinear (label: string, { weight, epilogue, options, buffers }: Branch): Promise<Linear> {
  return await Linear.create(label, weight, epilogue, options, buffers)
}
