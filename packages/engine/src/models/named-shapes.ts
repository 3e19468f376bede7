import { UnknownModelShapeError } from '../errors.ts'
import type { ModelConfig } from './model-config.ts'
import { parseModelConfig } from './parse-model-config.ts'

const llama32 = {
  architectures: ['LlamaForCausalLM'],
  vocab_size: 128_256,
  max_position_embeddings: 131_072,
  rms_norm_eps: 1e-5,
  rope_theta: 500_000,
  rope_scaling: { rope_type: 'llama3', factor: 32, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 },
  tie_word_embeddings: true,
  bos_token_id: 128_000,
  eos_token_id: [128_001, 128_008, 128_009],
  dtype: 'bfloat16'
}
const qwen3 = {
  architectures: ['Qwen3ForCausalLM'],
  vocab_size: 151_936,
  max_position_embeddings: 40_960,
  head_dim: 128,
  rope_theta: 1_000_000,
  bos_token_id: 151_643,
  eos_token_id: 151_645,
  dtype: 'bfloat16'
}

/** Published shapes in the spelling of their config.json, so that each goes through its family like a model on disk. */
const SHAPES = Object.freeze({
  'daybreak-mini': {
    architectures: ['LlamaForCausalLM'],
    hidden_size: 384,
    intermediate_size: 1024,
    num_hidden_layers: 8,
    num_attention_heads: 6,
    num_key_value_heads: 2,
    head_dim: 64,
    vocab_size: 2048,
    max_position_embeddings: 8192,
    rms_norm_eps: 1e-5,
    rope_theta: 100_000,
    tie_word_embeddings: true,
    bos_token_id: 1984,
    eos_token_id: 1989,
    dtype: 'bfloat16'
  },
  'smollm2-135m': {
    architectures: ['LlamaForCausalLM'],
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    vocab_size: 49_152,
    max_position_embeddings: 8192,
    rms_norm_eps: 1e-5,
    rope_theta: 100_000,
    tie_word_embeddings: true,
    bos_token_id: 0,
    eos_token_id: 0,
    dtype: 'bfloat16'
  },
  'tinyllama-1.1b': {
    architectures: ['LlamaForCausalLM'],
    hidden_size: 2048,
    intermediate_size: 5632,
    num_hidden_layers: 22,
    num_attention_heads: 32,
    num_key_value_heads: 4,
    vocab_size: 32_000,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-5,
    bos_token_id: 1,
    eos_token_id: 2,
    dtype: 'bfloat16'
  },
  'llama-3.2-1b': {
    ...llama32,
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 16,
    num_attention_heads: 32,
    num_key_value_heads: 8
  },
  'llama-3.2-3b': {
    ...llama32,
    hidden_size: 3072,
    intermediate_size: 8192,
    num_hidden_layers: 28,
    num_attention_heads: 24,
    num_key_value_heads: 8
  },
  'llama-3.1-8b': {
    ...llama32,
    rope_scaling: { ...llama32.rope_scaling, factor: 8 },
    tie_word_embeddings: false,
    hidden_size: 4096,
    intermediate_size: 14_336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8
  },
  'qwen3-0.6b': {
    ...qwen3,
    hidden_size: 1024,
    intermediate_size: 3072,
    num_hidden_layers: 28,
    num_attention_heads: 16,
    num_key_value_heads: 8,
    tie_word_embeddings: true
  },
  'gemma-3-1b': {
    architectures: ['Gemma3ForCausalLM'],
    hidden_size: 1152,
    intermediate_size: 6912,
    num_hidden_layers: 26,
    num_attention_heads: 4,
    num_key_value_heads: 1,
    head_dim: 256,
    vocab_size: 262_144,
    max_position_embeddings: 32_768,
    rope_theta: 1_000_000,
    rope_local_base_freq: 10_000,
    sliding_window: 512,
    sliding_window_pattern: 6,
    query_pre_attn_scalar: 256,
    bos_token_id: 2,
    eos_token_id: [1, 106],
    dtype: 'bfloat16'
  },
  'qwen3-30b-a3b': {
    ...qwen3,
    architectures: ['Qwen3MoeForCausalLM'],
    hidden_size: 2048,
    intermediate_size: 6144,
    moe_intermediate_size: 768,
    num_experts: 128,
    num_experts_per_tok: 8,
    norm_topk_prob: true,
    num_hidden_layers: 48,
    num_attention_heads: 32,
    num_key_value_heads: 4
  }
})

export type ModelShapeName = keyof typeof SHAPES

/** Shapes that `--synthetic NAME` can build with random weights, so that speed can be measured without a download. */
export const MODEL_SHAPE_NAMES: readonly ModelShapeName[] = Object.freeze(Object.keys(SHAPES).filter(isShapeName))

/**
 * The published shape of that name.
 * @throws UnknownModelShapeError naming the known ones
 */
export function namedShape (name: string): ModelConfig {
  if (!isShapeName(name)) throw new UnknownModelShapeError({ shape: name, known: MODEL_SHAPE_NAMES })
  return parseModelConfig(SHAPES[name])
}

function isShapeName (name: string): name is ModelShapeName {
  return Object.hasOwn(SHAPES, name)
}
