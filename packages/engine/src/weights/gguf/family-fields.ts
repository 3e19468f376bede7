import { UnsupportedModelError } from '../../errors.ts'
import type { MetadataFields } from './metadata-fields.ts'
import type { ModelShape } from './model-shape.ts'

/*
 * What each family's config.json says beside the fields all have. Where llama.cpp knows a value without storing it (by the number
 * of layers, or as the family's only one), so does this.
 */

type Fields = Readonly<Record<string, unknown>>

const GEMMA2_27B_LAYERS = 46
const GEMMA3_27B_LAYERS = 62
const GEMMA3_GLOBAL_EVERY = 6
const GEMMA3_GLOBAL_THETA = 1_000_000
const GEMMA3_LOCAL_THETA = 10_000
const GEMMA3_IMAGES_SCALING = { rope_type: 'linear', factor: 8 }
const SMOLLM3_UNROTATED_EVERY = 4

/** Of a Mixtral; a Llama has no expert. */
export function mixtralFields (metadata: MetadataFields, { numExperts }: ModelShape): Fields {
  if (numExperts === 0) return {}
  return { num_local_experts: numExperts, num_experts_per_tok: metadata.integer('.expert_used_count', 1) }
}

/** The router's chosen weights always sum to one. */
export function qwen3MoeFields (metadata: MetadataFields, { numExperts }: ModelShape): Fields {
  return {
    num_experts: numExperts,
    num_experts_per_tok: metadata.integer('.expert_used_count', 1),
    moe_intermediate_size: metadata.integer('.expert_feed_forward_length', 1),
    norm_topk_prob: true,
    decoder_sparse_step: 1,
    mlp_only_layers: []
  }
}

export function gemma2Fields (metadata: MetadataFields, { hiddenSize, numHeads, headDim, numLayers }: ModelShape): Fields {
  return {
    hidden_act: 'gelu_pytorch_tanh',
    hidden_activation: 'gelu_pytorch_tanh',
    query_pre_attn_scalar: numLayers === GEMMA2_27B_LAYERS ? hiddenSize / numHeads : headDim,
    attn_logit_softcapping: metadata.optionalNumber('.attn_logit_softcapping') ?? 50,
    final_logit_softcapping: metadata.optionalNumber('.final_logit_softcapping') ?? 30,
    sliding_window: metadata.optionalInteger('.attention.sliding_window', 1) ?? 4096,
    layer_types: layerTypes(numLayers, layer => layer % 2 === 0)
  }
}

/** Ollama's files call the rotary bases otherwise, and leave out what is the same in all published models of one kind. */
export function gemma3Fields (metadata: MetadataFields, { hiddenSize, numHeads, headDim, numLayers, seesImages }: ModelShape): Fields {
  const window = metadata.optionalInteger('.attention.sliding_window', 0) ?? 0
  const stored = metadata.perLayer('.attention.sliding_window_pattern')
  const pattern = stored === undefined ? metadata.optionalInteger('.attention.sliding_window_pattern', 1) ?? GEMMA3_GLOBAL_EVERY : GEMMA3_GLOBAL_EVERY
  return {
    hidden_act: 'gelu_pytorch_tanh',
    hidden_activation: 'gelu_pytorch_tanh',
    query_pre_attn_scalar: numLayers === GEMMA3_27B_LAYERS ? hiddenSize / numHeads : headDim,
    final_logit_softcapping: metadata.optionalNumber('.final_logit_softcapping') ?? null,
    rope_theta: metadata.optionalNumber('.rope.freq_base') ?? metadata.optionalNumber('.rope.global.freq_base') ?? GEMMA3_GLOBAL_THETA,
    rope_local_base_freq: metadata.optionalNumber('.rope.freq_base_swa') ?? metadata.optionalNumber('.rope.local.freq_base') ?? GEMMA3_LOCAL_THETA,
    ...seesImages && !metadata.has('.rope.scaling.type') ? { rope_scaling: GEMMA3_IMAGES_SCALING } : {},
    sliding_window: window === 0 ? null : window,
    sliding_window_pattern: pattern,
    layer_types: layerTypes(numLayers, layer => window > 0 && (stored === undefined ? (layer + 1) % pattern !== 0 : stored[layer] === 1))
  }
}

/** The window is 0 in files of models that have none. */
export function phi3Fields (metadata: MetadataFields): Fields {
  const window = metadata.optionalInteger('.attention.sliding_window', 0) ?? 0
  const original = metadata.optionalInteger('.rope.scaling.original_context_length', 1)
  return { sliding_window: window === 0 ? null : window, ...original === undefined ? {} : { original_max_position_embeddings: original } }
}

/** Transformers' field lists a 1 for each layer that does rotate, in spite of its name. */
export function smollm3Fields (_metadata: MetadataFields, { numLayers }: ModelShape): Fields {
  return {
    use_sliding_window: false,
    no_rope_layer_interval: SMOLLM3_UNROTATED_EVERY,
    no_rope_layers: Array.from({ length: numLayers }, (_, layer) => (layer + 1) % SMOLLM3_UNROTATED_EVERY === 0 ? 0 : 1)
  }
}

export function olmo2Fields (metadata: MetadataFields, { numLayers }: ModelShape): Fields {
  const slides = metadata.perLayer('.attention.sliding_window_pattern')
  return slides === undefined ? {} : { layer_types: layerTypes(numLayers, layer => slides[layer] === 1) }
}

/** @throws UnsupportedModelError for the variant without positions */
export function graniteFields (metadata: MetadataFields, { headDim }: ModelShape): Fields {
  if (metadata.boolean('.rope.scaling.finetuned') === false) {
    throw new UnsupportedModelError({ field: 'granite.rope.scaling.finetuned', value: false, supported: 'true: a model with rotary positions' })
  }
  return {
    embedding_multiplier: metadata.optionalNumber('.embedding_scale') ?? 1,
    attention_multiplier: metadata.optionalNumber('.attention.scale') ?? headDim ** -0.5,
    residual_multiplier: metadata.optionalNumber('.residual_scale') ?? 1,
    logits_scaling: metadata.optionalNumber('.logit_scale') ?? 1
  }
}

function layerTypes (numLayers: number, slides: (layer: number) => boolean): readonly string[] {
  return Array.from({ length: numLayers }, (_, layer) => slides(layer) ? 'sliding_attention' : 'full_attention')
}
