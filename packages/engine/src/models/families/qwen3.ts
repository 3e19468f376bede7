import { decoderConfig, readExpertCounts } from '../decoder-config.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'
import { qwenWindow } from './qwen2.ts'

/** Qwen 3: every head's queries and keys are normalised before they are turned. */
export const qwen3: ModelFamily = {
  architectures: ['Qwen3ForCausalLM'],
  names: llamaNames(),
  parse (architecture, fields) {
    const window = qwenWindow(fields)
    const bias = fields.boolean('attention_bias', false)
    return decoderConfig(architecture, fields, {
      attention: { qkNorm: 'head', qkvBias: bias, outputBias: bias },
      layer: layer => ({ window: window(layer) })
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
  parse (architecture, fields) {
    const window = qwenWindow(fields)
    const bias = fields.boolean('attention_bias', false)
    const step = fields.integer('decoder_sparse_step', { min: 1, max: 1_024, default: 1 })
    const dense = fields.integers('mlp_only_layers', { min: 0, max: 1_023 })
    return decoderConfig(architecture, fields, {
      attention: { qkNorm: 'head', qkvBias: bias, outputBias: bias },
      layer: layer => ({ window: window(layer), mlp: dense.includes(layer) || (layer + 1) % step !== 0 ? 'dense' : 'experts' }),
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
