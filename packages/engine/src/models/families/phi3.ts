import { decoderConfig, refuseField, windowOf } from '../decoder-config.ts'
import { llamaNames } from '../tensor-names.ts'
import type { ModelFamily } from './model-family.ts'

const names = llamaNames()

/** Phi-3, 3.5 and 4-mini: fused projections, LongRoPE, and in the latest a part of each head that is not turned. */
export const phi3: ModelFamily = {
  architectures: ['Phi3ForCausalLM'],
  names: {
    ...names,
    attention: { ...names.attention, fused: 'self_attn.qkv_proj' },
    mlp: { ...names.mlp, fused: 'mlp.gate_up_proj' }
  },
  defaults: { max_position_embeddings: 4096, rms_norm_eps: 1e-5 },
  parse (architecture, fields) {
    if (fields.boolean('attention_bias', false)) refuseField(fields, 'attention_bias', 'false')
    const window = windowOf(fields, () => fields.get('sliding_window') !== undefined)
    return decoderConfig(architecture, fields, { layer: layer => ({ window: window(layer) }) })
  }
}
