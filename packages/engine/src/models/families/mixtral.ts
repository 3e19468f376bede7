import { decoderConfig, readExpertCounts, windowOf } from '../decoder-config.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'

/** Mixtral: a Mistral whose every MLP is a mixture of experts. */
export const mixtral: ModelFamily = {
  architectures: ['MixtralForCausalLM'],
  names: {
    ...llamaNames(),
    experts: {
      router: 'block_sparse_moe.gate',
      gate: expert => `block_sparse_moe.experts.${expert}.w1`,
      up: expert => `block_sparse_moe.experts.${expert}.w3`,
      down: expert => `block_sparse_moe.experts.${expert}.w2`
    }
  },
  defaults: { num_key_value_heads: 8, max_position_embeddings: 131_072, rms_norm_eps: 1e-5, rope_theta: 1_000_000 },
  parse (architecture, fields) {
    const window = windowOf(fields, () => fields.get('sliding_window') !== undefined)
    return decoderConfig(architecture, fields, {
      layer: layer => ({ window: window(layer), mlp: 'experts' }),
      rest: {
        experts: {
          ...readExpertCounts(fields, 'num_local_experts'),
          intermediateSize: fields.integer('intermediate_size', { min: 1, max: 1_048_576 }),
          normalizeTopK: true
        }
      }
    })
  }
}
