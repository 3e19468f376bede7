import type { ModelConfig } from './model-config.ts'

/** One tensor a model needs, by its Hugging Face name. */
export interface TensorSpec {
  readonly name: string
  /** Row-major: a projection is `[outputs, inputs]`, as PyTorch's Linear stores it. */
  readonly shape: readonly number[]
}

export interface LlamaLayerTensors {
  readonly attentionNorm: TensorSpec
  readonly queryProjection: TensorSpec
  readonly keyProjection: TensorSpec
  readonly valueProjection: TensorSpec
  readonly outputProjection: TensorSpec
  readonly mlpNorm: TensorSpec
  readonly gateProjection: TensorSpec
  readonly upProjection: TensorSpec
  readonly downProjection: TensorSpec
}

/** Every tensor of a Llama, by the part it plays. */
export interface LlamaTensors {
  readonly embedding: TensorSpec
  readonly layers: readonly LlamaLayerTensors[]
  readonly finalNorm: TensorSpec
  /** The same object as `embedding` when the two are tied. */
  readonly head: TensorSpec
}

/** The tensors a Llama of this shape is made of. */
export function llamaTensors (config: ModelConfig): LlamaTensors {
  const { hiddenSize, intermediateSize, numHeads, numKVHeads, headDim, vocabSize } = config
  const embedding = { name: 'model.embed_tokens.weight', shape: [vocabSize, hiddenSize] }
  const layers = Array.from({ length: config.numLayers }, (_, layer): LlamaLayerTensors => {
    const spec = (part: string, ...shape: number[]): TensorSpec => ({ name: `model.layers.${layer}.${part}.weight`, shape })
    return {
      attentionNorm: spec('input_layernorm', hiddenSize),
      queryProjection: spec('self_attn.q_proj', numHeads * headDim, hiddenSize),
      keyProjection: spec('self_attn.k_proj', numKVHeads * headDim, hiddenSize),
      valueProjection: spec('self_attn.v_proj', numKVHeads * headDim, hiddenSize),
      outputProjection: spec('self_attn.o_proj', hiddenSize, numHeads * headDim),
      mlpNorm: spec('post_attention_layernorm', hiddenSize),
      gateProjection: spec('mlp.gate_proj', intermediateSize, hiddenSize),
      upProjection: spec('mlp.up_proj', intermediateSize, hiddenSize),
      downProjection: spec('mlp.down_proj', hiddenSize, intermediateSize)
    }
  })
  return {
    embedding,
    layers,
    finalNorm: { name: 'model.norm.weight', shape: [hiddenSize] },
    head: config.tieWordEmbeddings ? embedding : { name: 'lm_head.weight', shape: [vocabSize, hiddenSize] }
  }
}

/** The same as a list in the order of use, a tied head once. */
export function listLlamaTensors (tensors: LlamaTensors): readonly TensorSpec[] {
  const { embedding, layers, finalNorm, head } = tensors
  return [embedding, ...layers.flatMap(layer => Object.values(layer)), finalNorm, ...(head === embedding ? [] : [head])]
}

/** Number of weights, a tied head counted once. */
export function countParameters (config: ModelConfig): number {
  const sizes = listLlamaTensors(llamaTensors(config)).map(({ shape }) => shape.reduce((size, dimension) => size * dimension, 1))
  return sizes.reduce((total, size) => total + size, 0)
}

/**
 * Tensors a Llama checkpoint may carry beside the listed ones, because they are recomputed or tied:
 * rotary frequencies written by old exporters, and the head of a model whose head is its embedding.
 */
export function isRedundantLlamaTensor (name: string, config: ModelConfig): boolean {
  return name.endsWith('.rotary_emb.inv_freq') || (config.tieWordEmbeddings && name === 'lm_head.weight')
}
