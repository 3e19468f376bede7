import { decoderConfig, readAttentionBias, readExpertCounts, refuseField } from '../decoder-config.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'
import { plainAttentionContext, qwenWindow } from './qwen2.ts'

/** Qwen 3: every head's queries and keys are normalised before they are turned. */
export const qwen3: ModelFamily = {
  architectures: ['Qwen3ForCausalLM'],
  names: llamaNames(),
  defaults: { num_key_value_heads: 32, head_dim: 128, max_position_embeddings: 32_768, sliding_window: 4096, max_window_layers: 28 },
  parse (architecture, fields) {
    const window = qwenWindow(fields)
    return decoderConfig(architecture, fields, {
      attention: { qkNorm: 'head', ...readAttentionBias(fields) },
      layer: layer => ({ window: window(layer) }),
      longestContext: plainAttentionContext(fields)
    })
  }
}

/** Qwen 3 with a mixture of experts in place of most MLPs. */
export const qwen3Moe: ModelFamily = {
  architectures: ['Qwen3MoeForCausalLM'],
  names: {
    ...llamaNames(),
    experts: {
      router: 'mlp.gate',
      gate: expert => `mlp.experts.${expert}.gate_proj`,
      up: expert => `mlp.experts.${expert}.up_proj`,
      down: expert => `mlp.experts.${expert}.down_proj`
    }
  },
  defaults: { num_key_value_heads: 4, max_position_embeddings: 32_768 },
  parse (architecture, fields) {
    // Versions of transformers disagree on which layers would slide, and no published model's do.
    if (fields.boolean('use_sliding_window', false)) refuseField(fields, 'use_sliding_window', 'false')
    const step = fields.integer('decoder_sparse_step', { min: 1, max: 1_024, default: 1 })
    const dense = fields.integers('mlp_only_layers', { min: 0, max: 1_023 })
    return decoderConfig(architecture, fields, {
      attention: { qkNorm: 'head', ...readAttentionBias(fields) },
      layer: layer => ({ mlp: dense.includes(layer) || (layer + 1) % step !== 0 ? 'dense' : 'experts' }),
      longestContext: plainAttentionContext(fields),
      rest: {
        experts: {
          ...readExpertCounts(fields, fields.get('num_experts') === undefined ? 'num_local_experts' : 'num_experts'),
          intermediateSize: fields.integer('moe_intermediate_size', { min: 1, max: 1_048_576 }),
          normalizeTopK: fields.boolean('norm_topk_prob', false)
        }
      }
    })
  }
}
